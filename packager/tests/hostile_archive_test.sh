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

"$lamina" import "$scratch/good.tar.zst" >/dev/null || fail 'the good one is refused too'
echo "hostile archives: passed ($seen kinds)"
