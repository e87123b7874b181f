#!/usr/bin/env bash
# What a machine with a GPU shows: the CUDA side of conformance itself, then every CUDA build through all cases, refusals, properties and
# device checks, and the layers' large problems.
#
#   conformance/tests/gpu.sh [--prebuilt] [--device cuda:0] [--commit NAME] [--measurement FILE] [--sanitize]
#
# --sanitize     instead: each layer's small cases and the tests of the CUDA primitives under compute-sanitizer's four tools, after planted
#                faults have shown that each tool sees on this machine what it is there for
# --prebuilt     compile nothing: `make gpu-kit` has put everything beside this script
# --measurement  write what was found to FILE: GPU, driver, commit, command and results, no times of day
set -euo pipefail
given="$*"
cd "$(dirname "$0")/../.."
device=cuda:0 prebuilt= measurement= commit= sanitize=
while [ $# -gt 0 ]; do
  case $1 in
    --prebuilt) prebuilt=--prebuilt ;;
    --sanitize) sanitize=yes ;;
    --device) device=${2:?--device wants cuda:N}; shift ;;
    --commit) commit=${2:?--commit wants a name}; shift ;;
    --measurement) measurement=${2:?--measurement wants a file}; shift ;;
    *) echo "gpu.sh knows no option '$1'" >&2; exit 2 ;;
  esac
  shift
done
if [ -n "$prebuilt" ] && [ -d build/kit-lib ]; then export LD_LIBRARY_PATH=$PWD/build/kit-lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}; fi
mkdir -p build/conformance
results=build/conformance/gpu.txt
: >"$results"
say() { printf '%s\n' "$@" | tee -a "$results"; }

facts=$(nvidia-smi --id="${device#cuda:}" --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader) ||
  { echo "this machine has no NVIDIA GPU ${device#cuda:}"; exit 8; }
if [ -z "$commit" ]; then
  if [ -f build/gpu-kit-commit ] && [ -n "$prebuilt" ]; then commit=$(cat build/gpu-kit-commit)
  else commit=$(git describe --always --abbrev=40 --dirty 2>/dev/null) || { echo "no commit is known here: give --commit NAME" >&2; exit 2; }; fi
fi
say "GPU, driver, compute capability, memory: $facts" "commit: $commit" "command: conformance/tests/gpu.sh${given:+ $given}" ''

failed=0 ran=0
# step COMMAND...: its output goes into the results; what fails is counted
step() {
  local code=0
  say "\$ $*"
  "$@" >"$results.step" 2>&1 || code=$?
  tee -a "$results" <"$results.step"
  [ $code = 0 ] || say "exit code $code"
  say ''
  return $code
}
finish() {  # finish SENTENCE
  say "$1"
  [ -z "$measurement" ] || { mkdir -p "$(dirname "$measurement")"; cp "$results" "$measurement.new"; mv "$measurement.new" "$measurement"; }
  [ $failed = 0 ] && [ $ran -gt 0 ]
  exit
}
if [ -n "$sanitize" ]; then
  source conformance/tests/sanitize.sh
  sanitize_all
  finish "$ran runs under compute-sanitizer, $failed failures"
fi
step build/bin/conformance-device_gpu || failed=$((failed + 1))
DEVICE=$device step conformance/tests/probe/probe.sh $prebuilt || failed=$((failed + 1))
step build/bin/kernels-cuda-primitives_test --require-gpu || failed=$((failed + 1))
for build in build/plugins/*-cuda_*.so; do
  [ -f "$build" ] || continue
  code=0
  step build/bin/lamina conform "$build" --device "$device" --report "build/conformance/$(basename "$build" .so).json" || code=$?
  case $code in
    0) ran=$((ran + 1)) ;;
    8) say "NOT RUN on this GPU: $build" ''; continue ;;
    *) failed=$((failed + 1)) ;;
  esac
  layer=$(basename "$build" | sed 's/-[0-9][0-9.]*-.*//')
  for program in build/bin/"$layer"-large_*; do
    [ -x "$program" ] || continue
    step "$program" "$build" "$device" || failed=$((failed + 1))
  done
done
finish "$ran CUDA builds conform, $failed failures"
