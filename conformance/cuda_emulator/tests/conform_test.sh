#!/usr/bin/env bash
# conform_test.sh [OPTION...]: the Hopper builds through `lamina conform`, their kernels' source executed by the emulator, over the layers' cases for it.
# Few processors, so that CTAs have several tiles.  Without arguments all but the cases whose names begin with whole_.  Logs: build/conformance/.
set -euo pipefail
cd "$(dirname "$0")/../../.."
mkdir -p build/conformance
[ $# -gt 0 ] || set -- --filter 'case ' --without 'case whole_'
export LD_LIBRARY_PATH=build/cuda_emulator LAMINA_FAKE_CUDA='processors=12' LAMINA_BARE_MEMORY=1
tried=0
for cases in layers/*/tests/emulator_cases.json; do
  layer=$(basename "$(dirname "$(dirname "$cases")")")
  for build in build/plugins/"$layer"-*-cuda_sm90a.so; do
    log=build/conformance/$(basename "$build" .so)-emulated.log
    build/bin/lamina conform "$build" --cases "$cases" --device cuda:0 --require-all --max-gflop 60 --verbose "$@" >"$log" 2>&1 || { cat "$log"; exit 1; }
    echo "$log: $(tail -n 1 "$log")"
    tried=$((tried + 1))
  done
done
[ $tried -gt 0 ] || { echo "no layer has cases"; exit 1; }
