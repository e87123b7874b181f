#!/usr/bin/env bash
# Sizes, offsets and values of lamina_abi.h are those of the golden file; the golden names every member and constant; lamina_tensor
# is DLPack's DLTensor as Debian's libdlpack-dev has it.
set -euo pipefail
cd "$(dirname "$0")/../.."
mkdir -p build/abi
header=abi/lamina_abi.h
minor=$(awk '$2 == "LAMINA_ABI_MINOR" { print $3 }' $header)

assertions() {  # assertions GOLDEN: C11 that fails to compile where the header differs
  awk -v minor="$minor" '
    BEGIN { print "#include <stddef.h>\n#include \"abi/lamina_abi.h\"" }
    function check(condition, text) { printf "_Static_assert(%s, \"%s\");\n", condition, text }
    $1 == "struct" { size[$2] = $3; order[++structs] = $2 }
    $1 == "member" {
      if ($3 == "struct_size") growable[$2] = 1
      check("offsetof(" $2 ", " $3 ") == " $4, $2 "." $3 " is at " $4)
      check("sizeof(((" $2 " *)0)->" $3 ") == " $5, $2 "." $3 " has " $5 " bytes")
      sum[$2] += $5
    }
    $1 == "value" { check($2 " == " $3, $2 " is " $3) }
    $1 == "string" { check("sizeof(" $2 ") == sizeof(\"" $3 "\")", $2 " is " $3) }
    END {
      for (i = 1; i <= structs; ++i) {
        name = order[i]
        # Members side by side fill the struct, so none is missing from the golden.
        if (sum[name] != size[name]) { print "#error the golden lacks members of " name; continue }
        # A later minor may have appended members to a growable struct, never to a frozen one.
        check("sizeof(" name ") " (minor > 0 && growable[name] ? ">=" : "==") " " size[name], name " has " size[name] " bytes")
      }
    }' "$1"
}
holds() { assertions "$1" >build/abi/layout.c && gcc -std=c11 -I. -Werror -fsyntax-only build/abi/layout.c; }

for golden in abi/layout_v1_*.golden; do
  holds "$golden" || { echo "$header breaks $golden"; exit 1; }
done

# Every constant and struct of the header stands in the newest golden.
golden=abi/layout_v1_$minor.golden
[ -f "$golden" ] || { echo "$golden is missing: LAMINA_ABI_MINOR is $minor"; exit 1; }
constants=$(gcc -E -P -dD $header | grep -oE '\bLAMINA_[A-Z0-9_]+' | sort -u | grep -v '^LAMINA_ABI_H$')
for name in $constants; do
  grep -qE "^(value|string) $name " "$golden" || { echo "$golden lacks $name"; exit 1; }
done
for name in $(grep -oE '^typedef struct lamina_[a-z_]+ \{' $header | awk '{ print $3 }'); do
  grep -q "^struct $name " "$golden" || { echo "$golden lacks $name"; exit 1; }
done

# The golden can fail: each kind of line, changed by one, is seen.
for change in 's/^struct lamina_call 40/struct lamina_call 48/' 's/^member lamina_arg align 44 4/member lamina_arg align 40 4/' \
              's/^value LAMINA_WORKSPACE 4/value LAMINA_WORKSPACE 5/' '/^member lamina_need flags/d'; do
  sed "$change" abi/layout_v1_0.golden >build/abi/changed.golden
  ! cmp -s abi/layout_v1_0.golden build/abi/changed.golden || { echo "'$change' changes nothing"; exit 1; }
  if holds build/abi/changed.golden 2>/dev/null; then echo "'$change' goes unseen"; exit 1; fi
done

cat >build/abi/dlpack.c <<'C'
#include <dlpack/dlpack.h>
#include "abi/lamina_abi.h"
#define SAME(ours, a, theirs, b)                                                          \
  _Static_assert(offsetof(ours, a) == offsetof(theirs, b), #ours "." #a " is elsewhere"); \
  _Static_assert(sizeof(((ours *)0)->a) == sizeof(((theirs *)0)->b), #ours "." #a " has another size")
_Static_assert(sizeof(lamina_tensor) == sizeof(DLTensor), "lamina_tensor is not as large as DLTensor");
SAME(lamina_tensor, data, DLTensor, data);
SAME(lamina_tensor, device, DLTensor, device);
SAME(lamina_tensor, ndim, DLTensor, ndim);
SAME(lamina_tensor, dtype, DLTensor, dtype);
SAME(lamina_tensor, shape, DLTensor, shape);
SAME(lamina_tensor, strides, DLTensor, strides);
SAME(lamina_tensor, byte_offset, DLTensor, byte_offset);
SAME(lamina_device, type, DLDevice, device_type);
SAME(lamina_device, id, DLDevice, device_id);
SAME(lamina_dtype, code, DLDataType, code);
SAME(lamina_dtype, bits, DLDataType, bits);
SAME(lamina_dtype, lanes, DLDataType, lanes);
_Static_assert(LAMINA_CPU == (int)kDLCPU && LAMINA_CUDA == (int)kDLCUDA && LAMINA_ROCM == (int)kDLROCM, "device types differ");
_Static_assert(LAMINA_CODE_INT == (int)kDLInt && LAMINA_CODE_UINT == (int)kDLUInt && LAMINA_CODE_FLOAT == (int)kDLFloat && LAMINA_CODE_BFLOAT == (int)kDLBfloat,
               "dtype codes differ");
C
gcc -std=c11 -I. -Wall -Wextra -Werror -fsyntax-only build/abi/dlpack.c
echo "layout 1.$minor holds: $(wc -l <"$golden") facts; lamina_tensor is DLTensor"
