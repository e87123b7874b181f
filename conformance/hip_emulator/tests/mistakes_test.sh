#!/usr/bin/env bash
# The test of the emulator's checks: kernels that are right must pass on each GPU, and each of thirteen mistakes must be found.
set -euo pipefail
cd "$(dirname "$0")/../../.."
folder=$(mktemp -d build/hip_emulator/mistakes.XXXXXX)
trap 'rm -rf "$folder"' EXIT
source=conformance/hip_emulator/tests/kernels/kernels.hip
compile() {  # ARCH MISTAKE OUTPUT
  clang-19 -x hip --offload-arch="$1" -nogpuinc -nogpulib -std=c++20 -O3 -ffp-contract=fast --cuda-device-only --no-gpu-bundle-output \
    -mcode-object-version=5 -DLAMINA_MISTAKE="$2" -o "$3" $source
}
bad=0
for arch in gfx90a gfx942; do
  compile $arch none "$folder/$arch.co"
  if answer=$(LAMINA_HIP_EMULATOR="arch=$arch" build/bin/hip_emulator-run_kernels "$folder/$arch.co" 2>&1); then echo "$arch: $answer"; else
    echo "$arch: the kernels that are right fail: $answer"; bad=1; fi
done
mapfile -t mistakes < <(sed -n '/^enum Mistake {/,/^};/p' $source | sed -nE 's/^  ([a-z_]+),.*/\1/p' | grep -vx none)
for mistake in "${mistakes[@]}"; do
  compile gfx942 "$mistake" "$folder/$mistake.co"
  code=0
  answer=$(LAMINA_HIP_EMULATOR="arch=gfx942" build/bin/hip_emulator-run_kernels "$folder/$mistake.co" 2>&1) || code=$?
  case $code in
    1|3) echo "$mistake: found: $(head -1 <<<"$answer" | cut -c1-160)" ;;
    *) echo "$mistake: NOT found (exit code $code): $answer"; bad=1 ;;
  esac
done
[ ${#mistakes[@]} = 13 ] || { echo "there are ${#mistakes[@]} mistakes, not 13"; bad=1; }
exit $bad
