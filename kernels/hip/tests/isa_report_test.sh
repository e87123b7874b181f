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

cat >$scratch/scratch.hip <<'CODE'
#include "kernels/hip/wave.h"
extern "C" __global__ void __launch_bounds__(256, 2) indexed(const int *from, float *to) {
  float kept[64];
  for (int i = 0; i < 64; ++i) kept[i] = to[i];
  to[lamina::hip::thread_index()] = kept[from[lamina::hip::thread_index()] & 63];
}
CODE
clang-19 -x hip --offload-arch=gfx942 -nogpuinc -nogpulib -std=c++20 -O1 --cuda-device-only --no-gpu-bundle-output -I. -o $scratch/scratch.co $scratch/scratch.hip
fails 'scratch\|indexed registers' $budget $scratch/scratch.co
echo 'every HIP kernel keeps its budget; growth, scratch and unknown kernels are found'
