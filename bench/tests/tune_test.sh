#!/usr/bin/env bash
# LAMINA_TUNABLE takes another value from the command line, and every such line of a layer says what `make tune` needs to know.
set -euo pipefail
cd "$(dirname "$0")/../.."
scratch=build/test-scratch/tune
rm -rf $scratch; mkdir -p $scratch/layers/toy $scratch/build
cat >$scratch/number.cpp <<'C'
#include "kernels/common/tunable.h"
namespace toy {
LAMINA_TUNABLE(some, 4);
LAMINA_TUNABLE(other, 7);
}  // namespace toy
static_assert(toy::some == WANT && toy::other == 7);
C
compiles() { g++ -std=c++20 -Wall -Wextra -Wpedantic -Werror -I. -fsyntax-only "$@" $scratch/number.cpp 2>/dev/null; }
compiles -DWANT=4
compiles -DWANT=5 -DLAMINA_TUNE_some=0,5
if compiles -DWANT=4 -DLAMINA_TUNE_some=0,5; then echo "the other value had no effect"; exit 1; fi

archs=$(sed -nE 's/^ARCHS *:= *//p' kernels/archs.mk)
for tiles in layers/*/tiles.h; do
  grep -q '^LAMINA_TUNABLE' "$tiles" || continue
  python3 - "$(basename "$(dirname "$tiles")")" $archs <<'P'
import sys
sys.path.insert(0, "bench/gpu")
import tune
for number in tune.numbers_of(sys.argv[1]):
    unknown = set(number.archs) - set(sys.argv[2:])
    assert not unknown, f"{number.name}: no arch {unknown}"
    assert len(number.tries) > 1 and all({"N", "C"} <= set(problem) for problem in number.problems), number.name
P
done
tune=$PWD/bench/gpu/tune.py
refused() { if (cd $scratch && python3 "$tune" toy --arch cpu_avx2) >$scratch/log 2>&1; then echo "taken: $1"; exit 1; fi; grep -qE "$1" $scratch/log || { cat $scratch/log; exit 1; }; }
echo 'LAMINA_TUNABLE(a, 3);  // the best' >$scratch/layers/toy/tiles.h
refused '^layers/toy/tiles.h:1: expected'
echo 'LAMINA_TUNABLE(a, 3);  // cuda_sm80: 1 2 at N=8 C=8' >$scratch/layers/toy/tiles.h
refused 'has no number for cpu_avx2'
echo 'constexpr int a = 3;' >$scratch/layers/toy/tiles.h
refused 'has no LAMINA_TUNABLE'
echo 'LAMINA_TUNABLE(a, 3);  // cpu_avx2: 1 2 at N=8 C=8' >$scratch/layers/toy/tiles.h
refused 'run: make plugins'
echo "tunable numbers can be tuned"
