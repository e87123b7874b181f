# Part of gpu.sh --sanitize, which sources it: uses step, say, device, failed, ran.
#
# The tool is $COMPUTE_SANITIZER, or that of the PATH, of a toolkit, or of NVIDIA's package in build/compute-sanitizer (`make
# compute-sanitizer`).  A machine that refuses it is said to, and is a failure: nothing is skipped in silence.
find_sanitizer() {
  local place
  for place in ${COMPUTE_SANITIZER:+"$COMPUTE_SANITIZER"} "$(command -v compute-sanitizer || true)" /usr/local/cuda/bin/compute-sanitizer \
    build/compute-sanitizer/nvidia/cu13/bin/compute-sanitizer; do
    if [ -n "$place" ] && [ -x "$place" ]; then echo "$place"; return; fi
  done
  return 1
}

# What a tool must report: the fault of kernels/cuda/tests/planted_faults.cpp, and the words it uses for it.
fault_of() {
  case $1 in
    memcheck) echo 'out_of_bounds|Invalid __global__ write' ;;
    racecheck) echo 'race|(hazard|Race reported)' ;;
    synccheck) echo 'barrier|(Divergent thread|Barrier error|[Ii]nvalid arguments|not called by all)' ;;
    initcheck) echo 'uninitialised|Uninitialized __global__ memory read' ;;
  esac
}

under() {  # under TOOL COMMAND...
  local tool=$1; shift
  LAMINA_BARE_MEMORY=1 step timeout --kill-after=5 "${SANITIZE_TIMEOUT:-400}" "$sanitizer" --tool "$tool" --target-processes all --error-exitcode 99 --print-limit 5 "$@"
}

planted() {  # planted TOOL: the tool sees its fault, and nothing where there is none
  local found code=0
  found=$(fault_of "$1")
  under "$1" build/bin/kernels-cuda-planted_faults none || { say "FAIL: $1 reports what is not there, or does not run on this machine"; return 1; }
  under "$1" build/bin/kernels-cuda-planted_faults "${found%%|*}" || code=$?
  if [ $code = 99 ] && grep -qE "${found#*|}" "$results.step"; then return 0; fi
  say "FAIL: $1 does not see the planted fault '${found%%|*}' (exit code $code): what it passes below proves nothing"
  return 1
}

sanitize_all() {
  local tool build layer cases code
  sanitizer=$(find_sanitizer) || { say 'FAIL: this machine has no compute-sanitizer; `make compute-sanitizer` fetches NVIDIA'"'"'s package'; failed=1; return; }
  say "$("$sanitizer" --version | tail -1), $sanitizer" ''
  for tool in ${SANITIZE_TOOLS:-memcheck racecheck synccheck initcheck}; do
    if ! planted "$tool"; then failed=$((failed + 1)); continue; fi
    if under "$tool" build/bin/kernels-cuda-primitives_test --require-gpu; then ran=$((ran + 1)); else failed=$((failed + 1)); fi
    for build in build/plugins/*-cuda_*.so; do
      [ -f "$build" ] || continue
      layer=$(basename "$build" | sed 's/-[0-9][0-9.]*-.*//')
      cases=layers/$layer/tests/sanitizer_cases.json
      [ -f "$cases" ] || { say "FAIL: $cases is missing"; failed=$((failed + 1)); continue; }
      code=0
      under "$tool" build/bin/lamina conform "$build" --device "$device" --cases "$cases" --filter case --max-gflop 60 || code=$?
      case $code in
        0) ran=$((ran + 1)) ;;
        8) say "NOT RUN on this GPU: $build" '' ;;
        *) failed=$((failed + 1)) ;;
      esac
    done
  done
}
