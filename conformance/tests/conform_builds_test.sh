#!/usr/bin/env bash
# Every build that this machine can run conforms, with nothing unsupported; what it can't run is said.  Reports: build/conformance/.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/conformance
ran=0; failed=0; elsewhere=0
for build in build/plugins/*-reference.so build/plugins/*-cpu_*.so; do
  [ -f "$build" ] || continue
  layer=$(basename "$build" | sed 's/-[0-9][0-9.]*-.*//')
  [ -f "layers/$layer/cases.json" ] || { echo "$build: its layer has no cases.json"; failed=$((failed + 1)); continue; }
  code=0
  build/bin/lamina conform "$build" --require-all --report "build/conformance/$(basename "$build" .so).json" || code=$?
  case $code in
    0) ran=$((ran + 1)) ;;
    8) echo "NOT RUN here: $build"; elsewhere=$((elsewhere + 1)) ;;
    *) echo "FAILED: $build (exit code $code)"; failed=$((failed + 1)) ;;
  esac
done
# Processors with AVX-512 but without its bfloat16 product take another path of cpu_avx512.
for build in build/plugins/*-cpu_avx512.so; do
  [ -f "$build" ] || continue
  name=$(basename "$build")
  make --no-print-directory BUILD=build/without_bf16 WITHOUT=AVX512BF16 "build/without_bf16/plugins/$name"
  code=0
  build/bin/lamina conform "build/without_bf16/plugins/$name" --against "${build/cpu_avx512/reference}" --filter 'case ' --require-all || code=$?
  case $code in
    0) ran=$((ran + 1)) ;;
    8) echo "NOT RUN here: $name without AVX512_BF16"; elsewhere=$((elsewhere + 1)) ;;
    *) echo "FAILED: $name without AVX512_BF16 (exit code $code)"; failed=$((failed + 1)) ;;
  esac
done
echo "$ran builds conform, $failed fail, $elsewhere need another machine"
[ $failed = 0 ] && [ $ran -gt 0 ]
