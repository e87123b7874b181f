#!/usr/bin/env bash
# The device code of kernels/gpu compiles by CUDA's compiler and by clang for AMD GPUs, from one source, to kernels that load 16 bytes at a time.
set -euo pipefail
cd "$(dirname "$0")/../../.."
made=build/obj/kernels/gpu/tests
grep -q 'ld.global.*v4' $made/rows.ptx || { echo 'nvcc: no load of 16 bytes'; exit 1; }
listing=$(llvm-objdump-19 -d $made/rows.co)
grep -q 'global_load_dwordx4' <<<"$listing" || { echo 'clang: no load of 16 bytes'; exit 1; }
echo 'kernels/gpu: both compilers take it'
