#!/usr/bin/env bash
# The CPU builds under the address and undefined-behaviour sanitizers go through cases, refusals and struct checks without a report.
set -euo pipefail
cd "$(dirname "$0")/../.."
build=build/sanitized
mapfile -t plugins < <(ls build/plugins/triangle_multiplication-*-{reference,cpu_*}.so 2>/dev/null | xargs -n1 basename)
[ ${#plugins[@]} -gt 0 ] || { echo "no CPU build in build/plugins"; exit 1; }
make --no-print-directory SANITIZE=address,undefined BUILD=$build "${plugins[@]/#/$build/plugins/}"
# The program itself is not instrumented, so the sanitizer's runtime comes first.
run() { LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)" ASAN_OPTIONS=detect_leaks=0:handle_segv=0:handle_abort=0:halt_on_error=1 UBSAN_OPTIONS=print_stacktrace=1 \
  build/bin/lamina conform "$@"; }
ran=0
for plugin in "${plugins[@]}"; do
  for filter in 'case ' 'refusal ' 'struct '; do
    code=0
    run "$build/plugins/$plugin" --against "build/plugins/$(ls build/plugins | grep -- '^triangle_multiplication-.*-reference.so$')" --filter "$filter" >$build/log 2>&1 || code=$?
    if [ $code = 8 ]; then echo "NOT RUN here: $plugin"; break; fi
    if [ $code != 0 ] || grep -qE 'runtime error|AddressSanitizer' $build/log; then echo "$plugin, $filter: exit code $code"; grep -E -A12 'runtime error|AddressSanitizer|^fail' $build/log | head -60; exit 1; fi
    ran=$((ran + 1))
  done
done
# The sanitizers are really there.
nm -D "$build/plugins/${plugins[0]}" | grep -q __asan_ && nm -D "$build/plugins/${plugins[0]}" | grep -q __ubsan_ || { echo "the builds are not instrumented"; exit 1; }
[ $ran -gt 0 ]
echo "$ran runs without a report"
