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
echo 'Python examples: passed'
