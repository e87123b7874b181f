#!/usr/bin/env bash
# Slow test: the Python examples that need torch, as a reader would run them.
test_name=packager-python-examples
source "$(dirname "$0")/support.sh"
make --no-print-directory build/python/kernels_0_16_transformers/installed
export LAMINA_STRICT=1
python=build/python/kernels_0_16_transformers/bin/python
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
$python examples/accelerate_transformers.py "$scratch/bundle" | tee "$scratch/five_lines.log"
grep -q '^4 swapped, 0 skipped' "$scratch/five_lines.log" || fail 'not every layer was swapped'
$python examples/fold_esmfold2.py "$scratch/bundle" | tee "$scratch/fold.log"
grep -qE '^pLDDT differs by 0\.0[0-9]+, the distogram by [0-9.]+e-0[5-9]$' "$scratch/fold.log" || fail 'the folds differ'
# Ten steps of training: all that the patch finds is ours, and the losses are those of eager up to rounding.
"$lamina" pack transition --org $org --counter 1 --only-backend cpu --out "$scratch/transition" >/dev/null
OMP_NUM_THREADS=1 $python examples/train_pair_block.py "$scratch/bundle" "$scratch/transition" --steps 10 --out "$scratch/training"
jq -e '(.runs.Lamina.swapped | length == 6) and .largest_distance_from_float64.Lamina < 2e-6 and .runs.Lamina.losses[9] < .runs.Lamina.losses[0]' \
  "$scratch/training/training_pair_block.json" >/dev/null || fail 'training went another way'
grep -q '</svg>' "$scratch/training/training_pair_block.svg" || fail 'no picture'
echo 'Python examples: passed'
