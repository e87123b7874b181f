#!/usr/bin/env bash
# conform_test.sh [ARCH [OPTION...]]: the HIP builds for ARCH through `lamina conform`, executed by the emulator.  They have the ops of inference.  Reports: build/conformance/.
# Without arguments all but the large cases of gfx942, whose reference in double precision takes as long as all others together.
set -euo pipefail
cd "$(dirname "$0")/../../.."
mkdir -p build/conformance
[ $# -gt 0 ] || set -- gfx942 --without 'case large '
arch=$1; shift
for build in build/plugins/*-hip_"$arch".so; do
  [ -f "$build" ] || { echo "no build for $arch in build/plugins"; exit 1; }
  LD_LIBRARY_PATH=build/hip_emulator LAMINA_HIP_EMULATOR="arch=$arch" build/bin/lamina conform "$build" --require-all --ops forward,pack "$@" \
    --report "build/conformance/$(basename "$build" .so).json"
done
