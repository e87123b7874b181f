#!/usr/bin/env bash
# On a machine with a GPU: the device checks pass on the probe and find each of its mistakes.  Run by gpu.sh; CONFORM names the program.
#   probe.sh               compile the probe, then check
#   probe.sh --build       compile alone, for a machine without a compiler
#   probe.sh --prebuilt    check alone
set -euo pipefail
cd "$(dirname "$0")/../../.."
conform=${CONFORM:-build/bin/lamina conform}
out=build/probe
mistakes='SYNCHRONISES OWN_STREAM NEEDS_CONTEXT WRITES_BESIDE'
build() { gcc -std=c11 -D_GNU_SOURCE -O1 -fPIC -shared -Wall -Wextra -Werror -I. "${@:2}" -o "$out/$1.so" conformance/tests/probe/plugin.c -ldl; }
if [ "${1:-}" != --prebuilt ]; then
  rm -rf $out; mkdir -p $out
  build reference -DREFERENCE
  build right
  for mistake in $mistakes; do build "$mistake" -DMISTAKE="$mistake"; done
fi
if [ "${1:-}" = --build ]; then exit 0; fi
check() { $conform "$out/$1.so" --against $out/reference.so --cases conformance/tests/probe/cases.json --device "${DEVICE:-cuda:0}" --filter "$2" >"$out/$1.log" 2>&1; }
for group in case device 'property concurrent' 'property 64 copies'; do check right "$group" || { echo "the probe fails '$group':"; cat $out/right.log; exit 1; }; done
finds() {  # finds MISTAKE FILTER WORDS
  local code=0
  [ -f "$out/$1.so" ] || { echo "$out/$1.so is missing; probe.sh --build makes it"; exit 1; }
  check "$1" "$2" || code=$?
  [ $code = 14 ] && grep -qE "$3" "$out/$1.log" || { echo "MISSED: $1 under '$2' (exit code $code)"; cat "$out/$1.log"; exit 1; }
}
finds SYNCHRONISES      'device captured graph' 'under capture|STREAM_CAPTURE'
finds OWN_STREAM        'device captured graph' 'graph is empty'
finds NEEDS_CONTEXT     'device worker thread'  'without a context'
finds WRITES_BESIDE     'case size'             'past its end'
echo "the probe conforms, and its 4 mistakes are found"
