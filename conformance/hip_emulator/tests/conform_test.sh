#!/usr/bin/env bash
# conform_test.sh [ARCH...]: every HIP build through `lamina conform` on the GPU it is for, executed by the emulator.  Reports: build/conformance/.
set -euo pipefail
cd "$(dirname "$0")/../../.."
mkdir -p build/conformance
archs=("$@")
[ ${#archs[@]} -gt 0 ] || archs=(gfx942)
ran=0
for arch in "${archs[@]}"; do
  for build in build/plugins/*-hip_"$arch".so; do
    [ -f "$build" ] || { echo "no build for $arch in build/plugins"; exit 1; }
    LD_LIBRARY_PATH=build/hip_emulator LAMINA_HIP_EMULATOR="arch=$arch" build/bin/lamina conform "$build" --require-all \
      --report "build/conformance/$(basename "$build" .so).json"
    ran=$((ran + 1))
  done
done
echo "$ran HIP builds conform, executed instruction by instruction"
