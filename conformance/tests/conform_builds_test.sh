#!/usr/bin/env bash
# Every build that this machine can run conforms, with nothing unsupported; what it can't run is said.  As many at once as the machine has
# processors.  Reports and logs: build/conformance/.
set -euo pipefail
cd "$(dirname "$0")/../.."
room=build/conformance; mkdir -p $room
verdicts=$(mktemp -p $room); trap 'rm -f "$verdicts"' EXIT

# conform NAME ARGUMENT...: one line into $verdicts, the log shown where it fails.
conform() {
  local name=$1 code=0; shift
  build/bin/lamina conform "$@" >"$room/$name.log" 2>&1 || code=$?
  case $code in
    0) echo "pass: $name: $(tail -n 1 "$room/$name.log")" ;;
    8) echo "NOT RUN here: $name: $(tail -n 1 "$room/$name.log")" ;;
    *) cat "$room/$name.log" >&2; echo "FAILED: $name (exit code $code)" ;;
  esac >>"$verdicts"
}
begin() {
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do wait -n; done
  conform "$@" &
}

# Processors with AVX-512 but without its bfloat16 product take another path of cpu_avx512.
without=()
for build in build/plugins/*-cpu_avx512.so; do [ ! -f "$build" ] || without+=("build/without_bf16/plugins/$(basename "$build")"); done
[ ${#without[@]} = 0 ] || make --no-print-directory -j"$(nproc)" BUILD=build/without_bf16 WITHOUT=AVX512BF16 "${without[@]}"

for build in build/plugins/*-reference.so build/plugins/*-cpu_*.so; do
  [ -f "$build" ] || continue
  name=$(basename "$build" .so)
  [ -f "layers/${name%%-*}/cases.json" ] || { echo "FAILED: $name: its layer has no cases.json" >>"$verdicts"; continue; }
  begin "$name" "$build" --require-all --report "$room/$name.json"
done
for build in "${without[@]}"; do
  name=$(basename "$build" .so)
  begin "$name-without-bf16" "$build" --against "build/plugins/${name/cpu_avx512/reference}.so" --filter 'case ' --require-all
done
wait
sort "$verdicts"
! grep -q '^FAILED' "$verdicts" && grep -q '^pass' "$verdicts"
