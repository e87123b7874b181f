#!/usr/bin/env bash
# Slow test: the generated Python package of a bundle, step by step.
test_name=packager-python-shim
source "$(dirname "$0")/support.sh"

make --no-print-directory build/python/kernels_0_17_hub_1/installed
export LAMINA_STRICT=1 TORCHINDUCTOR_CACHE_DIR=$scratch/inductor
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
run() { echo "== $2"; build/python/kernels_0_17_hub_1/bin/python packager/tests/$1.py $2 "$scratch/bundle"; }
for step in signatures dtypes functions operators overhead; do run python_shim $step; done
for step in changes patching refusals; do run python_patching $step; done
echo 'Python shim: passed'
