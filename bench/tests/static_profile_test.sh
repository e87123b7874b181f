#!/usr/bin/env bash
# No kernel of a CUDA build spills, and the profile sees every kernel of a layer with a list of problems launched.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=build/test-scratch/static-profile
rm -rf $scratch; mkdir -p $scratch
for contract in layers/*/contract.json; do
  layer=$(basename "$(dirname "$contract")")
  ls build/plugins/"$layer"-*-cuda_*.so >/dev/null 2>&1 || continue
  python3 bench/gpu/profile_static.py "$layer" --tools build/cuda-tools/nvidia/cu13/bin --commit none --write $scratch/$layer.md --spills-fail
  grep -q '^No kernel spills.$' $scratch/$layer.md
  [ -e layers/"$layer"/cuda_problems.py ] || continue
  # A kernel without threads is one that no problem of the list launched.
  if grep -E '^\| [a-z_0-9]+ \|  \|' $scratch/$layer.md; then echo "no problem launches these kernels of $layer"; exit 1; fi
  grep -qE '^\| [a-z_0-9]+ \| [0-9]+ \| [0-9]+ \|' $scratch/$layer.md || { echo "$scratch/$layer.md has no kernels"; exit 1; }
done
echo "no kernel spills"
