#!/usr/bin/env bash
# What conform_test.sh leaves out, and its cases by other chances: products as late and as early as they may be, other numbers of processors.
set -euo pipefail
cd "$(dirname "$0")/../../.."
LAMINA_CUDA_EMULATOR='seed=2' conformance/cuda_emulator/tests/conform_test.sh --filter 'case whole_'
LAMINA_CUDA_EMULATOR='seed=3 products=late' conformance/cuda_emulator/tests/conform_test.sh --filter 'case ' --without 'case whole_'
LAMINA_CUDA_EMULATOR='seed=4 products=early' conformance/cuda_emulator/tests/conform_test.sh --filter 'case ' --without 'case whole_'
