#!/usr/bin/env bash
# A layer made from the template builds for two machines, conforms, is packed, signed, published, fetched and conforms as fetched, and goes again:
# without an edit anywhere else.  Works on a copy of the tree.
set -euo pipefail
root=$PWD/build/tests/new_layer
rm -rf "$root"; mkdir -p "$root"
server=
trap '[ -z "$server" ] || kill $server 2>/dev/null; rm -rf "$root"' EXIT
git ls-files -z -- Makefile install.mk CHANGELOG.md .ci abi kernels plugin manifest layers '*/*.mk' | xargs -0 cp --parents -t "$root"
lamina=$PWD/build/bin/lamina
cd "$root"
outside() { find . -path ./build -prune -o -path ./layers/probe_layer -prune -o -path ./user -prune -o -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum; }
before=$(outside)
make --no-print-directory new-layer NAME=probe_layer
[ -f layers/probe_layer/contract.json ]
if make --no-print-directory new-layer NAME=probe_layer 2>/dev/null; then echo 'an existing layer was overwritten'; exit 1; fi
if make --no-print-directory new-layer NAME='../evil' 2>/dev/null; then echo 'a path was taken for a name'; exit 1; fi
# A second machine is a second file; the compiler makes AVX2 of the plain loops.
cp layers/probe_layer/reference.cpp layers/probe_layer/cpu_avx2.cpp
make --no-print-directory build/plugins/probe_layer-0.1.0-reference.so build/plugins/probe_layer-0.1.0-cpu_avx2.so build/gen/archs.json
make --no-print-directory list >list.txt
grep -x 'probe_layer 0.1.0: cpu_avx2 reference' list.txt
rm list.txt
conform() { "$lamina" conform "$1" --against build/plugins/probe_layer-0.1.0-reference.so --cases layers/probe_layer/cases.json | tail -1; }
conform build/plugins/probe_layer-0.1.0-reference.so
conform build/plugins/probe_layer-0.1.0-cpu_avx2.so

export HOME=$root/user XDG_CONFIG_HOME=$root/user/config XDG_STATE_HOME=$root/user/state XDG_CACHE_HOME=$root/user/xdg HF_HOME=$root/user/hf
unset HF_TOKEN HF_ENDPOINT HF_HUB_CACHE HUGGINGFACE_HUB_CACHE KERNELS_CACHE HF_HUB_OFFLINE LOCAL_KERNELS HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy
mkdir user
"$lamina" keygen --out user/key >/dev/null
"$lamina" trust add acme user/key.pub >/dev/null
"$lamina" pack probe_layer --org acme --counter 1 --out user/bundle >/dev/null
"$lamina" sign user/bundle --key user/key.sec >/dev/null
"$lamina" serve user/hub --port 0 --trusted-org acme >user/serve.log 2>&1 &
server=$!
for _ in $(seq 100); do
  HF_ENDPOINT=$(grep -o 'http://127\.0\.0\.1:[0-9]*' user/serve.log | head -1) && break || sleep 0.1
  kill -0 $server 2>/dev/null || { cat user/serve.log; exit 1; }
done
export HF_ENDPOINT
"$lamina" publish user/bundle --repo acme/probe-layer --create >/dev/null
fetched=$("$lamina" fetch acme/probe-layer@v0 --backend cpu --quiet)
[[ $fetched == "$HF_HOME"/hub/kernels--acme--probe-layer/*cpu_avx2.so ]] || { echo "fetched $fetched"; exit 1; }
cmp "$fetched" build/plugins/probe_layer-0.1.0-cpu_avx2.so
conform "$fetched"

[ "$(outside)" = "$before" ] || { echo 'a file outside the layer changed'; exit 1; }
rm -r layers/probe_layer
make --no-print-directory list >user/list.txt
if grep -q probe_layer user/list.txt; then echo 'a deleted layer is still listed'; exit 1; fi
echo 'a layer came and went'
