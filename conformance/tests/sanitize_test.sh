#!/usr/bin/env bash
# gpu.sh --sanitize believes a sanitizer only after it has seen it find planted faults, says what it ran, and fails where there is none.
# Stand-ins play the GPU's and the sanitizer's part.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=$PWD/build/test-scratch/sanitize
rm -rf "$scratch"; mkdir -p "$scratch/bin" "$scratch/tree/build/bin" "$scratch/tree/build/plugins" "$scratch/tree/conformance/tests" "$scratch/tree/layers/toy/tests"
tree=$scratch/tree
cp conformance/tests/gpu.sh conformance/tests/sanitize.sh "$tree/conformance/tests/"
printf '#!/bin/sh\necho "Stand-in GPU, 580.0, 9.0, 1 MiB"\n' >"$scratch/bin/nvidia-smi"
for program in kernels-cuda-planted_faults kernels-cuda-primitives_test lamina; do printf '#!/bin/sh\necho "%s $*"; exit ${%s_CODE:-0}\n' $program "$(tr a-z- A-Z_ <<<$program)" >"$tree/build/bin/$program"; done
: >"$tree/build/plugins/toy-1.0.0-cuda_sm80.so"
: >"$tree/layers/toy/tests/sanitizer_cases.json"
# SEES: the tools whose faults it finds.
cat >"$scratch/bin/compute-sanitizer" <<'S'
#!/bin/bash
if [ "$1" = --version ]; then echo 'stand-in sanitizer'; exit; fi
tool=$2; shift 8
"$@" || exit
case $tool:$2 in
  memcheck:out_of_bounds) word='Invalid __global__ write of size 4 bytes' ;;
  racecheck:race) word='Race reported between Write and Read' ;;
  synccheck:barrier) word='Barrier error detected. Divergent thread(s) in block' ;;
  initcheck:uninitialised) word='Uninitialized __global__ memory read of size 4 bytes' ;;
  *) exit 0 ;;
esac
case " $SEES " in *" $tool "*) echo "========= $word"; exit 99 ;; esac
S
chmod +x "$scratch"/bin/* "$tree"/build/bin/*
sanitize() { (cd "$tree" && env PATH="$scratch/bin:$PATH" "$@" conformance/tests/gpu.sh --sanitize --commit abc --measurement found.txt >"$scratch/log" 2>&1); }
fails() { if sanitize "$@"; then echo "passed with $*"; cat "$scratch/log"; exit 1; fi; }
all='memcheck racecheck synccheck initcheck'
sanitize SEES="$all" || { cat "$scratch/log"; exit 1; }
grep -q '^8 runs under compute-sanitizer, 0 failures$' "$tree/found.txt"
grep -q -- '--tool initcheck .* build/bin/lamina conform build/plugins/toy-1.0.0-cuda_sm80.so --device cuda:0 --cases layers/toy/tests/sanitizer_cases.json' "$tree/found.txt"
fails SEES='memcheck racecheck initcheck'
grep -q "^FAIL: synccheck does not see the planted fault 'barrier'" "$tree/found.txt"
grep -q '^6 runs under compute-sanitizer, 1 failures$' "$tree/found.txt"
fails SEES="$all" LAMINA_CODE=99
fails SEES="$all" KERNELS_CUDA_PRIMITIVES_TEST_CODE=1
fails SEES="$all" LAMINA_CODE=8 KERNELS_CUDA_PRIMITIVES_TEST_CODE=8
grep -q 'NOT RUN on this GPU: build/plugins/toy' "$tree/found.txt"
rm "$scratch/bin/compute-sanitizer"
if ! command -v compute-sanitizer >/dev/null && [ ! -x /usr/local/cuda/bin/compute-sanitizer ]; then
  fails SEES="$all"
  grep -q '^FAIL: this machine has no compute-sanitizer' "$tree/found.txt"
fi
echo "what the sanitizer passes was preceded by what it must find"
