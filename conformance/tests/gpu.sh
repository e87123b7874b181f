#!/usr/bin/env bash
# What a machine with a GPU shows: every CUDA build through all cases, refusals, properties and device checks, then the layers' large
# problems.  `make test-gpu` runs it and keeps the output in build/test-gpu.txt.
set -euo pipefail
cd "$(dirname "$0")/../.."
device=${DEVICE:-cuda:0}
mkdir -p build/conformance
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || { echo "this machine has no NVIDIA GPU"; exit 8; }
build/bin/conformance-device_gpu
conformance/tests/probe/probe.sh
ran=0; failed=0
for build in build/plugins/*-cuda_*.so; do
  [ -f "$build" ] || continue
  code=0
  build/bin/lamina conform "$build" --device "$device" --report "build/conformance/$(basename "$build" .so).json" || code=$?
  case $code in 0) ran=$((ran + 1)) ;; 8) echo "NOT RUN on this GPU: $build"; continue ;; *) failed=$((failed + 1)) ;; esac
  layer=$(basename "$build" | sed 's/-[0-9][0-9.]*-.*//')
  for program in build/bin/"$layer"-large_*; do
    [ -x "$program" ] || continue
    "$program" "$build" "$device" || failed=$((failed + 1))
  done
done
echo "$ran CUDA builds conform, $failed failures"
[ $failed = 0 ] && [ $ran -gt 0 ]
