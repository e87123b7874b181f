#!/usr/bin/env bash
# The ISA report: every HIP kernel keeps its budget; and a kernel that spills to scratch, grows, or is unknown makes it fail.
set -euo pipefail
cd "$(dirname "$0")/../../.."
scratch=build/test-scratch/isa-report
rm -rf $scratch && mkdir -p $scratch
make --no-print-directory isa-report >$scratch/report || { cat $scratch/report; exit 1; }
grep -q 'contract_bfloat16' $scratch/report || { echo 'the report shows no kernel'; exit 1; }

fails() {  # WHAT BUDGET CODE_OBJECT
  if python3 kernels/hip/isa_report.py "$2" "$3" >$scratch/out 2>&1; then echo "passed: $1"; cat $scratch/out; exit 1; fi
  grep -q "$1" $scratch/out || { echo "failed without saying '$1':"; cat $scratch/out; exit 1; }
}
for object in build/obj/plugins/*/hip_gfx942/device_code_5.co; do  # the one whose kernels are named below
  if llvm-readelf-19 --notes "$object" | grep contract_bfloat16 >/dev/null; then break; fi
done
layer=$(basename "$(dirname "$(dirname "$object")")")
budget=layers/$layer/tests/isa_budget.txt
sed -E '/gfx942 contract_bfloat16/s/vgpr=[0-9]+/vgpr=96/' $budget >$scratch/registers.txt
fails 'contract_bfloat16: vgpr [0-9]* is above' $scratch/registers.txt "$object"
sed -E '/gfx942 contract_bfloat16/s/share=[0-9]+/share=99/' $budget >$scratch/share.txt
fails 'MFMA share .* is below' $scratch/share.txt "$object"
sed -E '/gfx942 contract_bfloat16/d' $budget >$scratch/unknown.txt
fails 'contract_bfloat16: is not in the budget' $scratch/unknown.txt "$object"
(cat $budget; echo 'gfx942 front_bfloat8 vgpr=1 lds=0 mfma=0 share=0') >$scratch/gone.txt
fails 'front_bfloat8: is in the budget, but' $scratch/gone.txt "$object"

# An array that is indexed lies in scratch, a vector that is indexed in indexed registers, and 96 sums do not fit eight waves a SIMD.
cat >$scratch/faulty.hip <<'CODE'
#include "kernels/hip/wave.h"
typedef float Sixteen __attribute__((ext_vector_type(16)));
using lamina::hip::thread_index;
extern "C" __global__ void __launch_bounds__(256, 2) local_array(const int *from, float *to) {
  float kept[256];
  for (int i = 0; i < 256; ++i) kept[i] = to[i];
  to[thread_index()] = kept[from[thread_index()] & 255];
}
extern "C" __global__ void __launch_bounds__(256, 2) indexed_vector(const int *from, const float *values, float *to) {
  Sixteen kept;
#pragma unroll
  for (int i = 0; i < 16; ++i) kept[i] = values[thread_index() * 16 + i];
  to[thread_index()] = kept[*from & 15];
}
extern "C" __global__ void __launch_bounds__(256, 8) too_many_sums(const float *from, float *to) {
  float kept[96];
#pragma unroll
  for (int i = 0; i < 96; ++i) kept[i] = from[thread_index() + i * 256];
  for (int turn = 0; turn < 3; ++turn)
#pragma unroll
    for (int i = 0; i < 96; ++i) kept[i] = kept[(i * 7 + 1) % 96] * kept[i] + from[turn];
#pragma unroll
  for (int i = 0; i < 96; ++i) to[thread_index() + i * 256] = kept[i];
}
CODE
clang-19 -x hip --offload-arch=gfx942 -nogpuinc -nogpulib -std=c++20 -O2 --cuda-device-only --no-gpu-bundle-output -I. -o $scratch/faulty.co $scratch/faulty.hip
fails 'local_array: uses [0-9]* bytes of scratch' $budget $scratch/faulty.co
fails 'local_array: uses scratch' $budget $scratch/faulty.co
fails 'indexed_vector: uses indexed registers' $budget $scratch/faulty.co
fails 'too_many_sums: spills [0-9]* registers' $budget $scratch/faulty.co
echo 'every HIP kernel keeps its budget; growth, spills, scratch, indexed registers and unknown kernels are found'
