#!/usr/bin/env bash
# The road of a user with an AMD GPU: builds packed for two releases of ROCm, published, fetched by what the machine's drivers say (a topology
# of the KFD driver's written here, and the emulator as its runtime), run on ubiquitin, compared with the reference.
cd "$(dirname "$0")/../../.."
. hub_client/tests/site.sh hip_fetch
"$lamina" trust add org "$scratch/key.pub" >/dev/null
plugins=$PWD/build/plugins
rm -rf "$scratch/bundle"
"$lamina" pack $layer --org org --counter 2 --out "$scratch/bundle" --arch hip_gfx90a --arch hip_gfx942 --arch cpu_avx2 >/dev/null
"$lamina" sign "$scratch/bundle" --key "$scratch/key.sec" >/dev/null
"$lamina" publish "$scratch/bundle" --repo $repo >/dev/null
grep -qr 'executed instruction by instruction in CI, not yet measured on silicon' "$scratch"/bundle/*.md ||
  fail "the card does not say how the builds for AMD were tested"
"$lamina" info "$scratch/bundle" | grep 'those for AMD GPUs are executed instruction by instruction in CI, not yet measured on silicon' >/dev/null ||
  fail "lamina info does not say how the builds for AMD were tested"
[ "$(find "$scratch/bundle" -name '*hip_gfx942.so' -exec sha256sum {} + | cut -d' ' -f1 | uniq -c | awk '{print $1}')" = 2 ] ||
  fail "the variants of two releases of ROCm do not hold the same bytes"

# gpus VERSION...: a machine with these GPUs, as the driver numbers them.
export LAMINA_KFD_TOPOLOGY=$scratch/topology
gpus() {
  rm -rf "$LAMINA_KFD_TOPOLOGY" && mkdir -p "$LAMINA_KFD_TOPOLOGY/nodes/0"
  echo 'simd_count 0' >"$LAMINA_KFD_TOPOLOGY/nodes/0/properties"
  local number=0
  for version in "$@"; do
    number=$((number + 1))
    mkdir -p "$LAMINA_KFD_TOPOLOGY/nodes/$number"
    printf 'simd_count 1216\nsimd_per_cu 4\ngfx_target_version %s\n' "$version" >"$LAMINA_KFD_TOPOLOGY/nodes/$number/properties"
  done
}
rocm() { LD_LIBRARY_PATH=$PWD/build/hip_emulator LAMINA_HIP_EMULATOR="arch=$1 runtime=$2" "${@:3}"; }

gpus 90402
expect 0 "AMD gfx942, 304 compute units" rocm gfx942 70100000 "$lamina" doctor
expect 0 "torch-stable-abi*-rocm71-x86_64-linux" rocm gfx942 70100000 "$lamina" doctor
expect 0 "hip_gfx942     runs here; executed instruction by instruction in CI, not yet measured on silicon" rocm gfx942 70100000 "$lamina" doctor
expect 0 "> torch-stable-abi29-rocm71-x86_64-linux" rocm gfx942 70100000 "$lamina" fetch $repo --explain
expect 0 "has code for gfx90a, this machine's GPU is gfx942" rocm gfx942 70100000 "$lamina" fetch $repo --explain
expect 0 "> torch-stable-abi29-rocm72-x86_64-linux" rocm gfx942 70200000 "$lamina" fetch $repo --explain
expect 0 "> torch-stable-abi29-rocm72-x86_64-linux" rocm gfx942 60400000 "$lamina" fetch $repo --explain
expect 8 "wanted rocm64" rocm gfx942 60400000 "$lamina" fetch $repo --torch 2.10
gpus 90010
[[ $(rocm gfx90a 70100000 "$lamina" fetch $repo --quiet) = *-hip_gfx90a.so ]] || fail "a gfx90a machine takes another build"
gpus 90008
expect 8 "this machine's GPU is gfx908" rocm gfx942 70100000 "$lamina" fetch $repo
gpus 90402
expect 14 "LAMINA_HIP_RUNTIME names a runtime that cannot be loaded" env LAMINA_HIP_RUNTIME=/nonexistent/libamdhip64.so "$lamina" doctor
[[ $(LAMINA_HIP_RUNTIME=/nonexistent/libamdhip64.so "$lamina" fetch $repo --quiet) = *-cpu_avx2.so ]] || fail "a machine without a HIP runtime takes another build than the processor's"

# What was fetched runs, and is right.
build/bin/ubiquitin examples/data/1ubq_ca.csv "$scratch" >/dev/null
expect 0 "build hip_gfx942 on emulated gfx942" rocm gfx942 70100000 "$lamina" run --bundle $repo@v1 --device rocm:0 --host boltz \
  --class TriangleMultiplicationOutgoing --weights "$scratch/checkpoint.safetensors" --prefix pairformer_module.layers.0.tri_mul_out \
  --input "pair=$scratch/pair.npy" --input "pair_mask=$scratch/mask.npy" --output "$scratch/update.npy" \
  --compare "$(ls "$plugins"/$layer-*-reference.so)"
grep -F 'relative error' "$scratch/said"
