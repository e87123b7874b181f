#!/usr/bin/env bash
# The builds by another compiler (clang 22 of the ziglang wheel): gfx950, which Debian's does not know, and gfx942 once more; both conform on the
# emulator over switches, sizes and widths.
set -euo pipefail
cd "$(dirname "$0")/../../.."
environment=build/python/ziglang
[ -x $environment/bin/python ] || python3 -m venv $environment
$environment/bin/python -c 'import ziglang' 2>/dev/null || $environment/bin/python -m pip install --quiet --disable-pip-version-check ziglang==0.17.0
for arch in gfx950 gfx942; do  # the layers that have it for all three
  for layer in $(sed -n 's|^\([a-z0-9_]*\) [0-9.]*:.* hip_gfx942 hip_gfx90a.*|\1|p' <(make --no-print-directory list)); do
    version=$(jq -r .version layers/"$layer"/contract.json)
    build=build/second_compiler/plugins/$layer-$version-hip_$arch.so
    make --no-print-directory BUILD=build/second_compiler ZIGLANG_PYTHON=$environment/bin/python arch.hip_$arch.compiler=ziglang "$build"
    # Debian's LLVM cannot disassemble gfx950, so its budget is looked at here.
    [ $arch != gfx950 ] || python3 kernels/hip/isa_report.py layers/"$layer"/tests/isa_budget.txt \
      build/second_compiler/obj/plugins/"$layer"/hip_gfx950/device_code_5.co
    for filter in every_switch 'case size' 'case width' 'case in_place'; do
      LD_LIBRARY_PATH=build/hip_emulator LAMINA_HIP_EMULATOR="arch=$arch" build/bin/lamina conform "$build" --ops forward,pack \
        --against "build/plugins/$layer-$version-reference.so" --require-all --filter "$filter" >build/test-scratch/second_compiler.txt 2>&1 ||
        { tail -n 30 build/test-scratch/second_compiler.txt; exit 1; }
      grep -E '^[1-9][0-9]* passed, 0 failed' build/test-scratch/second_compiler.txt | sed "s|^|$arch, $filter: |"
    done
  done
done
