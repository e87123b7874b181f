#!/usr/bin/env bash
# Archives that no export wrote: each is refused with its reason, and nothing of it remains anywhere.
test_name=packager-hostile
source "$(dirname "$0")/support.sh"

"$lamina" keygen --out "$scratch/key" >/dev/null
"$lamina" keygen --out "$scratch/stranger" >/dev/null
"$lamina" trust add $org "$scratch/key.pub" >/dev/null
"$lamina" pack $layer --org $org --counter 5 --only-backend cpu --out "$scratch/bundle" >/dev/null
"$lamina" sign "$scratch/bundle" --key "$scratch/key.sec" >/dev/null
"$lamina" export "$scratch/bundle" -o "$scratch/good.tar.zst" >/dev/null
mkdir "$scratch/work"
python3 packager/tests/hostile_archives.py "$scratch/good.tar.zst" "$scratch/work"
echo 'left alone' > "$scratch/witness"
outside=$(tree_hash "$scratch/config")

seen=0
while IFS=$'\t' read -r name code sentence; do
  zstd -q -f "$scratch/work/$name.tar" -o "$scratch/work/$name.tar.zst"
  refuses "$code" "$sentence" "$lamina" import "$scratch/work/$name.tar.zst"
  [ -z "$(find "$HF_HOME" -type f -o -type l -o -name '.lamina-import-*' 2>/dev/null)" ] || { find "$HF_HOME" >&2; fail "$name left something in the cache"; }
  [ ! -e /tmp/lamina-hostile ] || fail "$name wrote outside"
  seen=$((seen + 1))
done < "$scratch/work/expected"
[ $seen -ge 25 ] || fail "only $seen archives"
[ "$(tree_hash "$scratch/config")" = "$outside" ] && [ "$(cat "$scratch/witness")" = 'left alone' ] || fail 'something outside was changed'

# No archive at all, cut short at many places, a bit flipped at many places.
refuses 3 'no file' "$lamina" import "$scratch/none.tar.zst"
refuses 13 'is no archive' "$lamina" import "$root/LICENSE"
refuses 13 'is no archive' "$lamina" import "$root/docs"
: > "$scratch/empty.tar.zst"
refuses 13 'lamina export' "$lamina" import "$scratch/empty.tar.zst"
python3 - "$scratch/good.tar.zst" "$scratch/work" <<'PY'
import pathlib, sys
good, out = pathlib.Path(sys.argv[1]).read_bytes(), pathlib.Path(sys.argv[2])
for i in range(12):
    (out / f"cut{i}.zst").write_bytes(good[: len(good) * i // 12])
    flipped = bytearray(good)
    flipped[len(good) * i // 12 + 4] ^= 0x40
    (out / f"flipped{i}.zst").write_bytes(flipped)
PY
for file in "$scratch"/work/cut*.zst "$scratch"/work/flipped*.zst; do
  code=0
  "$lamina" import "$file" >"$scratch/refused.log" 2>&1 || code=$?
  # Whatever the damage looks like, it is an error that says something; never a crash, never half an import.
  case $code in 5 | 6 | 7 | 13) ;; *) cat "$scratch/refused.log" >&2; fail "exit code $code for $file" ;; esac
  [ -z "$(find "$HF_HOME" -type f -o -type l -o -name '.lamina-import-*' 2>/dev/null)" ] || fail "$file left something in the cache"
done

# Frames that our export does not write: windows beyond 128 MB, a dictionary, something behind the end are refused; frames that nobody needs,
# a second archive and gigabytes of zeros behind the end are not read, in bounded memory.
cd "$scratch/work"
zstd -q -dc ../good.tar.zst >good.tar
zstd -q --long=31 --ultra -c <good.tar >window31.tar.zst
zstd -q --long=28 -c <good.tar >window28.tar.zst
head -c 3000 good.tar >dictionary
zstd -q -D dictionary -c good.tar >dictionary.tar.zst
{ cat ../good.tar.zst; echo junk; } >junk.tar.zst
gzip -c good.tar >gzip.tar.zst
for kind in window31 window28 dictionary junk gzip; do
  refuses 13 "$kind.tar.zst" "$lamina" import "$kind.tar.zst"
  [ -z "$(find "$HF_HOME" -type f 2>/dev/null)" ] || fail "$kind left something in the cache"
done
skippable='\x50\x2a\x4d\x18\x04\x00\x00\x00abcd'
zstd -q -c <good.tar >no_size.tar.zst
zstd -q --no-check -c good.tar >no_check.tar.zst
{ printf "$skippable"; cat ../good.tar.zst; printf "$skippable"; } >skippable.tar.zst
cat ../good.tar.zst ../good.tar.zst >twice.tar.zst
{ cat good.tar; head -c 1000000000 /dev/zero; } | zstd -q -c >zeros.tar.zst
for kind in no_size no_check skippable twice zeros; do
  rm -rf "$HF_HOME"
  (ulimit -v 400000; "$lamina" import "$kind.tar.zst" >/dev/null) || fail "$kind, which holds what was signed, is refused"
done
rm -rf "$HF_HOME"
cd "$root"

"$lamina" import "$scratch/good.tar.zst" >/dev/null || fail 'the good one is refused too'
echo "hostile archives: passed ($seen kinds)"
