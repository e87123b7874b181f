#!/usr/bin/env bash
# The headers that a host includes compile alone, in the dialects that they promise and in either order; the README's example compiles as it
# stands there; and this test can fail.
set -euo pipefail
cd "$(dirname "$0")/../.."
include=build/gen/include
scratch=$(mktemp -d build/test-scratch/headers.XXXXXX 2>/dev/null || { mkdir -p build/test-scratch; mktemp -d build/test-scratch/headers.XXXXXX; })
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAIL: $*" >&2; exit 1; }
strict=(-fsyntax-only -pedantic-errors -Wall -Wextra -Wundef -Werror "-I$include")
count=0
# compiles COMPILER STANDARD TEXT [OPTION...]
compiles() {
  local compiler=$1 standard=$2 text=$3 language=c; shift 3
  case $standard in c++*) language=c++ ;; esac
  count=$((count + 1))
  printf '%b\nint main(void) { return 0; }\n' "$text" | "$compiler" -x $language "-std=$standard" "${strict[@]}" "$@" -
}
layers=()
for header in "$include"/lamina/*.h; do case $header in */lamina_*.h) ;; *) layers+=("$(basename "$header")") ;; esac; done
[ ${#layers[@]} -gt 0 ] || fail "no layer's header in $include"
for pair in 'gcc c99' 'gcc c11' 'gcc c17' 'clang-19 c99' 'clang-19 c17' 'g++ c++11' 'g++ c++20' 'clang++-19 c++11' 'clang++-19 c++20'; do
  read -r compiler standard <<<"$pair"
  compiles "$compiler" "$standard" '#include <lamina/lamina_hub.h>' -Wpadded || fail "$pair refuses lamina_hub.h"
  for layer in "${layers[@]}"; do
    compiles "$compiler" "$standard" "#include <lamina/$layer>\n#include <lamina/lamina_hub.h>" || fail "$pair refuses $layer"
  done
done
for pair in 'g++ c++17' 'g++ c++20' 'clang++-19 c++17' 'clang++-19 c++20'; do
  read -r compiler standard <<<"$pair"
  compiles "$compiler" "$standard" '#include <lamina/lamina.hpp>' || fail "$pair refuses lamina.hpp"
done

# The first C block of the README, whole.
awk '/^```c$/ { if (!done) inside = 1; next } /^```$/ { if (inside) done = 1; inside = 0 } inside' README.md >"$scratch/example.c"
grep -q lamina_hub_bind "$scratch/example.c" || fail 'the README has no C example'
compiles gcc c11 "#include <stdio.h>\n#include <stdlib.h>\n$(sed 's/\\/\\\\/g' "$scratch/example.c")" || fail "the README's example does not compile"
! compiles gcc c11 "#include <stdio.h>\n#include <stdlib.h>\n$(sed 's/lamina_hub_bind(/lamina_hub_bound(/' "$scratch/example.c")" 2>/dev/null ||
  fail 'a call of a function that is not there goes unseen'
mkdir -p "$scratch/lamina"
sed 's/^  int32_t reserved;.*$//' "$include/lamina/lamina_hub.h" >"$scratch/lamina/lamina_hub.h"
cp "$include/lamina/lamina_abi.h" "$scratch/lamina/"
! cmp -s "$scratch/lamina/lamina_hub.h" "$include/lamina/lamina_hub.h" || fail 'the header was not changed'
include=$scratch strict=(-fsyntax-only -Werror "-I$scratch")
! compiles gcc c99 '#include <lamina/lamina_hub.h>' -Wpadded 2>/dev/null || fail 'a hole of padding goes unseen'
echo "$count compilations"
