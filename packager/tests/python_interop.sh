#!/usr/bin/env bash
# Slow test: Python's huggingface_hub and kernels against our hub, mirror, bundle and cache, in both directions.  Needs the Python package
# index once, for the environment that packager.mk makes in build/python; the hubs it talks to are on 127.0.0.1.
test_name=packager-python
source "$(dirname "$0")/support.sh"

venv=$root/build/python/kernels_0_17_hub_2
make --no-print-directory build/python/kernels_0_17_hub_2/installed
# (HF_HUB_DISABLE_TELEMETRY would make kernels 0.17.2 send a header that httpx2 refuses; HF_ENDPOINT keeps all of it on this machine.)
export HF_HUB_DISABLE_PROGRESS_BARS=1 LAMINA_STRICT=1
python() { echo "== $*"; "$venv/bin/python" packager/tests/python_interop.py "$@"; }
offline() { HF_ENDPOINT=http://127.0.0.1:9 HF_HUB_OFFLINE=1 "$@"; }
python_offline() { echo "== offline: $*"; offline "$venv/bin/python" packager/tests/python_interop.py "$@"; }
lamina_offline() { offline "$lamina" "$@"; }

"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" trust add $org "$scratch/key.pub" >/dev/null
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
"$lamina" sign "$scratch/bundle" --key "$scratch/key.sec" >/dev/null

mkdir "$scratch/protein" && build/bin/ubiquitin examples/data/1ubq_ca.csv "$scratch/protein"

echo '== the bundle by itself'
python local_kernel "$scratch/bundle"
python local_kernel "$scratch/bundle/build/$cpu"
"$venv/bin/python" packager/tests/python_shim.py opcheck "$scratch/bundle"
python kernelize "$scratch/bundle"
LAMINA_STRICT=0 python kernelize "$scratch/bundle"
LOCAL_KERNELS=$repo=$scratch/bundle python_offline hub_kernel

for upload in regular lfs; do
  echo "== a hub with --upload $upload"
  start_hub "$scratch/hub-$upload.log" "$scratch/hub-$upload" --upload $upload --trusted-org $org
  "$lamina" publish "$scratch/bundle" --repo $repo --create >/dev/null
  # What Python fetched serves Lamina offline, ...
  HF_HOME=$scratch/python-$upload python read "$scratch/bundle"
  HF_HOME=$scratch/python-$upload lamina_offline fetch $repo@v1 --quiet
  HF_HOME=$scratch/python-$upload lamina_offline run --bundle $repo@v1 --host boltz --class TriangleMultiplicationOutgoing \
    --weights "$scratch/protein/checkpoint.safetensors" --prefix pairformer_module.layers.0.tri_mul_out \
    --input "pair=$scratch/protein/pair.npy" --input "pair_mask=$scratch/protein/mask.npy" --output "$scratch/protein/update.npy" \
    --compare "$root/build/plugins/$layer-1.0.0-reference.so"
  HF_HOME=$scratch/python-$upload python_offline hub_kernel
  # ... also when it took one variant by commit and noted no version, ...
  HF_HOME=$scratch/kernels-$upload python hub_kernel
  commit=$(ls "$scratch/kernels-$upload/hub/kernels--acme--triangle-multiplication/snapshots")
  build=$(HF_HOME=$scratch/kernels-$upload lamina_offline fetch $repo@$commit --quiet)
  cmp "$build" "$scratch/bundle/build/$cpu/$(basename "$build")"
  # ... and what Lamina fetched serves Python, by version and by commit.
  HF_HOME=$scratch/lamina-$upload "$lamina" fetch $repo@v1 --quiet
  HF_HOME=$scratch/lamina-$upload python_offline hub_kernel
  HF_HOME=$scratch/lamina-$upload python_offline hub_kernel $commit
  HF_HOME=$scratch/lamina-$upload python hub_kernel
  HF_HOME=$scratch/lamina-$upload lamina_offline fetch $repo@v1 --quiet
  stop_children
done

# Uploads by Python: its own xet protocol is not served, so with --upload lfs it must be switched off; with regular it need not.
printf 'hf_interop_token\n' > "$scratch/token"
for upload in regular lfs; do
  echo "== Python uploads, --upload $upload"
  start_hub "$scratch/upload-$upload.log" "$scratch/upload-$upload" --upload $upload --token-file "$scratch/token"
  if [ $upload = lfs ]; then export HF_HUB_DISABLE_XET=1; fi
  HF_HOME=$scratch/uploader-$upload HF_TOKEN=hf_interop_token python upload "$scratch/bundle" $repo
  HF_HOME=$scratch/uploaded-$upload "$lamina" fetch $repo@v1 --quiet
  stop_children
done
unset HF_HUB_DISABLE_XET

echo '== the nginx mirror, and an imported archive'
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$lamina" export "$scratch/bundle" --static "$scratch/mirror" --listen 127.0.0.1:$port --trusted-org $org >/dev/null
nginx -p "$scratch/mirror" -c nginx.conf -g 'master_process off;' 2>"$scratch/nginx.log" &
children+=($!)
export HF_ENDPOINT=http://127.0.0.1:$port
for _ in $(seq 100); do curl -s -o /dev/null "$HF_ENDPOINT/api/kernels/$repo/refs" && break || sleep 0.05; done
HF_HOME=$scratch/mirrored python read "$scratch/bundle"
HF_HOME=$scratch/mirrored-kernel python hub_kernel
stop_children
"$lamina" export "$scratch/bundle" -o "$scratch/bundle.tar.zst" >/dev/null
HF_HOME=$scratch/imported "$lamina" import "$scratch/bundle.tar.zst" >/dev/null
HF_HOME=$scratch/imported python_offline hub_kernel
echo 'Python interop: passed'
