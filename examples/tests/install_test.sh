#!/usr/bin/env bash
# What `make install` puts somewhere is enough for a host: by pkg-config and by CMake, from where it was installed and from where it was moved
# to.  What `make dist` packs is the same, needs no newer glibc than it says, and works where it is unpacked.
set -euo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
mkdir -p build/test-scratch
scratch=$(mktemp -d "$root/build/test-scratch/install.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
export HOME=$scratch/home HF_HUB_OFFLINE=1 HF_HOME=$scratch/cache XDG_CONFIG_HOME=$scratch/config
unset MAKEFLAGS MFLAGS MAKELEVEL PKG_CONFIG_PATH CMAKE_PREFIX_PATH LD_LIBRARY_PATH CPATH LIBRARY_PATH DESTDIR PREFIX HF_HUB_CACHE KERNELS_CACHE LOCAL_KERNELS
fail() { echo "FAIL: $*" >&2; exit 1; }

# A program that was linked with liblamina calls it: offline and with an empty cache its answer is status 11.
check_hub() {
  local found=0
  "$@" test/triangle-multiplication@v1 >"$scratch/said" 2>&1 || found=$?
  [ $found = 11 ] && grep -q 'is not in the cache' "$scratch/said" || { cat "$scratch/said" >&2; fail "$1 ended with $found, expected 11"; }
}
check_run() { "$@" | grep -q '^checksum norm [1-9]' || fail "$* prints no checksum"; }

# compile PREFIX TO: three of the examples by pkg-config alone.
compile() {
  local prefix=$1 to=$2 flags
  mkdir -p "$to"
  export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
  flags=$(pkg-config --cflags --libs lamina)
  gcc -std=c99 -pedantic-errors -Wall -Wextra -Werror -o "$to/fetch_and_run" examples/fetch_and_run.c $flags -lm
  gcc -std=c99 -Wall -Wextra -Werror -o "$to/call_abi_directly" examples/call_abi_directly.c $(pkg-config --cflags lamina) -ldl -lm
  g++ -std=c++17 -Wall -Wextra -Werror -o "$to/use_from_cpp" examples/use_from_cpp.cpp $flags -ldl
  gcc -std=c99 -o "$to/static" examples/fetch_and_run.c $(pkg-config --cflags lamina) "$prefix/lib/liblamina.a" \
    $(pkg-config --static --libs-only-l lamina | sed 's/-llamina //')
  objdump -p "$to/fetch_and_run" | grep -q 'NEEDED *liblamina.so.1' || fail 'the program does not name liblamina.so.1'
  ! objdump -p "$to/static" | grep -q 'NEEDED *liblamina' || fail 'the static program needs liblamina.so'
}
# run PREFIX PROGRAMS
run() {
  local reference
  reference=$(ls "$1"/lib/lamina/plugins/triangle_multiplication-*-reference.so)
  export LD_LIBRARY_PATH=$1/lib
  check_hub "$2/fetch_and_run"; check_hub "$2/static"
  check_run "$2/call_abi_directly" "$reference"; check_run "$2/use_from_cpp" "$reference"
  unset LD_LIBRARY_PATH
  [ "$("$1/bin/lamina" --version | grep -c "$version")" = 1 ] || fail "$1/bin/lamina does not say that it is $version"
}

one=$scratch/one
make --no-print-directory install PREFIX="$one" >"$scratch/install.log" 2>&1 || { tail -30 "$scratch/install.log" >&2; fail 'make install'; }
version=$(sed -n 's/^Version: //p' "$one/lib/pkgconfig/lamina.pc")
[ "$version" = "$(sed -n 's/^## \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -1)" ] || fail "lamina.pc says version '$version'"
! grep -rI "$scratch\|$root" "$one" >"$scratch/said" || { head -5 "$scratch/said" >&2; fail 'an installed text names the place it was made in'; }
[ "$(nm -D --defined-only "$one/lib/liblamina.so.1" | grep -c ' T ')" = "$(nm -D --defined-only "$one/lib/liblamina.so.1" | grep -c ' T lamina_hub_')" ] ||
  fail 'liblamina.so.1 exports something that lamina_hub.h does not declare'
for name in $(grep -o 'lamina_hub_[a-z_]*(' "$one/include/lamina/lamina_hub.h" | tr -d '(' | sort -u); do
  nm -D --defined-only "$one/lib/liblamina.so.1" | grep -q " T $name@" || fail "liblamina.so.1 lacks $name"
done
compile "$one" "$scratch/programs"
run "$one" "$scratch/programs"
echo 'installed, pkg-config: works'

mkdir -p "$scratch/project"
cat >"$scratch/project/CMakeLists.txt" <<'CMAKE'
cmake_minimum_required(VERSION 3.16)
project(host C)
find_package(lamina 0.1 REQUIRED)
add_executable(shared ${EXAMPLES}/fetch_and_run.c)
target_link_libraries(shared lamina::lamina m)
add_executable(static ${EXAMPLES}/fetch_and_run.c)
target_link_libraries(static lamina::lamina_static m)
add_executable(direct ${EXAMPLES}/call_abi_directly.c)
target_link_libraries(direct lamina::headers ${CMAKE_DL_LIBS} m)
file(WRITE ${CMAKE_BINARY_DIR}/plugins "${lamina_PLUGINS}")
CMAKE
# with_cmake PREFIX BUILD
with_cmake() {
  cmake -S "$scratch/project" -B "$2" -DCMAKE_PREFIX_PATH="$1" -DEXAMPLES="$root/examples" >"$scratch/cmake.log" 2>&1 &&
    cmake --build "$2" >>"$scratch/cmake.log" 2>&1 || { tail -20 "$scratch/cmake.log" >&2; fail 'CMake'; }
  check_hub "$2/shared"; check_hub "$2/static"
  [ "$(realpath "$(cat "$2/plugins")")" = "$(realpath "$1/lib/lamina/plugins")" ] || fail "lamina_PLUGINS is $(cat "$2/plugins")"
  check_run "$2/direct" "$(cat "$2/plugins")"/triangle_multiplication-*-reference.so
}
with_cmake "$one" "$scratch/cmake-one"
sed -i 's/lamina 0.1 REQUIRED/lamina 9.0 REQUIRED/' "$scratch/project/CMakeLists.txt"
! cmake -S "$scratch/project" -B "$scratch/cmake-nine" -DCMAKE_PREFIX_PATH="$one" -DEXAMPLES="$root/examples" >"$scratch/cmake.log" 2>&1 ||
  fail 'find_package took version 9.0 for granted'
sed -i 's/lamina 9.0 REQUIRED/lamina 0.1 REQUIRED/' "$scratch/project/CMakeLists.txt"
echo 'installed, find_package: works'

two="$scratch/moved somewhere"
two=${two// /-}
mv "$one" "$two"
run "$two" "$scratch/programs"
compile "$two" "$scratch/programs-two"
run "$two" "$scratch/programs-two"
with_cmake "$two" "$scratch/cmake-two"
echo 'moved: works'

make --no-print-directory dist >"$scratch/dist.log" 2>&1 || { tail -30 "$scratch/dist.log" >&2; fail 'make dist'; }
archive=$(ls build/lamina-"$version"-*-linux.tar.zst)
mkdir "$scratch/elsewhere"
zstd -dcq "$archive" | tar -C "$scratch/elsewhere" -xf -
three=$(echo "$scratch"/elsewhere/lamina-*)
floor=$(sed -n 's/^GLIBC_FLOOR := //p' install.mk)
grep -q "Programs and liblamina: glibc >= $floor" "$three/README" || fail 'README does not state the floor'
found=$(.ci/glibc-floor "$three/bin/lamina" "$three/lib/liblamina.so.1")
[ "$(printf '%s\n' "$found" "$floor" | sort -V | tail -1)" = "$floor" ] || fail "it needs glibc $found, and says $floor"
! .ci/make-dist "$version" "$scratch/low.tar.zst" 2.10 "$three" >"$scratch/said" 2>&1 || fail 'a floor that is too low was not noticed'
grep -q 'the stated floor is 2.10' "$scratch/said" || fail 'the wrong floor is not named'
compile "$three" "$scratch/programs-three"
run "$three" "$scratch/programs-three"
diff <(cd "$two" && find . | sort) <(cd "$three" && find . ! -path ./README | sort) || fail 'make dist and make install do not agree'
echo "unpacked: works, glibc $found, the stated floor is $floor, $(stat -c %s "$archive") bytes"
