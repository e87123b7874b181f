#!/usr/bin/env bash
# What conform_test.sh leaves out: every case of gfx90a, and the large ones of gfx942 for the layers that have both.  For the others
# the reference in double precision would take longer than all the rest.
set -euo pipefail
cd "$(dirname "$0")/../../.."
conformance/hip_emulator/tests/conform_test.sh gfx90a
for build in build/plugins/*-hip_gfx90a.so; do
  LD_LIBRARY_PATH=build/hip_emulator LAMINA_HIP_EMULATOR="arch=gfx942" build/bin/lamina conform "${build/gfx90a/gfx942}" --require-all --ops forward,pack \
    --filter 'case large '
done
