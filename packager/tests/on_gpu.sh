#!/usr/bin/env bash
# On a machine with a GPU, with neither compilers of ours nor network: what Python hosts are promised and only a GPU can show.
#
#   make python-gpu-kit                                    where the tree is; copy build/python-gpu-kit.tar.gz to the machine, unpack it, and there
#   packager/tests/on_gpu.sh PYTHON OUT [PART...]      parts: shim trunk adapters; all of them if none is named
#
# PYTHON has torch 2.9 or newer with CUDA and transformers 5.17 (shim, trunk), jax with CUDA (adapters); the rest lies in the kit.
#   shim      the tests of the generated package with every tensor on the GPU; streams, graphs, memory
#   trunk     transformers' ESMFold2 trunk with and without the bundle, beside torch.compile and the hub's Triton kernel: OUT/esmfold2.json
#   adapters  tvm-ffi and JAX, both CUDA builds
# Each step has a time limit, and its output in OUT/STEP.txt; one line a step is printed.  Exit code 1 when a step failed, whichever.
# LAMINA_TEST_DEVICE=cpu with LAMINA_TEST_BUNDLE tries the script itself where no GPU is: the steps that need one are left out then.
set -uo pipefail
cd "$(dirname "$0")/../.."
python=${1:?which python?} out=${2:?where to?}
shift 2
parts=${*:-shim trunk adapters}
bundle=${LAMINA_TEST_BUNDLE:-bundle}
export LAMINA_TEST_DEVICE=${LAMINA_TEST_DEVICE:-cuda} LAMINA_STRICT=1 HF_HUB_OFFLINE=1 HF_HUB_DISABLE_TELEMETRY=1
export PYTHONPATH=$PWD/site${PYTHONPATH:+:$PYTHONPATH}
mkdir -p "$out" && out=$(realpath "$out")
export TORCHINDUCTOR_CACHE_DIR=$out/cache/inductor HF_HOME=$out/cache/hf
failed=0
step() {  # NAME SECONDS COMMAND...
  local name=$1 limit=$2 start=$EPOCHREALTIME verdict=pass
  shift 2
  timeout --kill-after=5 "$limit" "$@" >"$out/$name.txt" 2>&1 </dev/null || { verdict="FAIL ($?)"; failed=1; }
  printf '%-9s %6.1f s  %s\n' "$verdict" "$(awk -v a="$start" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')" "$name"
  [ "$verdict" = pass ] || tail -n 5 "$out/$name.txt" | cut -c1-200 | sed 's/^/      | /'
}
on_gpu() { [ "$LAMINA_TEST_DEVICE" = cuda ]; }

step machine 60 "$python" -c '
import platform, torch, transformers, kernels
print(platform.python_version(), "torch", torch.__version__, "transformers", transformers.__version__, "kernels", kernels.__version__)
print(torch.cuda.get_device_name(), torch.cuda.device_count()) if torch.cuda.is_available() else print("no GPU")'
for part in $parts; do
  case $part in
    shim)
      for one in dtypes functions overhead opcheck operators; do step shim_$one 150 "$python" packager/tests/python_shim.py $one "$bundle"; done
      for one in changes patching refusals; do step shim_$one 100 "$python" packager/tests/python_patching.py $one "$bundle"; done
      for one in builds refusals kernelize operators; do step training_$one 150 "$python" packager/tests/python_training.py $one "$bundle"; done
      step transformers_layer 150 "$python" packager/tests/python_transformers.py layer "$bundle"
      step transformers_set_use_kernels 100 "$python" packager/tests/python_transformers.py set_use_kernels "$bundle"
      if on_gpu; then for one in streams graphs memory devices; do step gpu_$one 60 "$python" packager/tests/python_gpu.py $one "$bundle"; done
      else echo 'left out: streams, graphs, memory and devices, which need a GPU'; fi ;;
    trunk)
      how=(--sizes 64 256 512 1024 --truth 1024)
      on_gpu || how=(--sizes 32 --channels 64 --blocks 1 --rounds 1 --seconds 0.01 --dtype float32 --forms host lamina 'lamina, compile')
      [ ! -d hub-triton ] || how+=(--hub-triton hub-triton)
      step trunk 480 "$python" bench/gpu/esmfold2.py --bundle "$bundle" --device $LAMINA_TEST_DEVICE "${how[@]}" --out "$out/esmfold2.json"
      grep -hE 'us/block|one eager call' "$out/trunk.txt" | cut -c1-150 ;;
    adapters) if on_gpu; then step adapters 420 adapters/tests/python_adapters.sh --gpu "$python"; else echo 'left out: adapters, which need a GPU'; fi ;;
    *) echo "error: no part '$part'; there are shim, trunk and adapters" >&2; exit 2 ;;
  esac
done
exit $failed
