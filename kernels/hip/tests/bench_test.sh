#!/usr/bin/env bash
# `lamina bench --device rocm:0` times a HIP build (on the emulator: that it runs and prints, not how fast), and refuses what goes with CPUs alone.
set -euo pipefail
cd "$(dirname "$0")/../../.."
mkdir -p build/test-scratch
export LD_LIBRARY_PATH=build/hip_emulator LAMINA_HIP_EMULATOR=arch=gfx942
build=$(ls build/plugins/*-hip_gfx942.so | head -1)
bench() { build/bin/lamina bench --device rocm:0 --build "$build" --dims N=8,C=16 --dtype bfloat16 --seconds 0.05 "$@"; }
bench | tee build/test-scratch/hip-bench.txt
# What a report must say of the GPU and of the build.
grep -Eq '^emulated gfx942, HIP runtime [0-9]+\.[0-9]+\.[0-9]+$' build/test-scratch/hip-bench.txt
grep -Eq '^[a-z_]+ [0-9.]+ hip_gfx942, build [0-9a-f]+$' build/test-scratch/hip-bench.txt
grep -Eq '^hip_gfx942 +bfloat16 .* [0-9.]+ ms \(median [0-9.]+\)' build/test-scratch/hip-bench.txt
if bench --write build/test-scratch/page >build/test-scratch/hip-bench.txt 2>&1; then echo '--write was taken'; exit 1; fi
grep -q -- '--write with them or with --model' build/test-scratch/hip-bench.txt
