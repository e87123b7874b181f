#!/usr/bin/env bash
# Slow test: the adapters under the real tvm-ffi and the real JAX, and our headers against theirs.  Needs the Python package index once, for
# the environment that adapters.mk makes in build/adapters-venv.
#
#   python_adapters.sh                            the CPU builds that this processor runs
#   python_adapters.sh --gpu PYTHON               on a machine with a GPU: the CUDA builds, by a Python that has torch, apache-tvm-ffi and jax
#                                                 with CUDA; what it lacks fails.  tokamax is left out where it is not installed, and said
set -euo pipefail
cd "$(dirname "$0")/../.."
layer=triangle_multiplication version=1.0.0 plugins=build/plugins
python=build/adapters-venv/bin/python
run() { echo "== $*"; "$@"; }
fail() { echo "FAIL: $*" >&2; exit 1; }

if [ "${1:-}" = --gpu ]; then
  python=${2:?which python?} failed=0 tokamax=
  "$python" -c 'import tokamax' 2>/dev/null || { tokamax=--without-tokamax; echo "$python has no tokamax: its test is left out"; }
  "$python" -c 'import jax, sys, torch, tvm_ffi; print(sys.version.split()[0], "torch", torch.__version__, "tvm-ffi", tvm_ffi.__version__, "jax", jax.__version__)'
  export XLA_PYTHON_CLIENT_PREALLOCATE=false
  for arch in cuda_sm90a cuda_sm80; do
    run "$python" adapters/tests/test_tvm_ffi.py $plugins/tvm_ffi/$layer-$version-$arch-tvm_ffi.so --device cuda || failed=1
    # The second time XLA records calls into CUDA graphs from the first operation on.
    for flags in '' '--xla_gpu_enable_command_buffer=CUSTOM_CALL --xla_gpu_graph_min_graph_size=1'; do
      XLA_FLAGS=$flags run "$python" adapters/tests/test_jax.py $plugins/$layer-$version-$arch.so --platform cuda $tokamax || failed=1
    done
  done
  exit $failed
fi

make --no-print-directory build/adapters-venv/installed
site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
for header in tvm_ffi xla; do
  run g++ -std=c++20 -Wall -Wextra -Werror -I. -isystem "$site/tvm_ffi/include" -isystem "$site/tvm_ffi/3rdparty/dlpack/include" \
    -isystem "$site/jaxlib/include" -fsyntax-only adapters/$header/tests/layout_test.cpp
done

mkdir -p build/test-scratch
said=$(mktemp build/test-scratch/adapters.XXXXXX)
trap 'rm -f "$said"' EXIT
truth=$(build/bin/call_abi_directly $plugins/$layer-$version-reference.so | grep '^checksum')
# The numbers of an example, compared with the reference's in float32's tolerance.
same_checksum() {
  awk -v found="$(grep '^checksum' "$said")" -v truth="$truth" 'BEGIN {
    n = split(found, a, " "); m = split(truth, b, " ")
    if (n != 5 || m != 5 || b[3] + 0 < 1) exit 1
    for (i = 3; i <= 5; i += 2) { d = a[i] - b[i]; if (d < 0) d = -d; if (!(d <= 2e-6 * b[3] * 8)) exit 1 }
  }' || { cat "$said"; fail "$1: not the reference's $truth"; }
}
scratch=$(mktemp -d "$PWD/build/test-scratch/adapters.XXXXXX")
trap 'rm -rf "$said" "$scratch"' EXIT

# A plug-in that is no layer of this tree.
run gcc -std=c99 -O1 -Wall -Wextra -pedantic-errors -Werror -I. -fPIC -fvisibility=hidden -c -o "$scratch/toy.o" adapters/tests/toy_plugin.c
gcc -shared -o "$scratch/toy.so" "$scratch/toy.o"
mkdir "$scratch/ops" && printf 'LAMINA_OP(accumulate)\nLAMINA_OP(rows)\n' >"$scratch/ops/tvm_ffi_ops.h"
run g++ -std=c++20 -O1 -Wall -Wextra -Werror -fno-exceptions -fno-rtti -fvisibility=hidden -fPIC -shared -I. -I"$scratch/ops" -o "$scratch/toy-tvm_ffi.so" \
  adapters/common/*.cpp adapters/tvm_ffi/*.cpp "$scratch/toy.o" -ldl
run "$python" adapters/tests/test_toy.py "$scratch/toy.so" "$scratch/toy-tvm_ffi.so"

# The variant for tvm-ffi, under the real kernels library.
export XDG_CONFIG_HOME=$scratch/config HF_HUB_OFFLINE=1
run build/bin/lamina pack $layer --org acme --counter 1 --only-backend cpu --tvm-ffi --out "$scratch/bundle" >"$said"
grep -q "build/tvm-ffi01-cpu-$(uname -m)-linux" "$said" || { cat "$said"; fail 'lamina pack --tvm-ffi names no such variant'; }
build/bin/lamina keygen --out "$scratch/key" >/dev/null
build/bin/lamina sign "$scratch/bundle" --key "$scratch/key.sec" >/dev/null
run build/bin/lamina verify "$scratch/bundle" --key "$scratch/key.pub"
run "$python" adapters/tests/test_variant.py "$scratch/bundle"

# JAX as an installation has it.
prefix=$scratch/prefix
env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL make --no-print-directory install PREFIX="$prefix" DESTDIR= >"$said" 2>&1 || { tail -30 "$said"; fail 'make install'; }

builds=0
for arch in cpu_avx512 cpu_avx2; do
  build=$plugins/$layer-$version-$arch.so
  if ! build/bin/call_abi_directly $build >"$said" 2>&1; then
    grep -q 'needs\|UNSUPPORTED\|processor' "$said" || { cat "$said"; fail "$arch neither runs nor says what it needs"; }
    continue
  fi
  builds=$((builds + 1))
  run "$python" adapters/tests/test_tvm_ffi.py $plugins/tvm_ffi/$layer-$version-$arch-tvm_ffi.so
  run "$python" examples/use_from_tvm_ffi.py $plugins/tvm_ffi/$layer-$version-$arch-tvm_ffi.so >"$said"; same_checksum 'tvm-ffi example'
  PYTHONPATH=$prefix/lib/lamina/python run "$python" examples/use_from_jax.py "$prefix/lib/lamina/plugins/$(basename $build)" >"$said"
  same_checksum 'JAX example'
  [ $builds = 1 ] || continue  # nothing of JAX's side depends on the build
  run "$python" adapters/tests/test_jax.py $build --reference $plugins/$layer-$version-reference.so
done
[ $builds -gt 0 ] || fail 'this processor runs no CPU build (AVX2 is the least)'
