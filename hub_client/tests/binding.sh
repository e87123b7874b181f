#!/usr/bin/env bash
# What pins a release: lock files, the newest release seen, lists of revoked releases; and lamina verify, which says each step.
cd "$(dirname "$0")/../.."
. hub_client/tests/site.sh binding
"$lamina" trust add org "$scratch/key.pub" >/dev/null
fetch() { "$lamina" fetch "$@"; }
release() { # COUNTER [PACK OPTION...]
  local counter=$1
  shift
  rm -rf "$scratch/next"
  "$lamina" pack $layer --org org --counter "$counter" --out "$scratch/next" --only-backend cpu "$@" >/dev/null
  "$lamina" sign "$scratch/next" --key "$scratch/key.sec" >/dev/null
  "$lamina" publish "$scratch/next" --repo $repo >/dev/null
}
pins=$scratch/lamina.lock

# A lock pins a commit and every bundle.json; fetch --locked takes that and nothing else, whatever the branch does.
expect 0 "release 1, 1 variants" "$lamina" lock $repo@v1 --file "$pins"
first=$(jq -r '.bundles["'$repo'"].commit' "$pins")
cp "$pins" "$scratch/first.lock"
expect 0 "release 1, 1 variants" "$lamina" lock $repo --file "$pins"
cmp -s "$pins" "$scratch/first.lock" || fail "locking twice gives another file"
build=$(fetch $repo --locked "$pins" --quiet)
release 2
[ "$(fetch $repo --quiet --json | jq .counter)" = 2 ] || fail "the new release is not what v1 means"
[ "$(fetch $repo --locked "$pins" --quiet --json | jq -r '[.counter, .commit] | join(" ")')" = "1 $first" ] || fail "the lock does not hold"
[ "$(HF_HUB_OFFLINE=1 fetch $repo@v1 --locked "$pins" --quiet)" = "$build" ] || fail "the lock does not hold offline"
expect 12 "lock it again" fetch $repo@v2 --locked "$pins"
expect 12 "does not pin org/other" fetch org/other --locked "$pins"
jq '.bundles["'$repo'"].variants |= map_values("'"$(printf 0%.0s {1..64})"'")' "$pins" >"$scratch/wrong.lock"
expect 5 "the lock file pins 0000" fetch $repo --locked "$scratch/wrong.lock"
jq '.bundles["'$repo'"].variants = {"torch-stable-abi29-cu130-x86_64-linux": "'"$(printf 0%.0s {1..64})"'"}' "$pins" >"$scratch/wrong.lock"
expect 12 "does not pin torch-stable-abi29-cpu" fetch $repo --locked "$scratch/wrong.lock"
for change in '.bundles["'$repo'"].commit = "../../x"' '.bundles["'$repo'"].more = 1' '.schema = "other"' '.bundles = 7' '.bundles["'$repo'"].counter = -1' \
  '.bundles["'$repo'"].variants = {}' '.bundles["../x"] = .bundles["'$repo'"]'; do
  jq "$change" "$pins" >"$scratch/wrong.lock"
  expect 13 "wrong.lock" fetch $repo --locked "$scratch/wrong.lock"
done
expect 0 "release 2, 1 variants" "$lamina" lock $repo --file "$pins"

# The newest release is remembered beside the cache: a hub that goes back is refused, with a cold cache too, until it is allowed.
cp -r "$scratch/hub" "$scratch/old-hub"
release 3
[ "$(fetch $repo --quiet --json | jq .counter)" = 3 ] || fail "no release 3"
new=$HF_ENDPOINT
"$lamina" serve "$scratch/old-hub" --port 0 --upload lfs >"$scratch/old.log" 2>&1 &
started+=($!)
HF_ENDPOINT=$(wait_for "$scratch/old.log" 'http://127\.0\.0\.1:[0-9]+')
expect 5 "counter 2, but 3 was seen before" fetch $repo
rm -rf "$HF_HOME"
expect 5 "counter 2, but 3 was seen before" fetch $repo
[ ! -e "$HF_HOME/hub/kernels--org--triangle-multiplication/refs/v1" ] || fail "a refused release is noted"
expect 0 "/build/" fetch $repo@"$first"
expect 0 "an older release" fetch $repo --allow-rollback
expect 0 "/build/" fetch $repo
HF_ENDPOINT=$new
expect 0 "/build/" fetch $repo

# Taken back: every client that sees the list refuses that release, and goes on refusing it without the list at hand.
"$lamina" keygen --out "$scratch/other" >/dev/null
expect 7 "no client would accept" "$lamina" revoke $repo 3 --reason "wrong for N = 1" --key "$scratch/other.sec"
expect 0 "release 3" "$lamina" revoke $repo 3 --reason "wrong for N = 1" --key "$scratch/key.sec"
expect 7 "taken back by its publisher: wrong for N = 1" fetch $repo
expect 7 "wrong for N = 1" env HF_HUB_OFFLINE=1 "$lamina" fetch $repo
expect 0 "warning: release 3" fetch $repo --signatures warn
expect 7 "wrong for N = 1" "$lamina" lock $repo --file "$pins"
expect 0 "/build/" fetch $repo@"$first"
release 4
expect 0 "/build/" fetch $repo
expect 0 "release 4" "$lamina" revoke $repo 4 --reason "slow" --key "$scratch/key.sec"
[ "$(curl -s "$HF_ENDPOINT/kernels/$repo/resolve/main/revocations.json" | jq -c '[.counter, (.releases | length)]')" = '[2,2]' ] || fail "the list does not grow"
expect 7 "slow" fetch $repo
release 5
expect 0 "/build/" fetch $repo
# An older list, a stranger's, and none at all.
state=$scratch/home/.local/state/lamina/revocations/org--triangle-multiplication
[ -s "$state" ] || fail "the list is not remembered"
commit_file() { printf '{"key":"header","value":{"summary":"x","description":""}}\n{"key":"file","value":{"path":"%s","content":"%s","encoding":"base64"}}\n' "$1" "$(base64 -w0 "$2")" |
  curl -sf -o /dev/null -X POST --data-binary @- "$HF_ENDPOINT/api/kernels/$repo/commit/main"; }
curl -s "$HF_ENDPOINT/kernels/$repo/resolve/main/revocations.json" >"$scratch/list.json"
jq '.releases = []' "$scratch/list.json" >"$scratch/emptied.json"
commit_file revocations.json "$scratch/emptied.json"
expect 6 "" fetch $repo
minisign -S -W -s "$scratch/other.sec" -m "$scratch/emptied.json" -t "lamina revocations $repo 2" </dev/null >/dev/null 2>&1 || fail "minisign does not sign"
commit_file revocations.json.minisig "$scratch/emptied.json.minisig"
expect 7 "list of revoked releases" fetch $repo
printf '{\n  "counter": 1,\n  "releases": [],\n  "repository": "%s",\n  "schema": "lamina/revocations/1"\n}\n' $repo >"$scratch/old.json"
minisign -S -W -s "$scratch/key.sec" -m "$scratch/old.json" -t "lamina revocations $repo 1" </dev/null >/dev/null 2>&1 || fail "minisign does not sign"
commit_file revocations.json "$scratch/old.json"
commit_file revocations.json.minisig "$scratch/old.json.minisig"
expect 5 "list 2 was seen before" fetch $repo

# An archive is no way back either.
"$lamina" export "$scratch/bundle" -o "$scratch/old.tar.zst" >/dev/null
mv "$HF_HOME" "$scratch/kept"
expect 12 "was seen on this machine" "$lamina" import "$scratch/old.tar.zst"
rm -rf "$HF_HOME" && mv "$scratch/kept" "$HF_HOME"

# verify says every step, of a folder and of what the cache has.
for step in signature bundle binding files unlisted metadata manifest builds; do
  expect 0 "passed  $step" "$lamina" verify "$scratch/next" --key "$scratch/key.pub"
  expect 0 "passed  $step" "$lamina" verify $repo@"$first"
done
expect 11 "not in the cache" "$lamina" verify org/other
so=$(find "$HF_HOME" -name '*.so' -path "*$first*" | head -1)
printf x >>"$(readlink -f "$so")"
expect 5 "not what bundle.json lists" "$lamina" verify $repo@"$first"
echo passed
