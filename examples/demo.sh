#!/usr/bin/env bash
# The whole road on one machine, in build/demo: pack and sign a bundle, publish it to a hub of our own on 127.0.0.1, fetch it back into a
# fresh cache, verify, load, bind a checkpoint, run triangle multiplication on ubiquitin, compare with the reference, draw.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=$PWD/build/demo
bin=$PWD/build/bin
org=demo
layer=triangle_multiplication
repo=$org/triangle-multiplication

rm -rf "$demo"
mkdir -p "$demo"
# Nothing of the user's is read or written: configuration, state, cache and key are all below build/demo.
export HOME=$demo/home XDG_CONFIG_HOME=$demo/config XDG_STATE_HOME=$demo/state XDG_CACHE_HOME=$demo/xdg-cache HF_HOME=$demo/cache
unset HF_TOKEN HF_ENDPOINT HF_HUB_CACHE HUGGINGFACE_HUB_CACHE KERNELS_CACHE HF_HUB_OFFLINE TRANSFORMERS_OFFLINE LOCAL_KERNELS \
  HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy 2>/dev/null || true
mkdir -p "$HOME"

server=
stop_server() { [ -z "$server" ] || { kill "$server" 2>/dev/null && wait "$server" 2>/dev/null || true; server=; }; }
trap stop_server EXIT

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }
show() { printf '   $ lamina %s\n' "${*//$demo/build/demo}"; "$bin/lamina" "$@" 2>&1 | sed -e 's/^/   /' -e "s|$demo|build/demo|g"; }

step '1. Pack the builds of this machine into a bundle and sign it'
show keygen --out "$demo/key"
show pack $layer --org $org --counter 1 --out "$demo/bundle" --only-backend cpu
show sign "$demo/bundle" --key "$demo/key.sec"

step '2. Start a hub on 127.0.0.1 and publish to it'
"$bin/lamina" serve "$demo/hub" --port 0 --trusted-org $org >"$demo/serve.log" 2>&1 &
server=$!
for _ in $(seq 100); do
  HF_ENDPOINT=$(grep -o 'http://127\.0\.0\.1:[0-9]*' "$demo/serve.log" | head -1) && break || sleep 0.1
  kill -0 $server 2>/dev/null || { cat "$demo/serve.log" >&2; exit 1; }
done
export HF_ENDPOINT
echo "   serving build/demo/hub at $HF_ENDPOINT"
show publish "$demo/bundle" --repo $repo --create

step '3. Fetch it back as a stranger would: an unknown key is refused, a trusted one is not'
if "$bin/lamina" fetch $repo@v1 >"$demo/refused.log" 2>&1; then
  echo 'error: a bundle of an untrusted key was accepted' >&2; exit 1
fi
sed -e 's/^/   /' -e "s|$demo|build/demo|g" "$demo/refused.log"
show trust add $org "$demo/key.pub"
show fetch $repo@v1 --explain

step '4. Bind a checkpoint and run on ubiquitin (76 residues)'
"$bin/ubiquitin" examples/data/1ubq_ca.csv "$demo" | sed -e 's/^/   /' -e "s|$demo|build/demo|g"
prefix=pairformer_module.layers.0.tri_mul_out
show run --bundle $repo@v1 --host boltz --class TriangleMultiplicationOutgoing --weights "$demo/checkpoint.safetensors" --prefix $prefix \
  --input "pair=$demo/pair.npy" --input "pair_mask=$demo/mask.npy" --output "$demo/update.npy" --compare "$PWD/build/plugins/$layer-1.0.0-reference.so" --repeat 20

step '5. A pair channel before and after'
"$bin/show_pair" "$demo/pair.npy" "$demo/update.npy" --channel 12 --out "$demo/ubiquitin.svg" | sed -e "s|$demo|build/demo|g"
stop_server
printf '\nThe picture: build/demo/ubiquitin.svg.  Everything this made lies in build/.\n'
