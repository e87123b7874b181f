#!/usr/bin/env bash
# The pool under the thread sanitizer, with its own tests; and a pool whose regions are announced too weakly, which the sanitizer must find.
set -euo pipefail
cd "$(dirname "$0")/../../.."
out=build/thread_sanitizer
mkdir -p $out
compile() { g++ -std=c++20 -O1 -g -fsanitize=thread -I. -o "$1" kernels/cpu/tests/pool_test.cpp "$2" kernels/cpu/machine.cpp -lpthread; }
run() { TSAN_OPTIONS=die_after_fork=0:halt_on_error=1 timeout 120 "$1"; }
compile $out/pool kernels/cpu/pool.cpp
run $out/pool
sed 's/memory_order_\(release\|acquire\|acq_rel\)/memory_order_relaxed/g' kernels/cpu/pool.cpp >$out/weak_pool.cpp
sed -i 's|#include "pool.h"|#include "kernels/cpu/pool.h"|' $out/weak_pool.cpp
compile $out/weak $out/weak_pool.cpp
if run $out/weak >$out/weak.log 2>&1; then echo "the sanitizer did not find the race in the weakened pool"; exit 1; fi
grep -q 'data race' $out/weak.log || { echo "the weakened pool failed for another reason"; tail -20 $out/weak.log; exit 1; }
echo "no race in the pool; the one in the weakened pool was found"
