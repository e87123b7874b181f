#!/usr/bin/env bash
# The verb's exit codes, report and messages.
set -euo pipefail
cd "$(dirname "$0")/../.."
out=build/conformance; mkdir -p $out
reference=$(ls build/plugins/triangle_multiplication-*-reference.so)
expect() {  # expect CODE WORDS ARGUMENT...
  local code=0
  build/bin/lamina conform "${@:3}" >$out/verb.log 2>&1 || code=$?
  if [ $code != "$1" ] || ! grep -qE "$2" $out/verb.log; then echo "lamina conform ${*:3}: exit code $code, expected $1 and '$2'"; cat $out/verb.log; exit 1; fi
}
expect 0 '3 passed, 0 failed' "$reference" --filter half_a_norm
expect 0 "10 checks with 'forbidden_width' are left out" "$reference" --filter width --without forbidden_width --list
expect 2 "'no such check', which --without" "$reference" --filter half_a_norm --without 'no such check'
expect 0 'case both_masks' "$reference" --list
expect 2 "no check contains 'no such check'" "$reference" --filter 'no such check'
expect 3 'no such file' build/plugins/none.so
expect 3 'no reference build' build/bin/../../$(cp "$reference" $out/alone.so && echo $out/alone.so)
expect 13 'does not load' Makefile
expect 2 "none of cpu, cuda" "$reference" --device tpu --filter half_a_norm
expect 14 'more than the limit' "$reference" --max-gflop 0.001
echo '{"schema": "lamina/cases/1", "layer": "other", "cases": [{"why": "x"}]}' >$out/other.json
expect 2 "cases are of layer 'other'" "$reference" --cases $out/other.json
expect 13 'is not JSON' "$reference" --cases Makefile
expect 3 "can't be read" "$reference" --cases $out/none.json
expect 2 '' --filter x
build/bin/lamina conform "$reference" --filter half_a_norm --report $out/verb.json >/dev/null
jq -e '.schema == "lamina/conformance/1" and .passed == 3 and .failed == 0 and (.results | length) == 3 and .results[0].verdict == "pass"' $out/verb.json >/dev/null
echo "the verb answers as documented"
