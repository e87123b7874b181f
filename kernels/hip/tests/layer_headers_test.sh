#!/usr/bin/env bash
# Every layer's device code for gfx942 with AMD's own headers: the same instructions as in the build.
set -euo pipefail
cd "$(dirname "$0")/../../.."
scratch=build/test-scratch/hip-layer-headers
rm -rf $scratch && mkdir -p $scratch
listing() { llvm-objdump-19 -d "$1" | sed -E 's|//.*||; /file format/d; s/^[0-9a-f]+ //'; }
seen=0
for source in layers/*/hip_gfx942.hip; do
  layer=$(basename "$(dirname "$source")")
  clang-19 -x hip --offload-arch=gfx942 -nogpulib -std=c++20 -O3 -ffp-contract=fast --cuda-device-only --no-gpu-bundle-output -mcode-object-version=5 -I. \
    --rocm-path=/usr -Wno-deprecated-pragma -include hip/hip_runtime.h -o $scratch/$layer.co "$source"
  listing $scratch/$layer.co >$scratch/with.s
  listing build/obj/plugins/"$layer"/hip_gfx942/device_code_5.co >$scratch/without.s
  [ "$(grep -c mfma $scratch/with.s)" -gt 20 ] || { echo "$layer: the listing holds no kernels"; exit 1; }
  cmp $scratch/without.s $scratch/with.s || { echo "$layer: AMD's headers change the code"; exit 1; }
  seen=$((seen + 1))
done
echo "AMD's headers: the same instructions in $seen layers"
