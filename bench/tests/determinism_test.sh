#!/usr/bin/env bash
# Steps of training give the same bits on a CPU build, and a step that gives others is found.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$PWD/build/bench-venv/bin/python
scratch=build/test-scratch/determinism
rm -rf $scratch; mkdir -p $scratch
run=(--device cpu --build "$(ls build/plugins/triangle_multiplication-*-cpu_avx2.so)" --sizes 20 --widths 32 --turns 1)
$python bench/gpu/determinism.py "${run[@]}" >$scratch/same
[ "$(grep -c 'every bit the same' $scratch/same)" = 4 ] || { cat $scratch/same; exit 1; }
# One number of one gradient is another: as if a sum had come in another order.
cp bench/gpu/*.py $scratch/
sed -i 's/^    for turn in range(options.turns):/    expected["b_gate_weight"][0, 0] += 1\n&/' $scratch/determinism.py
if $python $scratch/determinism.py "${run[@]}" >$scratch/other; then echo "other bits went unseen"; exit 1; fi
[ "$(grep -c ': b_gate_weight differs in 2$' $scratch/other)" = 4 ] || { cat $scratch/other; exit 1; }
echo "steps give the same bits, and other bits are found"
