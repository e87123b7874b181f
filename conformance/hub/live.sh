#!/usr/bin/env bash
# The read checks against a real hub, for a repository that holds a signed bundle; with a token and --write ORG also the write checks, in a
# repository of that organisation which is made, filled and removed again.  Not for continuous integration: it needs the network, and the
# write checks change the hub.
#
#   conformance/hub/live.sh ORG/NAME --key publisher.pub
#   HF_TOKEN=... conformance/hub/live.sh ORG/NAME --key publisher.pub --write SCRATCH_ORG
#
# HF_ENDPOINT says which hub, as for lamina itself; LAMINA which program (build/bin/lamina).  Everything it makes here lies in a folder that
# is removed at the end.  Ends with 0 when every check passed; the first that fails is said and ends it.
set -euo pipefail
cd "$(dirname "$0")/../.."
usage() { sed -n '2,11s/^# \{0,1\}//p' "$0" >&2; exit 2; }
repository= key= write_org=
while [ $# -gt 0 ]; do
  case $1 in
  --key) [ $# -ge 2 ] || usage; key=$2; shift 2 ;;
  --write) [ $# -ge 2 ] || usage; write_org=$2; shift 2 ;;
  -*) usage ;;
  *) [ -z "$repository" ] || usage; repository=$1; shift ;;
  esac
done
[[ $repository == */* ]] && [ -n "$key" ] || usage
[ -f "$key" ] || { echo "error: there is no key $key; the publisher gives it out" >&2; exit 3; }
if [ -n "$write_org" ] && [ -z "${HF_TOKEN:-}" ]; then echo "error: --write needs HF_TOKEN" >&2; exit 2; fi
lamina=$(realpath "${LAMINA:-build/bin/lamina}") key=$(realpath "$key")
endpoint=${HF_ENDPOINT:-https://huggingface.co} endpoint=${endpoint%/}
token=${HF_TOKEN:-}
mkdir -p build/test-scratch
room=$(mktemp -d build/test-scratch/live.XXXXXX)
room=$(realpath "$room")
made= # the repository that the write checks made, until they have removed it
# What carries the token reads it from a file, so that it stands in nobody's list of processes.
(umask 077; printf 'header = "Authorization: Bearer %s"\n' "$token" >"$room/with-token")
delete_made() { curl -sS --fail-with-body -m 60 -K "$room/with-token" -X DELETE -H 'Content-Type: application/json' \
  -d "{\"name\": \"${made#*/}\", \"organization\": \"${made%%/*}\", \"type\": \"kernel\"}" "$endpoint/api/repos/delete" >"$room/deleted"; }
finish() {
  if [ -n "$made" ] && ! delete_made; then echo "warning: $made could not be removed; do it by hand" >&2; fi
  rm -rf "$room"
}
trap finish EXIT
export XDG_CONFIG_HOME=$room/config XDG_STATE_HOME=$room/state HF_HOME=$room/home HF_HUB_DISABLE_IMPLICIT_TOKEN=
for name in HF_HUB_CACHE HUGGINGFACE_HUB_CACHE KERNELS_CACHE HF_HUB_OFFLINE TRANSFORMERS_OFFLINE LOCAL_KERNELS; do unset "$name"; done
count=0
passed() { count=$((count + 1)); echo "pass  $1"; }
failed() { echo "FAIL  $1" >&2; [ ! -f "$room/said" ] || sed 's/^/      /' "$room/said" >&2; exit 1; }
# check CODE WHAT COMMAND...: the command must end with this code; what it said is in $room/said, what it printed in $room/out.
check() {
  local code=$1 what=$2 found=0
  shift 2
  "$@" >"$room/out" 2>"$room/said" || found=$?
  [ "$found" = "$code" ] || failed "$what: exit code $found, expected $code"
  if [ -n "$token" ] && grep -qF -- "$token" "$room/out" "$room/said"; then failed "$what: the token is in the output"; fi
  passed "$what"
}
header() { tr -d '\r' <"$room/head" | awk -v name="$1" 'tolower($1) == tolower(name) ":" { $1 = ""; print substr($0, 2) }' | tail -n1; }
fetch() { "$lamina" fetch "$@" --quiet; }
fresh() { rm -rf "$room/home" "$room/state"; }

echo "== reading $repository from $endpoint"
"$lamina" trust add "${repository%%/*}" "$key" >/dev/null
check 0 "a fetch into an empty cache, signature required" fetch "$repository"
build=$(cat "$room/out")
[ -f "$build" ] || failed "the fetch printed no build"
check 0 "lamina verify of what came" "$lamina" verify "$repository"
check 0 "a second fetch" "$lamina" fetch "$repository" --json
[ "$(jq .downloaded.files "$room/out")" = 0 ] || failed "the second fetch downloaded again"
commit=$(jq -r .commit "$room/out") revision=$(jq -r .revision "$room/out") variant=$(jq -r .variant "$room/out")
check 0 "the same without network" env HF_HUB_OFFLINE=1 "$lamina" fetch "$repository@$revision" --quiet
check 0 "the same by its commit" fetch "$repository@$commit"
truncate -s -1 "$(readlink -f "$build")"
check 0 "a damaged file is noticed and fetched again" fetch "$repository"
rm "$(readlink -f "$build")"
head -c 1000 /dev/zero >"$(dirname "$(readlink -m "$build")")/$(basename "$(readlink "$build")").incomplete"
check 0 "a resumed download whose beginning is wrong begins again" fetch "$repository"
check 3 "a version that is not there" fetch "$repository@v999"
check 3 "a commit that is not there" fetch "$repository@$(printf '0%.0s' $(seq 40))"
fresh
if fetch "${repository%%/*}/there-is-no-such-kernel-repository" >"$room/out" 2>"$room/said"; then failed "a repository that is not there"; fi
passed "a repository that is not there"
fresh
if HF_TOKEN=hf_this_is_no_token fetch "$repository" >"$room/out" 2>"$room/said"; then echo "note  this hub lets a wrong token read public repositories"
else
  if grep -q hf_this_is_no_token "$room/said"; then failed "the wrong token is in the message"; fi
  passed "a wrong token is refused, and not repeated"
fi
check 0 "without a token" env HF_TOKEN= "$lamina" fetch "$repository" --quiet
for path in bundle.json manifest.json; do
  curl -sS -m 60 -I "$endpoint/kernels/$repository/resolve/$commit/build/$variant/$path" >"$room/head" 2>"$room/said" || failed "HEAD of $path"
  [ "$(header X-Repo-Commit)" = "$commit" ] || failed "HEAD of $path has no X-Repo-Commit $commit"
  [[ "$(header X-Linked-Etag)$(header ETag)" =~ [0-9a-f]{40} ]] || failed "HEAD of $path has no hash as its ETag"
done
passed "HEAD tells commit and hash"

if [ -n "$write_org" ]; then
  echo "== writing to $endpoint as a member of $write_org"
  layer=$("$lamina" info "$build" | sed -n '1s/ .*//p')
  "$lamina" keygen --out "$room/scratch-key" >/dev/null
  pack() {
    "$lamina" pack "$layer" --org "$write_org" --counter "$1" --only-backend cpu --out "$room/bundle" >/dev/null
    "$lamina" sign "$room/bundle" --key "$room/scratch-key.sec" >/dev/null
  }
  pack 1
  target=$write_org/${layer//_/-}
  [ "$target" != "$repository" ] || failed "$target is the repository that is read; name another organisation"
  code=$(curl -sS -m 60 -K "$room/with-token" -o /dev/null -w '%{http_code}' "$endpoint/api/kernels/$target/refs")
  [ "$code" != 200 ] || failed "$target is there already; these checks write only where nothing is"
  check 10 "publishing with a wrong token" env HF_TOKEN=hf_this_is_no_token "$lamina" publish "$room/bundle" --repo "$target" --create
  made=$target
  check 0 "publishing" "$lamina" publish "$room/bundle" --repo "$target" --create
  check 0 "publishing the same again changes nothing" "$lamina" publish "$room/bundle" --repo "$target"
  "$lamina" trust add "$write_org" "$room/scratch-key.pub" >/dev/null
  fresh
  check 0 "what was published comes back, verified" fetch "$target@v1"
  pack 2
  check 0 "publishing the next release" "$lamina" publish "$room/bundle" --repo "$target"
  check 0 "which is what is fetched now" "$lamina" fetch "$target@v1" --json
  [ "$(jq .counter "$room/out")" = 2 ] || failed "the old release came"
  pack 1
  check 12 "an older release is refused" "$lamina" publish "$room/bundle" --repo "$target"
  delete_made || failed "removing $target"
  made=
  passed "the repository is removed again"
fi
echo "$count checks passed against $endpoint"
