#!/usr/bin/env bash
# fetch, list, doctor and repair as a user meets them: output, exit codes, offline, several processes, full disks, no rights, TLS.
cd "$(dirname "$0")/../.."
. hub_client/tests/site.sh command_line
fetch() { "$lamina" fetch "$@"; }
folder=$HF_HOME/hub/kernels--org--triangle-multiplication
fresh() { rm -rf "$HF_HOME"; }

# Every verb explains itself by an example of its own; what is no verb is refused.
verbs=$("$lamina" --help | sed '1,/^Subcommands:/d' | grep -oE '^  [a-z]+' || true)
[ "$(wc -w <<<"$verbs")" -ge 19 ] || fail "lamina --help names the verbs $verbs alone"
for verb in $verbs; do expect 0 "  lamina $verb" "$lamina" "$verb" --help; done
expect 2 "subcommand is required" "$lamina" nonsense

# A stranger's key, then a trusted one.
expect 7 "lamina trust add org KEY.pub" fetch $repo
[ -z "$(find "$HF_HOME" -name '*.incomplete')" ] && [ ! -e "$folder/refs" ] || fail "a refused fetch left something behind"
expect 0 "org is trusted" "$lamina" trust add org "$scratch/key.pub"

# In a pipe: sentences, no bar.  The result alone on standard output.
fresh
fetch $repo@v1 >"$scratch/out" 2>"$scratch/said"
[ "$(wc -l <"$scratch/out")" = 1 ] && [ -s "$(cat "$scratch/out")" ] || fail "standard output is not the path of a build"
grep -q '^downloading build/' "$scratch/said" || fail "nothing is said of what is downloaded"
! grep -q $'\r' "$scratch/said" || fail "a bar in a log"
# On a terminal: one line that moves, with rate and time left.
fresh
script -qec "$lamina fetch $repo" /dev/null >"$scratch/said"
grep -aqE $'\r''\[#+\.*\] +[0-9]+ %.* of .*/s +.* left' "$scratch/said" || { cat -v "$scratch/said" >&2; fail "no bar on a terminal"; }
fresh
HF_HUB_DISABLE_PROGRESS_BARS=1 script -qec "$lamina fetch $repo" /dev/null >"$scratch/said"
! grep -aq '\[#' "$scratch/said" || fail "a bar although they are switched off"
fresh
[ -z "$(fetch $repo --quiet 2>&1 >/dev/null)" ] || fail "--quiet says something"

# --json
fetch $repo --json >"$scratch/json" 2>/dev/null
jq -e '.schema == "lamina/fetch/1" and .repository == "'$repo'" and .revision == "v1" and (.commit | length) == 40 and
  .downloaded.files == 0 and ([.builds[] | select(.taken)] | length) == 1 and ([.variants[] | select(.taken)] | length) == 1 and
  ([.checks[].outcome] | unique) == ["passed"] and .signed_by != null' "$scratch/json" >/dev/null || { cat "$scratch/json"; fail "fetch --json"; }
[ -s "$(jq -r .build "$scratch/json")" ] || fail "the build that fetch --json names is not there"
commit=$(jq -r .commit "$scratch/json")
expect 0 "> torch-stable-abi" fetch $repo@"$commit" --explain
expect 2 "no version" fetch $repo --torch two
expect 8 "too new" fetch $repo --torch 2.8
expect 8 "wanted cu130" fetch $repo --backend cu130

# Offline: everything works without one socket.  That the trap works is shown first.
expect 134 "a socket was opened" env LD_PRELOAD="$faults" LAMINA_TEST_NO_SOCKETS=1 "$lamina" fetch $repo
export HF_HUB_OFFLINE=1
for what in $repo $repo@v1 $repo@"$commit"; do
  expect 0 "/build/" env LD_PRELOAD="$faults" LAMINA_TEST_NO_SOCKETS=1 "$lamina" fetch $what
done
expect 11 "network is switched off" env LD_PRELOAD="$faults" LAMINA_TEST_NO_SOCKETS=1 "$lamina" fetch $repo@v2
expect 11 "network is switched off" env LD_PRELOAD="$faults" LAMINA_TEST_NO_SOCKETS=1 "$lamina" fetch org/other
expect 11 "network is switched off" env LD_PRELOAD="$faults" LAMINA_TEST_NO_SOCKETS=1 "$lamina" publish "$scratch/bundle" --repo $repo
unset HF_HUB_OFFLINE
for verb in doctor list repair; do expect 0 "" env LD_PRELOAD="$faults" LAMINA_TEST_NO_SOCKETS=1 "$lamina" $verb; done
expect 0 "$scratch/bundle" env LD_PRELOAD="$faults" LAMINA_TEST_NO_SOCKETS=1 LOCAL_KERNELS=$repo="$scratch/bundle" "$lamina" fetch $repo

# Errors that say the fix, and leave nothing behind.
fresh
expect 3 "it has v1" fetch $repo@v7
expect 3 "was not found" fetch org/other
expect 2 "ORG/NAME" fetch nonsense
expect 4 "HF_ENDPOINT" env HF_ENDPOINT=http://127.0.0.1:1 "$lamina" fetch $repo
expect 4 "not encrypted" env HF_ENDPOINT=http://192.0.2.1 "$lamina" fetch $repo
[ ! -e "$HF_HOME" ] || fail "an error before the first download made a cache"
expect 9 "HF_HUB_CACHE" env LD_PRELOAD="$faults" LAMINA_TEST_FREE_BYTES=1000 "$lamina" fetch $repo
[ -z "$(find "$HF_HOME" -type f 2>/dev/null)" ] || fail "a download began although there is no space"
expect 9 "No space left" env LD_PRELOAD="$faults" LAMINA_TEST_FULL_AFTER=100000 "$lamina" fetch $repo
[ -z "$(find "$HF_HOME" -name '*.incomplete')" ] && [ ! -e "$folder/refs" ] || fail "a full disk left something unfinished"
check_blobs "$HF_HOME"
fresh
expect 10 "HF_HUB_CACHE" env LD_PRELOAD="$faults" LAMINA_TEST_DENY="$HF_HOME" "$lamina" fetch $repo
[ ! -e "$HF_HOME" ] || fail "something was written without the right to"
fetch $repo --quiet >/dev/null
# A cache that is whole and cannot be written is used as it is.
expect 0 "/build/" env LD_PRELOAD="$faults" LAMINA_TEST_DENY="$HF_HOME" "$lamina" fetch $repo

# Six processes at once and a cold cache: each is served, each byte comes once.
all=$(fresh; fetch $repo --json 2>/dev/null | jq .downloaded.bytes)
fresh
for i in 1 2 3 4 5 6; do fetch $repo --json >"$scratch/json$i" 2>/dev/null & pids[i]=$!; done
for i in 1 2 3 4 5 6; do wait "${pids[i]}" || fail "one of six processes failed"; done
[ "$(cat "$scratch"/json? | jq -s 'map(.downloaded.bytes) | add')" = "$all" ] || fail "six processes downloaded more than the $all bytes of one"

# Locks that keep nobody out are not relied on: an unfinished download that may be another's is left alone.
blob=$(basename "$(readlink "$(find "$folder/snapshots" -name '*.so')")")
fresh
mkdir -p "$folder/blobs"
head -c 100 /dev/zero >"$folder/blobs/$blob.incomplete"
expect 0 "downloading build/" env LD_PRELOAD="$faults" LAMINA_TEST_LOCKS=all "$lamina" fetch $repo
[ "$(stat -c %s "$folder/blobs/$blob.incomplete")" = 100 ] || fail "wrote to an unfinished download without a lock on it"
! grep -q 'going on with' "$scratch/said" || fail "went on with an unfinished download without a lock on it"
# A lock whose file was removed meanwhile is taken again, and then relied on.  bundle.json is the first file that is downloaded.
first=$(find "$folder/snapshots" -name bundle.json)
blob=$(basename "$(readlink "$first")")
head -c 10 "$first" >"$scratch/begun"
fresh
mkdir -p "$folder/blobs"
cp "$scratch/begun" "$folder/blobs/$blob.incomplete"
expect 0 "going on with build/" env LD_PRELOAD="$faults" LAMINA_TEST_LOCKS=lost "$lamina" fetch $repo

# list
expect 0 "trusted" "$lamina" list
"$lamina" list --json | jq -e '.bundles | length == 1 and .[0].state == "trusted" and .[0].revisions == ["v1"] and .[0].bytes == '"$all" >/dev/null || fail "list --json"

# doctor never shows the token, nor does any error
export HF_TOKEN=hf_supersecret
expect 0 "yes, from HF_TOKEN" "$lamina" doctor
for command in "doctor" "doctor --json" "fetch org/other" "fetch $repo@v7" "list"; do
  ! "$lamina" $command 2>&1 | grep -q supersecret || fail "lamina $command shows the token"
done
unset HF_TOKEN
"$lamina" doctor --json | jq -e '.schema == "lamina/doctor/1" and .problems == [] and (.sections | has("machine") and has("hub") and has("trust") and has("choice"))' >/dev/null || fail "doctor --json"
expect 14 "LOCAL_KERNELS names /nowhere" env LOCAL_KERNELS=org/x=/nowhere "$lamina" doctor
expect 14 "cannot be made" env HF_HUB_CACHE=/proc/nothing "$lamina" doctor
expect 14 "HF_ENDPOINT is" env HF_ENDPOINT=nonsense "$lamina" doctor
mv "$scratch/config/lamina/trust.json" "$scratch/trust.json"
echo '{' >"$scratch/config/lamina/trust.json"
expect 14 "trust.json" "$lamina" doctor
mv "$scratch/trust.json" "$scratch/config/lamina/trust.json"

# repair
expect 0 "nothing to mend" "$lamina" repair
rm "$folder/refs/v1"
expect 11 "not in the cache" env HF_HUB_OFFLINE=1 "$lamina" fetch $repo@v1
expect 14 "would be written" "$lamina" repair --dry-run
[ ! -e "$folder/refs/v1" ] || fail "a dry run wrote"
expect 0 "1 things mended" "$lamina" repair
expect 0 "/build/" env HF_HUB_OFFLINE=1 "$lamina" fetch $repo@v1

# TLS: a certificate that nobody vouches for is refused, and nothing leads from https to http.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=test -addext subjectAltName=IP:127.0.0.1 \
  -keyout "$scratch/tls.key" -out "$scratch/tls.pem" 2>/dev/null
mkdir -p "$scratch/tls/api/kernels/$repo"
printf 'HTTP/1.1 302 Found\r\nLocation: %s/api/kernels/%s/refs\r\nContent-Length: 0\r\nConnection: close\r\n\r\n' "$HF_ENDPOINT" "$repo" >"$scratch/tls/api/kernels/$repo/refs"
(cd "$scratch/tls" && exec openssl s_server -HTTP -accept 127.0.0.1:0 -cert "$scratch/tls.pem" -key "$scratch/tls.key") </dev/zero >"$scratch/tls.log" 2>&1 &
started+=($!)
tls=https://$(wait_for "$scratch/tls.log" '127\.0\.0\.1:[0-9]+')
expect 4 "SSL_CERT_FILE" env HF_ENDPOINT="$tls" "$lamina" fetch $repo
expect 4 "redirects to an address that is refused" env HF_ENDPOINT="$tls" SSL_CERT_FILE="$scratch/tls.pem" "$lamina" fetch $repo
echo passed
