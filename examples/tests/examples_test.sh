#!/usr/bin/env bash
# Every example as a stranger runs it: on builds by path, and through a hub on 127.0.0.1 with keys, cache and configuration of its own.  All of
# them compute one seeded problem, so their checksums agree with the reference build's.
set -euo pipefail
cd "$(dirname "$0")/../.."
bin=$PWD/build/bin plugins=$PWD/build/plugins
layer=triangle_multiplication repo=test/triangle-multiplication
mkdir -p build/test-scratch
home=$(mktemp -d "$PWD/build/test-scratch/examples.XXXXXX")
export HOME=$home XDG_CONFIG_HOME=$home/config XDG_STATE_HOME=$home/state XDG_CACHE_HOME=$home/xdg-cache HF_HOME=$home/cache
unset HF_TOKEN HF_ENDPOINT HF_HUB_CACHE HUGGINGFACE_HUB_CACHE KERNELS_CACHE HF_HUB_OFFLINE TRANSFORMERS_OFFLINE LOCAL_KERNELS \
  HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
server=
stop_server() { [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; server=; }; }
trap 'stop_server; rm -rf "$home"' EXIT

fail() { echo "FAIL: $*" >&2; exit 1; }
# expect STATUS TEXT COMMAND...: the command ends with that status and says so.
expect() {
  local status=$1 text=$2 found=0; shift 2
  "$@" >"$home/said" 2>&1 || found=$?
  [ $found = "$status" ] || { cat "$home/said" >&2; fail "$* ended with $found, expected $status"; }
  grep -qF -- "$text" "$home/said" || { cat "$home/said" >&2; fail "$* does not say '$text'"; }
}
# The numbers behind "checksum", compared with the reference's in float32's tolerance.
same_checksum() {
  local line
  line=$(grep '^checksum' "$home/said") || fail "$1 printed no checksum"
  awk -v found="$line" -v truth="$truth" 'BEGIN {
    n = split(found, a, " "); m = split(truth, b, " ")
    if (n != 5 || m != 5 || b[3] + 0 < 1) exit 1
    for (i = 3; i <= 5; i += 2) { d = a[i] - b[i]; if (d < 0) d = -d; if (!(d <= 2e-6 * b[3] * 8)) exit 1 }
  }' || fail "$1: '$line', the reference has '$truth'"
  echo "$1: $line"
}

reference=$plugins/$layer-1.0.0-reference.so
best=
for arch in cpu_avx512 cpu_avx2; do
  if "$bin/call_abi_directly" "$plugins/$layer-1.0.0-$arch.so" >"$home/said" 2>&1; then best=$plugins/$layer-1.0.0-$arch.so; break; fi
  grep -q 'needs\|UNSUPPORTED\|processor' "$home/said" || { cat "$home/said" >&2; fail "$arch neither runs nor says what it needs"; }
done
[ -n "$best" ] || fail 'this processor runs no CPU build (AVX2 is the least)'
expect 0 reference "$bin/call_abi_directly" "$reference"
truth=$(grep '^checksum' "$home/said")
for build in "$reference" "$best"; do
  name=$(basename "$build" .so)
  expect 0 "$layer 1.0.0" "$bin/call_abi_directly" "$build"; same_checksum "C, $name"
  expect 0 "$layer 1.0.0" "$bin/call_abi" "$build"; same_checksum "Rust, $name"
  expect 0 'relative difference' "$bin/use_from_cpp" "$build"; same_checksum "C++, $name"
done
# Another problem is another checksum: the comparison above can fail.
expect 0 checksum "$bin/call_abi_directly" "$reference" N:41
(same_checksum 'N = 41') >/dev/null 2>&1 && fail 'the checksum of another problem counts as the same'
expect 1 'cannot open shared object file' "$bin/call_abi_directly" "$home/none.so"
expect 1 'cannot open shared object file' "$bin/call_abi" "$home/none.so"

"$bin/lamina" keygen --out "$home/key" >/dev/null
"$bin/lamina" pack $layer --org test --counter 1 --out "$home/bundle" --only-backend cpu >/dev/null
"$bin/lamina" sign "$home/bundle" --key "$home/key.sec" >/dev/null
"$bin/lamina" serve "$home/hub" --port 0 --trusted-org test >"$home/serve.log" 2>&1 &
server=$!
for _ in $(seq 100); do
  HF_ENDPOINT=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$home/serve.log" | head -1) && break || sleep 0.1
  kill -0 $server 2>/dev/null || { cat "$home/serve.log" >&2; fail 'the hub did not start'; }
done
export HF_ENDPOINT
"$bin/lamina" publish "$home/bundle" --repo $repo --create >/dev/null

expect 7 'lamina trust add test' "$bin/fetch_and_run" $repo@v1
"$bin/lamina" trust add test "$home/key.pub" >/dev/null
expect 0 '> torch-stable-abi' "$bin/fetch_and_run" $repo@v1; same_checksum 'liblamina, the best build'
grep -q ', 0 bytes came' "$home/said" && fail 'nothing was downloaded into a fresh cache'
grep -q " $(sed 's/.*-\(cpu_[a-z0-9]*\)\.so/\1/' <<<"$best"):" "$home/said" || fail 'the best build was not taken'
expect 0 "$layer 1.0.0 cpu_avx2:" "$bin/fetch_and_run" $repo@v1 cpu_avx2; same_checksum 'liblamina, cpu_avx2 as asked'
expect 8 'is not cpu_z80, which was asked for' "$bin/fetch_and_run" $repo@v1 cpu_z80
expect 3 'has no revision' "$bin/fetch_and_run" $repo@v7
expect 0 "$home/cache/hub/kernels--test--triangle-multiplication" "$bin/use_from_cpp" $repo; same_checksum 'lamina.hpp, from the hub'

"$bin/ubiquitin" examples/data/1ubq_ca.csv "$home" >/dev/null
block=pairformer_module.layers.0
expect 0 'relative error' "$bin/bind_safetensors" $repo "$home/checkpoint.safetensors" boltz $block.tri_mul_out "$reference"
grep 'relative error' "$home/said"
grep -q 'a_projection_weight *bound' "$home/said" && grep -q 'a_projection_bias *absent' "$home/said" || fail 'the arguments are not named'
expect 3 "$block.tri_mul_out" "$bin/bind_safetensors" $repo "$home/checkpoint.safetensors" boltz pairformer_module.layers.1.tri_mul_out "$reference"
expect 3 "choose one of TriangleMultiplicationOutgoing" "$bin/bind_safetensors" $repo "$home/checkpoint.safetensors" boltz $block.tri_mul "$reference"
expect 3 'unknown host' "$bin/bind_safetensors" $repo "$home/checkpoint.safetensors" nobody $block.tri_mul_out "$reference"

# What was fetched is there without a hub.
stop_server
HF_HUB_OFFLINE=1 expect 0 ', 0 bytes came' "$bin/fetch_and_run" $repo@v1; same_checksum 'offline'
HF_HUB_OFFLINE=1 expect 11 'HF_HUB_OFFLINE' "$bin/fetch_and_run" $repo@v2
echo 'all examples agree'
