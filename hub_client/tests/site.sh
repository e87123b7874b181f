# For the tests of the command line: a hub of our own with one signed bundle, and a user who trusts its key.  Everything lies below
# build/test-scratch; the server ends with the test.  Sourced, from the repository's root, with the test's name as argument.
set -euo pipefail
faults=$PWD/build/lib/faults.so
scratch=$PWD/build/test-scratch/$1
layer=triangle_multiplication
repo=org/triangle-multiplication
rm -rf "$scratch"
mkdir -p "$scratch/home"
# The program as it is now, whatever is built meanwhile.
lamina=$scratch/lamina
ln build/bin/lamina "$lamina"
export HOME=$scratch/home XDG_CONFIG_HOME=$scratch/config HF_HOME=$scratch/cache
for name in HF_TOKEN HUGGING_FACE_HUB_TOKEN HF_TOKEN_PATH HF_ENDPOINT HF_HUB_CACHE HUGGINGFACE_HUB_CACHE KERNELS_CACHE HF_HUB_OFFLINE \
  TRANSFORMERS_OFFLINE LOCAL_KERNELS SSL_CERT_FILE HTTP_PROXY HTTPS_PROXY ALL_PROXY http_proxy https_proxy all_proxy; do unset "$name"; done

started=()
end_started() { for one in "${started[@]}"; do kill "$one" 2>/dev/null && wait "$one" 2>/dev/null || true; done; }
trap end_started EXIT

fail() { echo "FAILED: $*" >&2; exit 1; }
# expect CODE WORD COMMAND...: the command must end with this code and say this word; its output is in $scratch/said.
expect() {
  local code=$1 word=$2 found=0
  shift 2
  "$@" >"$scratch/said" 2>&1 || found=$?
  [ "$found" = "$code" ] || { cat "$scratch/said" >&2; fail "exit code $found, expected $code: $*"; }
  grep -qF -- "$word" "$scratch/said" || { cat "$scratch/said" >&2; fail "nothing about '$word': $*"; }
}
# wait_for FILE PATTERN: the first match in a file that a program writes.
wait_for() {
  for _ in $(seq 100); do
    grep -aoE -m1 "$2" "$1" 2>/dev/null && return
    sleep 0.05
  done
  cat "$1" >&2
  fail "no $2 in $1"
}
# The bundle's blobs in the cache $1 all hash to their names.
check_blobs() {
  local blob name found
  [ -d "$1" ] || return 0
  while read -r blob; do
    name=$(basename "$blob")
    if [ ${#name} = 64 ]; then found=$(sha256sum <"$blob"); else found=$( (printf 'blob %d\0' "$(stat -c %s "$blob")"; cat "$blob") | sha1sum); fi
    [ "${found%% *}" = "$name" ] || fail "$blob holds other bytes than its name says"
  done < <(find "$1" -path '*/blobs/*' -type f -regextype posix-extended -regex '.*/([0-9a-f]{40}|[0-9a-f]{64})')
}

"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" pack $layer --org org --counter 1 --out "$scratch/bundle" --only-backend cpu >/dev/null
"$lamina" sign "$scratch/bundle" --key "$scratch/key.sec" >/dev/null
"$lamina" serve "$scratch/hub" --port 0 --upload lfs --trusted-org org >"$scratch/serve.log" 2>&1 &
started+=($!)
HF_ENDPOINT=$(wait_for "$scratch/serve.log" 'http://127\.0\.0\.1:[0-9]+')
export HF_ENDPOINT
"$lamina" publish "$scratch/bundle" --repo $repo --create >/dev/null
