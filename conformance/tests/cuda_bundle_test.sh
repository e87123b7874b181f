#!/usr/bin/env bash
# The CUDA builds on machines that the stand-in driver plays: what conformance shows without computing, one variant with both builds, and
# the client's choice between them.  Nothing here needs a GPU.
set -euo pipefail
cd "$(dirname "$0")/../.."
lamina=$PWD/build/bin/lamina
room=$PWD/build/cuda-bundle
rm -rf "$room"; mkdir -p "$room/home"
export HOME=$room/home XDG_CONFIG_HOME=$room/config XDG_STATE_HOME=$room/state XDG_CACHE_HOME=$room/xdg HF_HOME=$room/cache HF_HUB_OFFLINE=1
unset HF_TOKEN HF_ENDPOINT HF_HUB_CACHE KERNELS_CACHE LOCAL_KERNELS LAMINA_FAKE_CUDA || true
fail() { echo "FAILED: $*"; exit 1; }
# on MACHINE COMMAND...: MACHINE is words for the stand-in driver, or "none"
on() {
  local machine=$1; shift
  if [ "$machine" = none ]; then LD_LIBRARY_PATH=build/fake_cuda/broken "$@"
  else LAMINA_FAKE_CUDA=$machine LD_LIBRARY_PATH=build/fake_cuda "$@"; fi
}

# Refusals, structs and what needs a driver but no numbers, of one layer: conformance-cuda_host_path asks all of them.  The stand-in computes
# nothing, and conformance is not fooled by that.
layer=triangle_multiplication
for build in build/plugins/$layer-*-cuda_*.so; do
  for checks in refusal struct 'property plan_need' 'property 64 copies' 'property two builds' device; do
    on '' "$lamina" conform "$build" --device cuda:0 --filter "$checks" >"$room/log" 2>&1 || { cat "$room/log"; fail "$build: $checks"; }
    # The one thing that CUDA builds may decline: to keep activations for the backward.
    if grep '^unsupported:' "$room/log" | grep -v 'takes save = nothing'; then fail "$build: $checks are unsupported"; fi
    grep -qE '^[1-9][0-9]* passed, 0 failed' "$room/log" || fail "$build: no check is named '$checks'"
  done
  code=0
  on '' "$lamina" conform "$build" --device cuda:0 --filter 'case boltz_width' >"$room/log" 2>&1 || code=$?
  [ $code = 14 ] || fail "$build: numbers that nobody computed pass (exit code $code)"
  code=0
  on none "$lamina" conform "$build" --device cuda:0 --filter struct >"$room/log" 2>&1 || code=$?
  [ $code = 8 ] || fail "$build: without a driver conform ends with exit code $code, not 8"
done

repo=stand-in/triangle-multiplication variant=torch-stable-abi29-cu130-x86_64-linux
"$lamina" keygen --out "$room/key" >/dev/null
"$lamina" pack $layer --org stand-in --counter 1 --out "$room/bundle" --only-backend cu130 >/dev/null
"$lamina" sign "$room/bundle" --key "$room/key.sec" >/dev/null
"$lamina" trust add stand-in "$room/key.pub" >/dev/null
[ "$(ls "$room/bundle/build")" = $variant ] || fail "the bundle holds $(ls "$room/bundle/build"), expected $variant"
archs=$(cd "$room/bundle/build/$variant" && ls | sed -nE "s/^$layer-[0-9.]+-(cuda_[a-z0-9]+)\.so$/\1/p" | tr '\n' ' ')
[ "$archs" = 'cuda_sm80 cuda_sm90a ' ] || fail "the variant holds the builds '$archs'"
export LOCAL_KERNELS=$repo=$room/bundle

# chooses MACHINE ARCH [OPTION...]
chooses() {
  on "$1" "$lamina" fetch $repo "${@:3}" --explain --quiet >"$room/log" 2>&1 || { cat "$room/log"; fail "no build for '$1'"; }
  grep -qE "^  > $variant " "$room/log" || { cat "$room/log"; fail "'$1' does not take $variant"; }
  grep -qE "^  > $2 " "$room/log" || { cat "$room/log"; fail "'$1' does not take $2"; }
  [ "$(grep -c '^  > cuda_' "$room/log")" = 1 ] || fail "'$1' takes several builds"
}
for backend in '' '--backend cu130'; do
  # shellcheck disable=SC2086
  for choice in 80:cuda_sm80 86:cuda_sm80 89:cuda_sm80 90:cuda_sm90a 100:cuda_sm80 103:cuda_sm80 120:cuda_sm80; do
    chooses "capability=${choice%:*}" "${choice#*:}" $backend
  done
done
chooses 'capability=90 devices=2' cuda_sm90a
chooses 'capability=80' cuda_sm80 --backend cu130
grep -q 'cuda_sm90a.*has no code for compute capability 8\.0' "$room/log" || { cat "$room/log"; fail "nothing says why cuda_sm90a is passed over"; }

# refuses MACHINE WORDS [OPTION...]
refuses() {
  local code=0
  on "$1" "$lamina" fetch $repo "${@:3}" --explain >"$room/log" 2>&1 || code=$?
  [ $code = 8 ] && grep -q "$2" "$room/log" || { cat "$room/log"; fail "'$1' ends with exit code $code and not with '$2'"; }
}
refuses 'capability=75' 'no code for compute capability 7\.5' --backend cu130
refuses none 'needs an NVIDIA GPU' --backend cu130
refuses devices=0 'needs an NVIDIA GPU' --backend cu130
echo "CUDA builds: refusals, structs, streams and capture conform; the client takes cuda_sm90a on 9.0 and cuda_sm80 elsewhere"
