#!/usr/bin/env bash
# Slow test: training through the generated Python package: gradcheck on the reference build in float64, the machine's own builds in every dtype,
# torch.compile, kernelize for training.
test_name=packager-python-training
source "$(dirname "$0")/support.sh"
make --no-print-directory build/python/kernels_0_17_hub_1/installed
export LAMINA_STRICT=1 TORCHINDUCTOR_CACHE_DIR=$scratch/inductor
python=build/python/kernels_0_17_hub_1/bin/python
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
$python packager/tests/python_training.py reference "$scratch/bundle" build/plugins/$layer-*-reference.so "$scratch/reference"
for step in exact parts; do $python packager/tests/python_training.py $step "$scratch/reference"; done
for step in builds operators kernelize refusals; do
  echo "== $step"
  $python packager/tests/python_training.py $step "$scratch/bundle"
done
echo 'Python training: passed'
