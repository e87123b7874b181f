#!/usr/bin/env bash
# Slow test: both adapters and their stand-in tests under the address, undefined-behaviour and thread sanitizers.  The plug-ins themselves are
# as `make` built them: theirs have a test of their own.
set -euo pipefail
cd "$(dirname "$0")/../.."
layer=triangle_multiplication
mkdir -p build/test-scratch
scratch=$(mktemp -d "$PWD/build/test-scratch/adapters-sanitized.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/build/lib" "$scratch/build/plugins/tvm_ffi"
for file in build/plugins/*.so; do ln -s "$PWD/$file" "$scratch/$file"; done
ln -s "$PWD/build/fake_cuda" "$scratch/build/"
mapfile -t reference < <(find build/obj/plugins/$layer/reference -name '*.o')

for sanitizer in address,undefined thread; do
  flags="-std=c++20 -O1 -g -fsanitize=$sanitizer -fno-sanitize-recover=all -fPIC -I. -Ibuild/gen/$layer"
  g++ $flags -fvisibility=hidden -shared -o "$scratch/build/lib/liblamina_xla.so" adapters/common/*.cpp adapters/xla/*.cpp -ldl
  g++ $flags -fvisibility=hidden -shared -Wl,-Bsymbolic -o "$scratch/build/plugins/tvm_ffi/$layer-1.0.0-reference-tvm_ffi.so" \
    adapters/common/*.cpp adapters/tvm_ffi/*.cpp "${reference[@]}" -lm -ldl -lpthread
  g++ $flags -rdynamic -o "$scratch/tvm_ffi" adapters/tvm_ffi/tests/stand_in_test.cpp -ldl -lpthread
  g++ $flags -o "$scratch/xla" adapters/xla/tests/stand_in_test.cpp -ldl -lpthread
  # Plans and plug-ins stay for the process: nothing that is still reachable at its end is a leak.
  for program in tvm_ffi xla; do
    echo "== $sanitizer: $program"
    (cd "$scratch" && ASAN_OPTIONS=detect_leaks=0 TSAN_OPTIONS=halt_on_error=1 "./$program" --test-case-exclude='a GPU build gets*')
  done
done
