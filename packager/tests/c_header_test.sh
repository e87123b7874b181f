#!/usr/bin/env bash
# The header that is generated into a bundle: compiles alone in every C and C++ we name, and its wrappers run the bundle's builds.
test_name=packager-header
source "$(dirname "$0")/support.sh"

"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
variant=$scratch/bundle/build/$cpu
strict='-pedantic-errors -Wall -Wextra -Wconversion -Werror -Iabi'
printf '#include "%s.h"\n#include "%s.h"\ntypedef int not_empty;\n' $layer $layer > "$scratch/alone.c"
cp "$scratch/alone.c" "$scratch/alone.cpp"
for compiler in gcc clang-19; do
  for standard in c99 c11 c17; do $compiler -std=$standard $strict "-I$variant" -Wstrict-prototypes -fsyntax-only "$scratch/alone.c"; done
done
for compiler in g++ clang++-19; do
  for standard in c++11 c++17 c++20; do $compiler -std=$standard $strict "-I$variant" -fsyntax-only "$scratch/alone.cpp"; done
done

gcc -std=c99 -D_POSIX_C_SOURCE=200809L $strict "-I$variant" -o "$scratch/call_c" packager/tests/call_by_header.c -ldl -lm
g++ -std=c++17 $strict "-I$variant" -o "$scratch/call_cpp" -x c++ packager/tests/call_by_header.c -ldl -lm
reference=build/plugins/$layer-1.0.0-reference.so
ran=0
for build in "$variant"/*.so; do
  for program in call_c call_cpp; do
    if "$scratch/$program" "$build" $reference > "$scratch/log" 2>&1; then
      ran=$((ran + 1))
    else
      # A build may be for another machine; then it says so, and nothing else is an excuse.
      grep -q 'status 2: ' "$scratch/log" || { cat "$scratch/log" >&2; fail "$program $(basename "$build")"; }
    fi
    echo "$program $(basename "$build"): $(cat "$scratch/log")"
  done
done
[ $ran -ge 2 ] || fail 'no build of the bundle runs here'
"$scratch/call_c" $reference $reference
echo 'the generated header: passed'
