#!/usr/bin/env bash
# The decoder against LLVM's: of every code object at hand, the texts of all instructions must be the same.
set -euo pipefail
cd "$(dirname "$0")/../../.."
folder=$(mktemp -d build/hip_emulator/listing.XXXXXX)
trap 'rm -rf "$folder"' EXIT
for arch in gfx90a gfx942; do
  clang-19 -x hip --offload-arch=$arch -nogpuinc -nogpulib -std=c++20 -O3 -ffp-contract=fast --cuda-device-only --no-gpu-bundle-output \
    -o "$folder/kernels.$arch.co" conformance/hip_emulator/tests/kernels/kernels.hip
done
bad=0
for object in "$folder"/*.co build/hip_emulator/tests/*.co build/obj/plugins/*/hip_gfx9[04]*/device_code_*.co; do
  [ -e "$object" ] || continue
  refused='^XX'
  case $object in */faults.*) refused='s_memtime' ;; esac
  build/bin/hip_emulator-listing "$object" 2>"$folder/errors" | sed 's/^[0-9A-F]* //' | tr -s ' ' | sort -u > "$folder/ours" ||
    [ "$refused" != '^XX' ] || { echo "$object: $(cat "$folder/errors")"; bad=1; }
  llvm-objdump-19 -d "$object" | sed -nE 's,^[[:space:]]+([a-z].*[^[:space:]])[[:space:]]*// 0*[0-9A-F]+: .*,\1,p' | tr -s ' \t' ' ' | sort -u > "$folder/llvm"
  # What lies between kernels is not reached.
  if comm -23 "$folder/ours" "$folder/llvm" | grep . > "$folder/more"; then echo "$object: LLVM does not know:"; head -5 "$folder/more"; bad=1; fi
  count=$(wc -l < "$folder/ours")
  missed=$(comm -13 "$folder/ours" "$folder/llvm" | grep -vcE "$refused|^s_nop|^s_code_end" || true)
  [ "$count" -gt 10 ] && [ "$missed" -lt 5 ] || { echo "$object: $count texts, $missed of LLVM's are missing:"; comm -13 "$folder/ours" "$folder/llvm" | head -5; bad=1; }
  echo "$object: $count texts are LLVM's"
done
exit $bad
