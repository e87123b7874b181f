#!/usr/bin/env bash
# The program of the large problem, on the CPU at a size that a CPU can afford: its truth agrees with every build that runs here, and
# it sees a wrong build.
set -euo pipefail
cd "$(dirname "$0")/../../.."
program=build/bin/triangle_multiplication-large_problem
ran=0
for build in build/plugins/triangle_multiplication-*-reference.so build/plugins/triangle_multiplication-*-cpu_*.so; do
  [ -f "$build" ] || continue
  code=0; $program "$build" cpu 67 64 || code=$?
  case $code in 0) ran=$((ran + 1)) ;; 8) echo "NOT RUN here: $build" ;; *) exit 1 ;; esac
done
[ $ran -gt 0 ]
mkdir -p build/mutants
gcc -std=c11 -O1 -fPIC -shared -I. -DMISTAKE=FORGETS_LAST_ROW -o build/mutants/large.so conformance/tests/mutant.c -ldl
code=0
LAMINA_MUTANT_OF=$PWD/$(ls build/plugins/triangle_multiplication-*-reference.so) $program build/mutants/large.so cpu 67 64 >build/mutants/large.log || code=$?
[ $code = 14 ] && grep -q 'N = 67.*is allowed' build/mutants/large.log || { echo "a build that forgets the last row goes unseen (exit code $code)"; cat build/mutants/large.log; exit 1; }
