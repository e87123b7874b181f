#!/usr/bin/env bash
# The tvm-ffi variant on its way: packed beside the torch one without touching it, refused where its builds are missing or are no builds for
# tvm-ffi, signed, published to a hub on 127.0.0.1, and fetched where the torch variant does not fit.
test_name=adapters-variant
source "$(dirname "$0")/../../packager/tests/support.sh"
tvm=tvm-ffi01-cpu-$(uname -m)-linux
pack() { "$lamina" pack $layer --org $org --counter 1 --only-backend cpu "$@"; }

pack --out "$scratch/plain" >/dev/null
pack --tvm-ffi --out "$scratch/one" >/dev/null
pack --tvm-ffi --out "$scratch/two" >/dev/null
[ "$(ls "$scratch/one/build" | tr '\n' ' ')" = "$cpu $tvm " ] || fail "the variants are $(ls "$scratch/one/build")"
[ "$(tree_hash "$scratch/one")" = "$(tree_hash "$scratch/two")" ] || fail 'two packs differ'
diff -r "$scratch/plain/build/$cpu" "$scratch/one/build/$cpu" || fail 'the torch variant depends on the other'
for build in "$scratch/one/build/$tvm"/*.so; do
  cmp "$build" "$root/build/plugins/tvm_ffi/$(basename "$build")" || fail 'a build is not the one that was made'
done

# A build that is missing, and one that exports what only builds for tvm-ffi may.
mkdir -p "$scratch/plugins/tvm_ffi"
cp build/plugins/*cpu_avx2.so "$scratch/plugins/"
refuses 3 'cpu_avx2-tvm_ffi.so' pack --tvm-ffi --plugins "$scratch/plugins" --out "$scratch/three"
[ ! -e "$scratch/three" ] || fail 'a refused pack left something behind'
twin=$(ls build/plugins/tvm_ffi/$layer-*cpu_avx2-tvm_ffi.so)
cp "$twin" "$scratch/plugins/$(basename "${twin%-tvm_ffi.so}").so"
pack --plugins "$scratch/plugins" --out "$scratch/four" >/dev/null  # it is a plug-in too

"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" sign "$scratch/one" --key "$scratch/key.sec" >/dev/null
"$lamina" verify "$scratch/one" --key "$scratch/key.pub" >/dev/null
"$lamina" trust add $org "$scratch/key.pub" >/dev/null
start_hub "$scratch/hub.log" "$scratch/hub"
"$lamina" publish "$scratch/one" --repo $repo --create >/dev/null
# The torch variant goes first, as in the Python library; beside a torch that is too old for it, the other is left.  It runs through the plug-in
# ABI as well.
for beside in '' '--tvm-ffi 0.1' '--torch 2.13 --tvm-ffi 0.1'; do
  case $("$lamina" fetch $repo@v1 --backend cpu $beside --quiet) in */$cpu/*) ;; *) fail "lamina fetch $beside does not take the torch variant" ;; esac
done
build=$("$lamina" fetch $repo@v1 --torch 2.8 --tvm-ffi 0.1 --backend cpu --quiet)
case $build in */$tvm/*-tvm_ffi.so) ;; *) fail "beside torch 2.8 and tvm-ffi 0.1 lamina fetch takes $build" ;; esac
build/bin/call_abi_directly "$build" | grep -q '^checksum norm' || fail "$build does not run"
echo "$(basename "$build") came from the hub"
