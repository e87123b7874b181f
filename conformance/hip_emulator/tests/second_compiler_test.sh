#!/usr/bin/env bash
# The kernels of kernels.hip by another compiler (clang 22 of the ziglang wheel), for all three GPUs: what one compiler happens not to write, or
# writes by chance as the emulator reads it, the other may not.
set -euo pipefail
cd "$(dirname "$0")/../../.."
environment=build/python/ziglang
[ -x $environment/bin/python ] || python3 -m venv $environment
$environment/bin/python -c 'import ziglang' 2>/dev/null || $environment/bin/python -m pip install --quiet ziglang==0.17.0
folder=$(mktemp -d build/hip_emulator/second.XXXXXX)
trap 'rm -rf "$folder"' EXIT
zig() { $environment/bin/python -m ziglang "$@"; }
for arch in gfx90a gfx942 gfx950; do
  zig clang -x hip --offload-arch=$arch -nogpuinc -nogpulib -nostdinc -std=c++20 -O3 -ffp-contract=fast -mcode-object-version=5 --cuda-device-only \
    --no-gpu-bundle-output -S -o "$folder/$arch.s" conformance/hip_emulator/tests/kernels/kernels.hip
  zig clang -cc1as -triple amdgcn-amd-amdhsa -target-cpu $arch -filetype obj -o "$folder/$arch.o" "$folder/$arch.s"
  zig ld.lld -shared "$folder/$arch.o" -o "$folder/$arch.co"
  echo "$arch: $(LAMINA_HIP_EMULATOR="arch=$arch" build/bin/hip_emulator-run_kernels "$folder/$arch.co" 2>&1)"
done
