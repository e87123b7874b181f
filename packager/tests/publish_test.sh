#!/usr/bin/env bash
# Publishing to a hub of our own, in both ways of uploading; what an interruption leaves, and who may not publish what.
test_name=packager-publish
source "$(dirname "$0")/support.sh"

"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" trust add $org "$scratch/key.pub" >/dev/null
bundle() {  # COUNTER ORG
  "$lamina" pack $layer --org "${2:-$org}" --counter $1 --only-backend cpu --out "$scratch/bundle$1" >/dev/null
  "$lamina" sign "$scratch/bundle$1" --key "$scratch/key.sec" >/dev/null
}
bundle 4 && bundle 5 && bundle 6
secret=hf_this_is_a_secret_of_the_test
printf '%s\n' $secret > "$scratch/token"
head_of() { curl -s "$hub/api/kernels/$repo/refs" | jq -r ".branches[] | select(.name == \"$1\").targetCommit"; }
publish() { HF_TOKEN=$secret "$lamina" publish "$@"; }
files_of() { curl -s "$hub/api/kernels/$repo/tree/$1?recursive=true" | jq -r '.[] | select(.type == "file").path' | LC_ALL=C sort; }
expected_files() { (cd "$1" && find build -type f | LC_ALL=C sort); }

# proxied WHEN METHOD PART COMMAND...: the command with a proxy before the hub that breaks one request.
proxied() {
  rm -f "$scratch/proxy.address" && : > "$scratch/proxy.address"
  python3 packager/tests/cutting_proxy.py "$hub" "$1" "$2" "$3" >> "$scratch/proxy.address" &
  local proxy=$! status=0 address
  children+=($proxy)
  for _ in $(seq 200); do [ -s "$scratch/proxy.address" ] && break || sleep 0.05; done
  address=$(grep -x 'http://127\.0\.0\.1:[0-9]*' "$scratch/proxy.address") || fail 'the proxy did not start'
  shift 3
  HF_ENDPOINT=$address HF_TOKEN=$secret "$@" || status=$?
  kill $proxy && wait $proxy 2>/dev/null || true
  return $status
}

for upload in regular lfs; do
  rm -rf "$HF_HOME" "$XDG_STATE_HOME"  # another hub, whose first release is older than the other's last
  start_hub "$scratch/hub-$upload.log" "$scratch/hub-$upload" --upload $upload --token-file "$scratch/token" --trusted-org $org
  hub=$HF_ENDPOINT

  # Nobody without the right token, and no token in any message.
  refuses 10 'token' "$lamina" publish "$scratch/bundle5" --repo $repo --create
  refuses 10 'token' env HF_TOKEN=hf_wrong_$secret "$lamina" publish "$scratch/bundle5" --repo $repo --create
  if grep -q $secret "$scratch/refused.log" "$scratch"/hub-$upload.log; then fail 'a token was printed'; fi
  refuses 3 "$repo" publish "$scratch/bundle5" --repo $repo
  refuses 5 "expected $org/other" publish "$scratch/bundle5" --repo $org/other --create
  refuses 2 'no repository' publish "$scratch/bundle5" --repo $org --create
  [ "$(curl -s -o /dev/null -w '%{http_code}' "$hub/api/kernels/$repo/refs")" = 404 ] || fail 'a refused publish made the repository'

  # A first release that breaks off leaves a branch without it; the next run finishes.
  cuts='POST:before:/commit/v1'
  if [ $upload = lfs ]; then cuts="POST:before:/objects/batch PUT:always:/lfs-objects/ $cuts"; fi
  for cut in $cuts; do
    IFS=: read -r method when part <<< "$cut"
    refuses 4 '' proxied $when $method $part "$lamina" publish "$scratch/bundle5" --repo $repo --create
    [ -z "$(files_of v1)" ] || fail "$cut left files on the branch"
  done
  publish "$scratch/bundle5" --repo $repo --create > "$scratch/log"
  grep -q 'repository exists' "$scratch/log" || fail 'an existing repository is not said to be one'
  first=$(head_of v1)
  [ "$(files_of v1)" = "$(expected_files "$scratch/bundle5")" ] || fail 'v1 does not hold exactly build/'
  [ "$(files_of main)" = "$(cd "$scratch/bundle5" && LC_ALL=C ls -p | grep -v /)" ] || fail 'main does not hold exactly the card and its pictures'
  files_of main | grep -q '\.svg$' || fail 'the card has no picture on main'
  etag=$(curl -s -I "$hub/kernels/$repo/resolve/v1/build/$cpu/$layer-1.0.0-cpu_avx2.so" | tr -d '\r' | sed -n 's/^ETag: "\(.*\)"/\1/ip')
  case $upload in regular) want=40 ;; lfs) want=64 ;; esac
  [ ${#etag} = $want ] || fail "--upload $upload: a build has ETag $etag"

  # Again: nothing to do, no commit.
  publish "$scratch/bundle5" --repo $repo --create | grep -q 'is there already' || fail 'a second publish does something'
  [ "$(head_of v1)" = $first ] || fail 'a second publish moved the branch'
  main=$(head_of main)

  # Counters only grow, and two releases never share one.
  refuses 12 'counter 5 already' publish "$scratch/bundle4" --repo $repo
  cp -r "$scratch/bundle5" "$scratch/changed-$upload"
  printf '\n' >> "$scratch/changed-$upload/build/$cpu/layers.py"
  refuses 5 'not what bundle.json lists' publish "$scratch/changed-$upload" --repo $repo
  rm -rf "$scratch/changed-$upload"
  "$lamina" pack $layer --org $org --counter 5 --arch cpu_avx2 --out "$scratch/changed-$upload" >/dev/null
  "$lamina" sign "$scratch/changed-$upload" --key "$scratch/key.sec" >/dev/null
  refuses 12 'counter 5 already' publish "$scratch/changed-$upload" --repo $repo
  [ "$(head_of v1)" = $first ] && [ "$(head_of main)" = $main ] || fail 'a refused publish moved a branch'

  # A next release, broken off at every request that writes: the branch stays as it was, and clients get the release before.
  cuts='before:/preupload/ after:/preupload/ middle:/preupload/ before:/commit/v1'
  for cut in $cuts; do
    code=0
    proxied ${cut%%:*} POST ${cut#*:} "$lamina" publish "$scratch/bundle6" --repo $repo > "$scratch/cut.log" 2>&1 || code=$?
    [ $code -eq 4 ] || { cat "$scratch/cut.log" >&2; fail "$cut: exit code $code"; }
    [ "$(head_of v1)" = $first ] || fail "$cut moved the branch"
    rm -rf "$HF_HOME"
    [ "$("$lamina" fetch $repo@v1 --quiet --json | jq .counter)" = 5 ] || fail "$cut: the release before is not what clients get"
  done
  # Killed without a word while it waits for the hub.
  kill -STOP $hub_process
  HF_TOKEN=$secret "$lamina" publish "$scratch/bundle6" --repo $repo >/dev/null 2>&1 &
  publisher=$!
  sleep 0.3
  kill -KILL $publisher && wait $publisher 2>/dev/null || true
  kill -CONT $hub_process
  [ "$(head_of v1)" = $first ] || fail 'a killed publish moved the branch'

  # The commit is made and its answer lost: the release is there, and publish finds that out.
  proxied after POST /commit/v1 "$lamina" publish "$scratch/bundle6" --repo $repo > "$scratch/cut.log" || { cat "$scratch/cut.log" >&2; fail 'a lost answer is an error'; }
  grep -q 'the branch has moved' "$scratch/cut.log" || fail 'a lost answer is not said'
  second=$(head_of v1)
  [ "$second" != $first ] && grep -q "$second" "$scratch/cut.log" || fail 'publish does not name the commit'
  publish "$scratch/bundle6" --repo $repo | grep -q 'is there already' || fail 'the release after a lost answer is not whole'
  rm -rf "$HF_HOME"
  [ "$("$lamina" fetch $repo@v1 --quiet --json | jq .counter)" = 6 ] || fail 'the new release is not what clients get'
  "$lamina" fetch $repo@$first --quiet >/dev/null || fail 'the release before is gone'

  # Files that a release no longer has leave the branch with it.
  "$lamina" pack $layer --org $org --counter 7 --arch cpu_avx2 --out "$scratch/fewer-$upload" >/dev/null
  "$lamina" sign "$scratch/fewer-$upload" --key "$scratch/key.sec" >/dev/null
  publish "$scratch/fewer-$upload" --repo $repo >/dev/null
  [ "$(files_of v1)" = "$(expected_files "$scratch/fewer-$upload")" ] || fail 'old files stay on the branch'

  # Somebody adds a file to the branch: clients refuse it, the next release removes it.
  printf '{"key":"header","value":{"summary":"more","description":""}}\n{"key":"file","value":{"path":"build/%s/extra.py","content":"eA==","encoding":"base64"}}\n' $cpu |
    curl -s -o /dev/null -X POST -H "Authorization: Bearer $secret" --data-binary @- "$hub/api/kernels/$repo/commit/v1"
  rm -rf "$HF_HOME"
  refuses 5 'extra.py, which is not listed in bundle.json' "$lamina" fetch $repo@v1
  [ ! -e "$HF_HOME/hub/kernels--acme--triangle-multiplication/refs/v1" ] || fail 'a refused fetch notes the version'
  publish "$scratch/fewer-$upload" --repo $repo >/dev/null
  "$lamina" fetch $repo@v1 --quiet >/dev/null || fail 'the release does not remove what is not its own'
  stop_children
done
echo 'publishing: passed'
