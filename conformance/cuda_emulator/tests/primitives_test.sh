#!/usr/bin/env bash
# The tests of kernels/cuda's primitives, which were written for a GPU and pass on one, pass over the emulator: it and the hardware agree on barriers,
# boxes, matrices and products.
set -euo pipefail
cd "$(dirname "$0")/../../.."
export LD_LIBRARY_PATH=build/cuda_emulator
for chance in 'products=early' 'products=late' 'seed=2'; do
  LAMINA_CUDA_EMULATOR=$chance build/bin/kernels-cuda-primitives_test --require-gpu
done
