#!/usr/bin/env bash
# The tests of client, server and manifest under the address and undefined-behaviour sanitizers, those that start threads under the thread
# sanitizer; the C API through the shared library.
set -euo pipefail
cd "$(dirname "$0")/../.."
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 TSAN_OPTIONS=halt_on_error=1:die_after_fork=0
ran=0
# run TREE RUNTIME LEAST: every test program of a tree, at least so many; each must be instrumented with that runtime.
run() {
  local tree=$1 runtime=$2 least=$3 test count=0
  for test in "$tree"/bin/hub_client-*_test "$tree"/bin/manifest-*_test; do
    [ -x "$test" ] || continue
    [ "$(nm "$test" | grep -c "$runtime")" -gt 0 ] || { echo "$test is not instrumented"; exit 1; }
    "$test" >"$tree/log" 2>&1 || { tail -n 60 "$tree/log"; echo "FAILED: $test"; exit 1; }
    echo "$runtime $(basename "$test"): $(grep -oE 'assertions: +[0-9]+' "$tree/log")"
    count=$((count + 1))
  done
  [ $count -ge "$least" ] || { echo "only $count programs in $tree"; exit 1; }
  ran=$((ran + count))
}
run build/fuzz __asan_ 20
run build/thread_sanitized __tsan_ 6
[ "$(nm -D build/fuzz/lib/liblamina.so.1 | grep -c __asan_)" -gt 0 ] || { echo "the shared library is not instrumented"; exit 1; }
echo "$ran test programs without a report"
