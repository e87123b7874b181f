#!/usr/bin/env bash
# The primitives' tests without a GPU: they say that nothing was run, refuse where a GPU is required, and load and launch on the stand-in
# driver, which checks names, parameters, threads and shared memory of every kernel.  `make test-gpu` runs them for real.
set -euo pipefail
cd "$(dirname "$0")/../../.."
program=build/bin/kernels-cuda-primitives_test
out=build/test-scratch/primitives
mkdir -p $out
if $program --require-gpu >$out/real 2>&1; then
  echo "the primitives do what they promise on this machine's GPU"
else
  $program >$out/plain 2>&1 || { cat $out/plain; exit 1; }
  grep -q '^compiled, not run: ' $out/plain || { echo "a GPU is there, and the primitives fail on it:"; cat $out/real; exit 1; }
  echo "this machine has no GPU for them: the primitives' kernels were compiled, none was run"
fi
export LD_LIBRARY_PATH=build/fake_cuda
$program --load-only --require-gpu >$out/fake 2>&1 || { cat $out/fake; exit 1; }
if LAMINA_FAKE_CUDA='capability=75' $program --load-only --require-gpu >$out/old 2>&1; then echo "a GPU of 7.5 was taken"; exit 1; fi
if $program --require-gpu >$out/wrong 2>&1; then echo "a driver that computes nothing passed"; exit 1; fi
for fault in none out_of_bounds race barrier uninitialised; do build/bin/kernels-cuda-planted_faults $fault >/dev/null; done
echo "every kernel loads and launches on the stand-in driver"
