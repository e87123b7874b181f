#!/usr/bin/env bash
# Slow test: a bundle in each set of versions of kernels, huggingface_hub and transformers: from the folder, from our hub, offline afterwards in
# both directions, in transformers' own module.
test_name=packager-python-versions
source "$(dirname "$0")/support.sh"

make --no-print-directory $(printf 'build/python/%s/installed ' kernels_0_16_transformers kernels_0_17_hub_1)
export HF_HUB_DISABLE_PROGRESS_BARS=1 LAMINA_STRICT=1
run() { local set=$1; shift; echo "== $set: $*"; "$root/build/python/$set/bin/python" "packager/tests/$@"; }
offline() { HF_ENDPOINT=http://127.0.0.1:9 HF_HUB_OFFLINE=1 "$@"; }

"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" trust add $org "$scratch/key.pub" >/dev/null
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
"$lamina" sign "$scratch/bundle" --key "$scratch/key.sec" >/dev/null
start_hub "$scratch/hub.log" "$scratch/hub" --trusted-org $org
"$lamina" publish "$scratch/bundle" --repo $repo --create >/dev/null

# kernels_0_17_hub_2 has a test of its own, python_interop.sh.
for set in kernels_0_17_hub_1 kernels_0_16_transformers; do
  run $set python_shim.py opcheck "$scratch/bundle"
  run $set python_interop.py local_kernel "$scratch/bundle"
  run $set python_transformers.py layer "$scratch/bundle"
  # What Python fetched serves Lamina offline, ...
  HF_HOME=$scratch/$set run $set python_interop.py hub_kernel
  commit=$(ls "$scratch/$set/hub/kernels--acme--triangle-multiplication/snapshots")
  build=$(HF_HOME=$scratch/$set offline "$lamina" fetch $repo@$commit --quiet)
  cmp "$build" "$scratch/bundle/build/$cpu/$(basename "$build")"
  # ... and what Lamina fetched serves Python, by version and by commit, offline and online.
  HF_HOME=$scratch/lamina-$set "$lamina" fetch $repo@v1 --quiet >/dev/null
  HF_HOME=$scratch/lamina-$set offline run $set python_interop.py hub_kernel
  HF_HOME=$scratch/lamina-$set offline run $set python_interop.py hub_kernel $commit
  HF_HOME=$scratch/lamina-$set run $set python_interop.py hub_kernel
done
run kernels_0_16_transformers python_transformers.py set_use_kernels "$scratch/bundle"
echo 'Python versions: passed'
