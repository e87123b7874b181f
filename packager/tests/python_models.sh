#!/usr/bin/env bash
# Slow test: a sentence model with its real weights and ESM-2 at 650M width give the same with our layers in them: patched, mapped as kernels of
# the hub, and without Python by examples/sentence_embeddings.cpp.
test_name=packager-python-models
source "$(dirname "$0")/support.sh"
make --no-print-directory build/python/models/installed build/bin/sentence_embeddings
"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" trust add $org "$scratch/key.pub" >/dev/null
for layer in linear_activation linear_residual; do
  "$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/$layer" >/dev/null
  "$lamina" sign "$scratch/$layer" --key "$scratch/key.sec" >/dev/null
done
export LAMINA_STRICT=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_PROGRESS_BARS=1
run() { local step=$1; shift; echo "== $step"; build/python/models/bin/python packager/tests/python_models.py $step "$scratch"/linear_{activation,residual} "$@"; }
run patched
run mapped
run without_python build/bin/sentence_embeddings
run trained
run esm2
echo 'Python models: passed'
