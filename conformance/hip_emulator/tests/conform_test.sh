#!/usr/bin/env bash
# conform_test.sh [ARCH [OPTION...]]: the HIP builds for ARCH through `lamina conform`, executed by the emulator, as many at once as the machine
# has processors.  They have the ops of inference.  Reports and logs: build/conformance/.
# Without arguments all but the large cases of gfx942, whose reference in double precision takes as long as all others together.
set -euo pipefail
cd "$(dirname "$0")/../../.."
mkdir -p build/conformance
[ $# -gt 0 ] || set -- gfx942 --without 'case large '
arch=$1; shift
running=()
for build in build/plugins/*-hip_"$arch".so; do
  [ -f "$build" ] || { echo "no build for $arch in build/plugins"; exit 1; }
  while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do sleep 0.2; done
  log=build/conformance/$(basename "$build" .so)
  LD_LIBRARY_PATH=build/hip_emulator LAMINA_HIP_EMULATOR="arch=$arch" build/bin/lamina conform "$build" --require-all --ops forward,pack "$@" \
    --report "$log.json" >"$log.log" 2>&1 &
  running+=("$!:$log.log")
done
failed=0
for one in "${running[@]}"; do
  if wait "${one%%:*}"; then echo "${one#*:}: $(tail -n 1 "${one#*:}")"; else cat "${one#*:}"; failed=1; fi
done
exit $failed
