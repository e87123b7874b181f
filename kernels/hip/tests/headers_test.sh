#!/usr/bin/env bash
# The device code with AMD's own headers (Debian's libamdhip64-dev): it compiles, and to the same instructions as without them.
set -euo pipefail
cd "$(dirname "$0")/../../.."
scratch=build/test-scratch/hip-headers
rm -rf $scratch && mkdir -p $scratch
build/bin/kernels-hip-headers_test
flags='-x hip --offload-arch=gfx90a -std=c++20 -O3 -ffp-contract=fast --cuda-device-only --no-gpu-bundle-output -nogpulib -I.'
source=kernels/hip/tests/primitives.hip
clang-19 $flags -nogpuinc -o $scratch/without.co $source
clang-19 $flags --rocm-path=/usr -Wno-deprecated-pragma -include hip/hip_runtime.h -o $scratch/with.co $source
for one in without with; do llvm-objdump-19 -d $scratch/$one.co | sed -E 's|//.*||; /file format/d; s/^[0-9a-f]+ //' >$scratch/$one.s; done
[ "$(grep -c mfma $scratch/with.s)" -gt 20 ] || { echo 'the listing holds no kernels'; exit 1; }
cmp $scratch/without.s $scratch/with.s || { echo "AMD's headers change the code"; exit 1; }
echo "AMD's headers: the same instructions"
