#!/usr/bin/env bash
# The tests of client, server and manifest, and the cases of the fault table, under the address and undefined-behaviour sanitizers.
set -euo pipefail
cd "$(dirname "$0")/../.."
sanitized=build/fuzz
export ASAN_OPTIONS=detect_leaks=1 UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1
for runtime in __asan_ __ubsan_; do
  [ "$(nm "$sanitized/bin/hub_client-http_test" | grep -c $runtime)" -gt 0 ] || { echo "the tests are not instrumented"; exit 1; }
done
ran=0
for test in "$sanitized"/bin/hub_client-*_test "$sanitized"/bin/manifest-*_test; do
  "$test" >"$sanitized/log" 2>&1 || { tail -n 40 "$sanitized/log"; echo "FAILED: $test"; exit 1; }
  echo "$(basename "$test"): $(grep -oE 'assertions: +[0-9]+' "$sanitized/log")"
  ran=$((ran + 1))
done
[ $ran -gt 10 ] && echo "$ran test programs without a report"
