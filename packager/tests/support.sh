# For tests in bash: a folder of their own, nothing of the user's environment, what must fail and how, and a hub to talk to.
# Use: source it with the test's name in $test_name.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
lamina=$root/build/bin/lamina
scratch=$root/build/test-scratch/$test_name
org=acme
layer=triangle_multiplication
repo=$org/triangle-multiplication
cpu=torch-stable-abi29-cpu-$(uname -m)-linux
rm -rf "$scratch"
mkdir -p "$scratch/home"
export HOME=$scratch/home XDG_CONFIG_HOME=$scratch/config XDG_STATE_HOME=$scratch/state XDG_CACHE_HOME=$scratch/xdg HF_HOME=$scratch/hf
export HF_ENDPOINT=http://127.0.0.1:9  # no hub listens there, and no test asks another
unset HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_HUB_CACHE HUGGINGFACE_HUB_CACHE KERNELS_CACHE HF_HUB_OFFLINE \
  TRANSFORMERS_OFFLINE LOCAL_KERNELS HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy 2>/dev/null || true

children=()
stop_children() {
  for child in "${children[@]}"; do kill "$child" 2>/dev/null && wait "$child" 2>/dev/null || true; done
  children=()
}
trap stop_children EXIT
fail() { echo "FAIL: $*" >&2; exit 1; }

# refuses CODE 'PART OF THE SENTENCE' COMMAND...: it must end with that exit code and say so.
refuses() {
  local code=$1 sentence=$2 got=0
  shift 2
  "$@" >"$scratch/refused.log" 2>&1 || got=$?
  [ $got -eq "$code" ] || { cat "$scratch/refused.log" >&2; fail "exit code $got, expected $code: $*"; }
  grep -qF -- "$sentence" "$scratch/refused.log" || { cat "$scratch/refused.log" >&2; fail "does not say '$sentence': $*"; }
}

# A hash of every path, mode and byte below a folder.
tree_hash() { (cd "$1" && find . -type f -printf '%m %p\n' | LC_ALL=C sort && find . -type f -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) | sha256sum; }

# start_hub LOG OPTION...: sets HF_ENDPOINT and hub_process.
start_hub() {
  local log=$1
  shift
  : > "$log"
  "$lamina" serve "$@" --port 0 >"$log" 2>&1 &
  hub_process=$!
  children+=($hub_process)
  for _ in $(seq 100); do
    HF_ENDPOINT=$(grep -om1 'at http://127\.0\.0\.1:[0-9]*' "$log" | cut -c4-) && [ -n "$HF_ENDPOINT" ] && return || sleep 0.05
    kill -0 $hub_process 2>/dev/null || break
  done
  cat "$log" >&2
  fail "the hub did not start"
}
