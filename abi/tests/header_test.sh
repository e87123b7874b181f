#!/usr/bin/env bash
# The header compiles alone, without a warning, in every dialect that it promises; and this test can fail.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/abi
header=abi/lamina_abi.h
common=(-fsyntax-only -pedantic-errors -Wall -Wextra -Wpadded -Wundef -Werror)

compiles() {  # compiles HEADER COMPILER STANDARD
  local language=c extra=(-Wstrict-prototypes -Wc++-compat)
  case $3 in c++*) language=c++; extra=(-fno-exceptions -fno-rtti -Wold-style-cast) ;; esac
  case $2$3 in clang*c*) [ $language = c ] && extra=(-Wstrict-prototypes -Wc++-compat -Wno-c++-keyword) ;; esac
  "$2" -x $language "-std=$3" "${common[@]}" "${extra[@]}" -Wno-unknown-warning-option -include "$PWD/$1" - </dev/null 2>&1
}
count=0
for standard in c99 c11 c17; do
  for compiler in gcc clang-19; do compiles $header $compiler $standard || { echo "$compiler -std=$standard refuses $header"; exit 1; }; count=$((count + 1)); done
done
for standard in c++11 c++14 c++17 c++20; do
  for compiler in g++ clang++-19; do compiles $header $compiler $standard || { echo "$compiler -std=$standard refuses $header"; exit 1; }; count=$((count + 1)); done
done
if command -v nvcc >/dev/null; then
  for standard in c++17 c++20; do
    printf '#include "%s"\nint main() { return 0; }\n' "$header" >build/abi/alone.cu
    nvcc -I. -std=$standard -Werror all-warnings -Xcompiler -Wall,-Wextra -c -o build/abi/alone.o build/abi/alone.cu
    count=$((count + 1))
  done
else
  echo "nvcc is not installed: not tried"
fi

# What the test must see: padding, a C++ word, a comma too many for C99.
must_refuse() {  # must_refuse WHAT SED COMPILER STANDARD
  sed "$2" $header >build/abi/broken.h
  ! cmp -s $header build/abi/broken.h || { echo "$1: the header was not changed"; exit 1; }
  if compiles build/abi/broken.h "$3" "$4" >/dev/null; then echo "$1 goes unseen by $3 -std=$4"; exit 1; fi
}
must_refuse 'a hole of padding' 's/^  uint32_t flags;$/  uint8_t flags;/' gcc c99
must_refuse 'a C++ word in C' 's/^typedef int32_t lamina_status;/using lamina_status = int32_t;/' clang-19 c17
must_refuse 'a C word in C++' 's/int32_t dim; /int32_t class; /' g++ c++11
! grep -nE '^ *# *include' $header | grep -vE '<(stddef|stdint)\.h>' || { echo "$header includes more than C headers"; exit 1; }
lines=$(wc -l <$header)
[ "$lines" -le 250 ] || { echo "$header has $lines lines, at most 250 are allowed"; exit 1; }
echo "$header compiles alone in $count dialects"
