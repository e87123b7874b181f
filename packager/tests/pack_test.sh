#!/usr/bin/env bash
# Packing and signing: the same inputs give the same bytes wherever and whenever; counters, ids, order; nothing unlisted is ever taken.
test_name=packager-pack
source "$(dirname "$0")/support.sh"

pack() { "$lamina" pack $layer --layers "$root/layers" --plugins "$root/build/plugins" --archs "$root/build/gen/archs.json" --org $org "$@"; }
edit() { python3 - "$@"; }

"$lamina" keygen --out "$scratch/key" >/dev/null
pack --counter 3 --only-backend cpu --out "$scratch/one" >/dev/null
variant=$scratch/one/build/$cpu
[ ! -e "$variant/bundle.json.minisig" ] || fail 'a pack is not signed'

# Time, umask, folder and locale leave no trace; neither does packing over an earlier pack.
mkdir -p "$scratch/elsewhere"
(cd "$scratch/elsewhere" && umask 077 && LC_ALL=C.UTF-8 TZ=Asia/Tokyo faketime '2031-02-03 04:05:06' \
  "$lamina" pack $layer --layers "$root/layers" --plugins "$root/build/plugins" --archs "$root/build/gen/archs.json" --org $org \
  --counter 3 --only-backend cpu --out other) >/dev/null
(umask 002; LC_ALL=POSIX pack --counter 3 --only-backend cpu --out "$scratch/other-umask") >/dev/null
pack --counter 3 --only-backend cpu --out "$scratch/elsewhere/other" >/dev/null
for other in elsewhere/other other-umask; do
  diff -r "$scratch/one" "$scratch/$other" || fail "$other differs"
  [ "$(tree_hash "$scratch/one")" = "$(tree_hash "$scratch/$other")" ] || fail "$other differs in modes"
done
if grep -rqF -e "$root" -e "$scratch" "$scratch/one"; then fail 'a path of this machine is in the bundle'; fi

# Every build that is there, of all backends: still the same bytes, each variant's archs those of its builds.
pack --counter 3 --out "$scratch/all" >/dev/null
(umask 077; cd / && pack --counter 3 --out "$scratch/all-again" >/dev/null)
[ "$(tree_hash "$scratch/all")" = "$(tree_hash "$scratch/all-again")" ] || fail 'two packs of all backends differ'
diff -r "$scratch/one/build/$cpu" "$scratch/all/build/$cpu" || fail 'a variant depends on the others'
for directory in "$scratch"/all/build/*; do
  jq -r '[.builds[].requires | (.cuda // .rocm // {}) | (.capabilities // .archs // [])] | flatten | unique | .[]' "$directory/manifest.json" > "$scratch/archs"
  jq -r '.backend.archs // [] | .[]' "$directory/metadata.json" | LC_ALL=C sort | diff - <(LC_ALL=C sort "$scratch/archs") ||
    fail "$(basename "$directory"): backend.archs are not those of its builds"
done

# The card: usage, every build with what it needs, what the layer's page says was measured, and no link into the source tree.
card=$scratch/all/README.md
for words in 'kernel.patch(model)' "get_kernel(\"$repo\", version=1" '`cpu_avx2` | x86_64: avx2, fma, f16c' '## Shapes' '`pair_mask` (optional) | B N N'; do
  grep -qF -- "$words" "$card" || fail "the card does not say: $words"
done
grep -q '^<!-- bench:.* begin -->' "layers/$layer/README.md" && { grep -q '^## Measured' "$card" || fail 'the card lacks the measurements'; }
if grep -qF -e '](../' -e '](hosts' "$card"; then fail 'the card links into the source tree'; fi
# Each of its pictures lies beside it.
pictures=$(grep -oE '!\[[^]]*\]\([^)]*\)' "$card" | sed -E 's/.*\(([^)]*)\)/\1/')
[ -n "$pictures" ] || fail 'the card shows no picture of the measurements'
for picture in $pictures; do cmp "docs/measurements/$picture" "$scratch/all/$picture" || fail "$picture is not the tree's"; done

# One HIP build serves every ROCm release: the same bytes in each variant.
for build in "$root"/build/plugins/$layer-*-hip_*.so; do
  for release in rocm71 rocm72; do
    cmp "$build" "$scratch/all/build/torch-stable-abi29-$release-x86_64-linux/$(basename "$build")" || fail "$(basename "$build") differs for $release"
  done
done

# The counter is an input: required, at least 1, part of the id.
refuses 2 'the counter begins at 1' pack --counter 0 --only-backend cpu --out "$scratch/none"
refuses 2 'required' pack --only-backend cpu --out "$scratch/none"
refuses 3 'no build of' pack --counter 1 --only-backend rocm10 --out "$scratch/none"
refuses 2 'is not packed' pack --counter 1 --arch reference --out "$scratch/none"
[ ! -e "$scratch/none" ] || fail 'a refused pack leaves something behind'
mkdir -p "$scratch/precious" && echo mine > "$scratch/precious/file"
refuses 3 'is not a Lamina bundle' pack --counter 1 --only-backend cpu --out "$scratch/precious"
[ "$(cat "$scratch/precious/file")" = mine ] || fail 'pack removed what is not its own'
pack --counter 4 --only-backend cpu --out "$scratch/four" >/dev/null
id() { jq -r .id "$1/build/$cpu/metadata.json"; }
expected_id() { echo "_${layer}_cpu_$(sha256sum < "$1/build/$cpu/bundle.json" | cut -c1-7)"; }
[ "$(id "$scratch/one")" = "$(expected_id "$scratch/one")" ] || fail 'the id is not of the SHA-256 of bundle.json'
[ "$(id "$scratch/four")" = "$(expected_id "$scratch/four")" ] || fail 'the id is not of the SHA-256 of bundle.json'
[ "$(id "$scratch/one")" != "$(id "$scratch/four")" ] || fail 'two releases have one id'

# Signing: deterministic, idempotent, replaces another key's signature; metadata.json then covers it; an interrupted signing is finished.
unsigned=$(cat "$variant/metadata.json")
refuses 6 'not signed' "$lamina" verify "$scratch/one" --key "$scratch/key.pub"
"$lamina" sign "$scratch/one" --key "$scratch/key.sec" >/dev/null
signed=$(tree_hash "$scratch/one")
[ "$(cat "$variant/metadata.json")" != "$unsigned" ] || fail 'metadata.json does not cover the signature'
"$lamina" verify "$scratch/one" --key "$scratch/key.pub" --repo $repo >/dev/null
faketime '2031-02-03 04:05:06' "$lamina" sign "$scratch/one" --key "$scratch/key.sec" >/dev/null
[ "$(tree_hash "$scratch/one")" = "$signed" ] || fail 'signing again changes something'
rm "$variant/metadata.json"
refuses 5 'metadata.json is missing' "$lamina" verify "$scratch/one" --key "$scratch/key.pub"
"$lamina" sign "$variant" --key "$scratch/key.sec" >/dev/null
[ "$(tree_hash "$scratch/one")" = "$signed" ] || fail 'an interrupted signing is not finished by the next'
"$lamina" keygen --out "$scratch/second" >/dev/null
"$lamina" sign "$scratch/one" --key "$scratch/second.sec" >/dev/null
refuses 7 'not trusted here' "$lamina" verify "$scratch/one" --key "$scratch/key.pub"
"$lamina" verify "$scratch/one" --key "$scratch/second.pub" >/dev/null
"$lamina" sign "$scratch/one" --key "$scratch/key.sec" >/dev/null
[ "$(tree_hash "$scratch/one")" = "$signed" ] || fail 'the first key does not sign as before'

# metadata.json, by another program from the rules alone, byte for byte.
edit "$variant" <<'PY'
import base64, hashlib, json, pathlib, sys
folder = pathlib.Path(sys.argv[1])
bundle = json.loads((folder / "bundle.json").read_bytes())
files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and p.name != "metadata.json")
metadata = {
    "name": bundle["repo"].split("/")[1], "version": int(bundle["version"].split(".")[0]), "license": bundle["license"],
    "id": "_triangle_multiplication_cpu_" + hashlib.sha256((folder / "bundle.json").read_bytes()).hexdigest()[:7],
    "python-depends": [], "backend": bundle["backend"],
    "digest": {"algorithm": "sha256",
               "files": {name: base64.b64encode(hashlib.sha256((folder / name).read_bytes()).digest()).decode() for name in files}},
}
want = json.dumps(metadata, indent=2, sort_keys=True) + "\n"
assert (folder / "metadata.json").read_text() == want, want
listed = [entry["path"] for entry in bundle["files"]]
assert listed == [name for name in files if not name.startswith("bundle.json")], listed
PY

# Debian's minisign verifies ours, and signs for us.
minisign -V -q -m "$variant/bundle.json" -x "$variant/bundle.json.minisig" -p "$scratch/key.pub"
[ "$(minisign -V -Q -m "$variant/bundle.json" -x "$variant/bundle.json.minisig" -p "$scratch/key.pub")" = "lamina bundle $repo $cpu 1.0.0 3" ] ||
  fail 'the trusted comment is not what the bundle says'
cp "$variant/bundle.json" "$scratch/altered.json" && echo >> "$scratch/altered.json"
refuses 1 'Signature verification failed' minisign -V -m "$scratch/altered.json" -x "$variant/bundle.json.minisig" -p "$scratch/key.pub"
minisign -G -W -f -p "$scratch/theirs.pub" -s "$scratch/theirs.sec" >/dev/null
cp -r "$scratch/one" "$scratch/theirs" && "$lamina" sign "$scratch/theirs" --key "$scratch/theirs.sec" >/dev/null
"$lamina" verify "$scratch/theirs" --key "$scratch/theirs.pub" >/dev/null
minisign -V -q -m "$scratch/theirs/build/$cpu/bundle.json" -p "$scratch/theirs.pub"

# Whatever else is wrong with a bundle, it is not signed.  An unlisted file is refused by every verb that could use it.
broken() { rm -rf "$scratch/broken" && cp -r "$scratch/one" "$scratch/broken"; bad=$scratch/broken/build/$cpu; }
refused_everywhere() {  # CODE SENTENCE
  local before
  before=$(tree_hash "$scratch/broken")
  refuses "$1" "$2" "$lamina" verify "$scratch/broken" --key "$scratch/key.pub"
  refuses "$1" "$2" "$lamina" sign "$scratch/broken" --key "$scratch/key.sec"
  # Port 9 has no hub: it must be refused before anything is sent.
  refuses "$1" "$2" env HF_ENDPOINT=http://127.0.0.1:9 "$lamina" publish "$scratch/broken" --repo $repo --create
  refuses "$1" "$2" "$lamina" export "$scratch/broken" -o "$scratch/broken.tar.zst"
  refuses "$1" "$2" env LOCAL_KERNELS=$repo="$scratch/broken" "$lamina" fetch $repo@v1
  refuses "$1" "$2" env LOCAL_KERNELS=$repo="$scratch/broken" "$lamina" run --bundle $repo@v1 --host boltz --weights "$root/LICENSE" --prefix p \
    --input "pair=$root/LICENSE" --output "$scratch/none.npy"
  [ "$(tree_hash "$scratch/broken")" = "$before" ] || fail 'a refused bundle was changed'
  [ ! -e "$scratch/broken.tar.zst" ] || fail 'a refused export leaves a file'
}
broken && echo 'print("unlisted")' > "$bad/extra.py"
refused_everywhere 5 'not listed in bundle.json: extra.py'
broken && mkdir "$bad/sub" && cp "$bad/__init__.py" "$bad/sub/metadata.json"
refused_everywhere 5 'not listed in bundle.json: sub/metadata.json'
broken && echo '# more' >> "$bad/_ops.py"
refused_everywhere 5 'not what bundle.json lists: _ops.py'
broken && mkdir "$bad/__pycache__" && echo code > "$bad/__pycache__/_ops.cpython-311.pyc"
refused_everywhere 5 '_ops.cpython-311.pyc'
broken && rm "$bad/layers.py"
refuses 5 'layers.py' "$lamina" verify "$scratch/broken" --key "$scratch/key.pub"
refuses 5 'layers.py' "$lamina" sign "$scratch/broken" --key "$scratch/key.sec"
refuses 5 'layers.py' env HF_ENDPOINT=http://127.0.0.1:9 "$lamina" publish "$scratch/broken" --repo $repo
echo 'packing and signing: passed'
