#!/usr/bin/env bash
# A release travels: as one file into a cache without network, and as a folder behind plain nginx.
test_name=packager-carry
source "$(dirname "$0")/support.sh"

"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" pack $layer --org $org --counter 5 --out "$scratch/bundle" >/dev/null
archive=$scratch/layer.tar.zst
refuses 6 'is not signed' "$lamina" export "$scratch/bundle" -o "$archive"
"$lamina" sign "$scratch/bundle" --key "$scratch/key.sec" >/dev/null
refuses 2 'name one target' "$lamina" export "$scratch/bundle"
refuses 3 'neither a bundle' "$lamina" export $repo@v1 -o "$archive"
refuses 3 'is not a Lamina bundle' "$lamina" export "$root/docs" -o "$archive"
[ ! -e "$archive" ] || fail 'a refused export leaves a file'

# One file, the same bytes at any time under any umask.
"$lamina" export "$scratch/bundle" -o "$archive" >/dev/null
(cd "$scratch" && umask 077 && faketime '2031-02-03 04:05:06' "$lamina" export bundle -o again.tar.zst >/dev/null)
cmp "$archive" "$scratch/again.tar.zst"
[ "$(stat -c %a "$scratch/again.tar.zst")" = 644 ] || fail 'the mode follows the umask'

# Only a trusted signature opens it, and until then the cache is not touched.
refuses 7 "lamina trust add $org" "$lamina" import "$archive"
[ -z "$(find "$HF_HOME" -type f 2>/dev/null)" ] || fail 'a refused import leaves files'
"$lamina" trust add $org "$scratch/key.pub" >/dev/null
"$lamina" import "$archive" >/dev/null
build=$(HF_HUB_OFFLINE=1 "$lamina" fetch $repo@v1 --quiet)
cmp "$build" "$scratch/bundle/build/$cpu/$(basename "$build")"
diff -r "$scratch/bundle/build/$cpu" "$(dirname "$build")"
cache=$HF_HOME/hub/kernels--acme--triangle-multiplication
[ "$(tr -d 'a-f0-9' < "$cache/refs/v1" | wc -c)" = 0 ] || fail 'refs/v1 holds more than a commit'
[ -z "$(find "$HF_HOME/hub" -name '.lamina-import-*')" ] || fail 'the import leaves its staging folder'
before=$(tree_hash "$HF_HOME")
"$lamina" import "$archive" >/dev/null
[ "$(tree_hash "$HF_HOME")" = "$before" ] || fail 'a second import changes something'
# Out of the cache comes the same file again.
"$lamina" export $repo -o "$scratch/from-cache.tar.zst" >/dev/null
cmp "$archive" "$scratch/from-cache.tar.zst"
# A damaged blob is found out, and written again; other bytes under the same commit are not overwritten.
blob=$(readlink -f "$build") && chmod u+w "$blob" && printf X | dd of="$blob" bs=1 seek=4096 conv=notrunc status=none
refuses 5 'SHA-256 differs' env HF_HUB_OFFLINE=1 "$lamina" fetch $repo@v1
"$lamina" import "$archive" >/dev/null
HF_HUB_OFFLINE=1 "$lamina" fetch $repo@v1 --quiet >/dev/null
rm "$build" && echo other > "$build"
refuses 12 'has other bytes' "$lamina" import "$archive"
[ "$(cat "$build")" = other ] || fail 'a refused import wrote'
rm -rf "$HF_HOME"
"$lamina" import "$archive" >/dev/null

# An older release does not take the place of a newer one; a newer one does of an older.
"$lamina" pack $layer --org $org --counter 6 --only-backend cpu --out "$scratch/newer" >/dev/null
"$lamina" sign "$scratch/newer" --key "$scratch/key.sec" >/dev/null
"$lamina" export "$scratch/newer" -o "$scratch/newer.tar.zst" >/dev/null
"$lamina" import "$scratch/newer.tar.zst" >/dev/null
before=$(tree_hash "$HF_HOME")
refuses 12 'the archive an older one, 5' "$lamina" import "$archive"
[ "$(tree_hash "$HF_HOME")" = "$before" ] || fail 'a refused import changes the cache'
[ "$(HF_HUB_OFFLINE=1 "$lamina" fetch $repo@v1 --quiet --json | jq .counter)" = 6 ] || fail 'the newer release is not what is fetched'

# A mirror of files, served by Debian's nginx.
refuses 12 'is no mirror' "$lamina" export "$scratch/newer" --static "$scratch/home/.." 
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
mirror=$scratch/mirror
export_mirror() { "$lamina" export "$scratch/newer" --static "$mirror" --listen 127.0.0.1:$port --trusted-org $org >/dev/null; }
export_mirror
first=$(tree_hash "$mirror")
export_mirror
[ "$(tree_hash "$mirror")" = "$first" ] || fail 'two mirrors of one release differ'
# Moved, because no path in it is absolute.
mv "$mirror" "$scratch/moved" && mirror=$scratch/moved
nginx -p "$mirror" -c nginx.conf -g 'master_process off;' 2>"$scratch/nginx.log" &
children+=($!)
export HF_ENDPOINT=http://127.0.0.1:$port
for _ in $(seq 100); do curl -s -o "$scratch/refs.json" "$HF_ENDPOINT/api/kernels/$repo/refs" && break || sleep 0.05; done
commit=$(jq -r '.branches[] | select(.name == "v1").targetCommit' "$scratch/refs.json")
rm -rf "$HF_HOME"
build=$("$lamina" fetch $repo --quiet)
cmp "$build" "$scratch/newer/build/$cpu/$(basename "$build")"
"$lamina" fetch $repo@$commit --quiet >/dev/null
refuses 3 "has no revision 'v9'" "$lamina" fetch $repo@v9
refuses 3 'acme/other' "$lamina" fetch $org/other
refuses 7 'not trusted' env XDG_CONFIG_HOME="$scratch/nobody" "$lamina" fetch $repo
# What clients in Python ask for besides.
head_of() { curl -s -I "$HF_ENDPOINT/$1" | tr -d '\r'; }
file=build/$cpu/bundle.json
for revision in v1 $commit refs%2Fheads%2Fv1; do
  head_of "kernels/$repo/resolve/$revision/$file" > "$scratch/head"
  grep -qx "X-Repo-Commit: $commit" "$scratch/head" || fail "no commit for $revision"
  grep -qx "ETag: \"$(git hash-object "$scratch/newer/$file")\"" "$scratch/head" || fail "wrong ETag for $revision"
  grep -qx "Content-Length: $(stat -c %s "$scratch/newer/$file")" "$scratch/head" || fail "wrong length for $revision"
done
head_of "kernels/$repo/resolve/v1/$file.missing" > "$scratch/head"
grep -q '^HTTP/1.1 404' "$scratch/head" && grep -qx 'X-Error-Code: EntryNotFound' "$scratch/head" || fail 'a missing file is not EntryNotFound'
head_of "api/kernels/acme/other/refs" > "$scratch/head"
grep -q '^HTTP/1.1 404' "$scratch/head" && grep -qx 'X-Error-Code: RepoNotFound' "$scratch/head" || fail 'a missing repository is not RepoNotFound'
[ "$(curl -s -H 'Range: bytes=4-9' "$HF_ENDPOINT/kernels/$repo/resolve/v1/$file")" = "$(tail -c +5 "$scratch/newer/$file" | head -c 6)" ] ||
  fail 'ranges are not served'
[ "$(curl -s "$HF_ENDPOINT/api/kernels/$repo/tree/v1/build?recursive=false&expand=false" | jq -r '.[].path')" = "build/$cpu" ] ||
  fail 'a flat listing holds more than the variants'
[ "$(curl -s "$HF_ENDPOINT/api/kernels/$repo/tree/$commit?recursive=true" | jq '[.[] | select(.type == "file")] | length')" = \
  "$(find "$scratch/newer/build" -type f | wc -l)" ] || fail 'a recursive listing lacks files'
curl -s "$HF_ENDPOINT/api/kernels/$repo/revision/v1" | jq -e ".sha == \"$commit\" and .id == \"$repo\"" >/dev/null || fail 'no revision'
curl -s "$HF_ENDPOINT/api/organizations/$org/overview" | jq -e .trustedKernelPublisher >/dev/null || fail 'no overview'
[ "$(curl -s -o /dev/null -w '%{http_code}' -X POST -d '{}' "$HF_ENDPOINT/api/kernels/$repo/refs")" = 403 ] || fail 'the mirror takes a POST'
# A cache with one build of several cannot be a mirror for all machines.
if [ "$(HF_HUB_OFFLINE=1 "$lamina" fetch $repo --quiet --json | jq '.builds | length')" -gt 1 ]; then
  refuses 8 'is not whole in this cache' "$lamina" export $repo --static "$scratch/partial"
  "$lamina" export $repo -o "$scratch/partial.tar.zst" | grep -q 'never downloaded' || fail 'a partial export does not say so'
  rm -rf "$HF_HOME" && "$lamina" import "$scratch/partial.tar.zst" >/dev/null
  HF_HUB_OFFLINE=1 "$lamina" fetch $repo@v1 --quiet >/dev/null
fi
echo 'export and import: passed'
