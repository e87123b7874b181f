#!/usr/bin/env bash
# Every parser of foreign bytes under libFuzzer, the address and the undefined-behaviour sanitizer: FUZZ_SECONDS (30) each, two at a time.
# Inputs that a run found worth keeping lie in conformance/hub/fuzz/corpus; a finding is left in build/fuzz/run/TARGET.
#   conformance/hub/fuzz_test.sh [TARGET...]
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD fuzz=$PWD/build/fuzz
layer=layers/triangle_multiplication
targets=("$@")
builds=$(ls "$fuzz"/plugins/*-reference.so | paste -sd:)
[ ${#targets[@]} -gt 0 ] || mapfile -t targets < <(ls conformance/hub/fuzz/*.cpp | xargs -n1 basename -s .cpp)

# Good inputs to begin with, from the tree and the builds in it.
seeds() {
  local to=$1
  mkdir -p "$to"
  cp -r conformance/hub/fuzz/corpus/"$target"/. "$to" 2>/dev/null || true
  case $target in
  documents)
    { printf c; cat $layer/contract.json; } >"$to/contract"
    for host in boltz alphafold3 esmfold; do { printf h; cat $layer/hosts/$host.json; } >"$to/$host"; done ;;
  elf) for build in build/plugins/*-reference.so build/plugins/*-cpu_avx2.so; do cp "$build" "$to" 2>/dev/null || true; done ;;
  tensors) for golden in $(ls -S $layer/golden/*.safetensors | tail -3); do { printf s; cat "$golden"; } >"$to/$(basename "$golden")"; done ;;
  esac
}
run() {
  local target=$1 room=$fuzz/run/$1
  rm -rf "$room" && mkdir -p "$room"
  seeds "$room/seeds"
  mkdir -p "$room/corpus"
  (cd "$room" && LAMINA_FUZZ_CONTRACT=$root/$layer/contract.json LAMINA_FUZZ_BUILDS=$builds ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=0 \
    "$fuzz/bin/fuzz-$target" -max_total_time="${FUZZ_SECONDS:-30}" -timeout=10 -rss_limit_mb=1024 -malloc_limit_mb=512 \
    -max_len=$([ "$target" = elf ] && echo 300000 || echo 20000) -print_final_stats=1 corpus seeds >log 2>&1) || { tail -n 40 "$room/log"; echo "FOUND by $target: $room"; return 1; }
  printf '%-12s %9s inputs, %5s new units, %s edges\n' "$target" "$(grep -oE 'number_of_executed_units: [0-9]+' "$room/log" | grep -oE '[0-9]+')" \
    "$(ls "$room/corpus" | wc -l)" "$(grep -oE 'cov: [0-9]+' "$room/log" | tail -1 | grep -oE '[0-9]+')"
}
failed=0
for ((i = 0; i < ${#targets[@]}; i += 2)); do
  run "${targets[i]}" & first=$!
  if [ $((i + 1)) -lt ${#targets[@]} ]; then run "${targets[i + 1]}" || failed=1; fi
  wait $first || failed=1
done
rm -rf "$fuzz"/run/*/scratch-*
[ $failed = 0 ] && echo "${#targets[@]} targets, no finding"
