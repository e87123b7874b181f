#!/usr/bin/env bash
# The committed pages and the READMEs' sections are what the committed measurements say, and the checks notice a typed number; measurements
# taken in parts merge; a picture is drawn of every form.
set -euo pipefail
cd "$(dirname "$0")/../.."
file=docs/measurements/h200_triangle_multiplication
page() { python3 bench/gpu/page.py "$@"; }
page $file.json --check
[ -s $file.svg ] || { echo "$file.svg is missing"; exit 1; }
python3 bench/models_readme.py --check

scratch=build/test-scratch/bench-page
rm -rf $scratch; mkdir -p $scratch/docs $scratch/layer
cp $file.json $file.md $scratch/docs/
cp layers/triangle_multiplication/README.md $scratch/layer/
copy=(build/test-scratch/bench-page/docs/h200_triangle_multiplication.json --readme $scratch/layer/README.md)
page "${copy[@]}" >/dev/null
page "${copy[@]}" --check
for document in $scratch/docs/h200_triangle_multiplication.md $scratch/layer/README.md; do
  cp "$document" $scratch/kept
  python3 - "$document" <<'P'
import re, sys
text = open(sys.argv[1]).read()
open(sys.argv[1], "w").write(re.sub(r"\*\*(\d+)", lambda m: f"**{int(m[1]) - 1}", text, count=1))
P
  if page "${copy[@]}" --check 2>/dev/null; then echo "a typed number in $document went unnoticed"; exit 1; fi
  cp $scratch/kept "$document"
done

python3 - $scratch <<'P'
import json, sys
sys.path.insert(0, "bench/gpu")
import record
folder = sys.argv[1]
row = {"run": 0, "part": "table", "B": 1, "C": 128, "H": 128, "dtype": "bfloat16", "direction": "outgoing", "extras": False, "error": 4e-3,
       "extra_bytes": 6, "unit_bytes": 2, "flops": 1, "bytes": 1, "floor": 10.0, "least": 1.0, "most": 2.0}
run = lambda commit: {"commit": commit, "command": "c", "gpu": "G", "plugins": {"cuda_sm90a": "x"}}
new = lambda runs, rows: {"schema": record.SCHEMA, "runs": runs, "rows": rows}
ours = row | {"form": "lamina cuda_sm90a"}
record.write(f"{folder}/one.json", new([run("aaa")], [ours | {"N": 64, "microseconds": 20.0}, ours | {"N": 128, "microseconds": 30.0}]))
record.write(f"{folder}/two.json", new([run("bbb"), run("ccc")], [
    ours | {"N": 64, "microseconds": 12.5, "run": 1}, row | {"form": "peer <one>", "N": 64, "microseconds": 25.0, "run": 1},
    row | {"form": "absent", "N": 64, "not_timed": "no such module"}]))
P
: >$scratch/layer/README.md
if page $scratch/new.json --readme $scratch/layer/README.md --add $scratch/one.json 2>/dev/null; then echo "a README without markers was taken"; exit 1; fi
printf 'before\n<!-- bench:gpu begin -->\nold\n<!-- bench:gpu end -->\nafter\n' >$scratch/layer/README.md
page $scratch/new.json --readme $scratch/layer/README.md --add $scratch/one.json --add $scratch/two.json >/dev/null
grep -q '| 64 | 10.0 | \*\*12.5\*\* | 80 | 25.0 (2.00) |' $scratch/layer/README.md || { echo "the later part did not take the earlier's place:"; cat $scratch/layer/README.md; exit 1; }
grep -q '| 128 | 10.0 | \*\*30.0\*\* | 33 |  |' $scratch/layer/README.md
grep -q '^- absent: no such module (table N = 64, C = 128)$' $scratch/new.md
[ "$(head -1 $scratch/layer/README.md) $(tail -1 $scratch/layer/README.md)" = "before after" ]
! grep -q old $scratch/layer/README.md
for title in floor 'lamina cuda_sm90a' 'peer &lt;one'; do grep -q "$title" $scratch/new.svg || { echo "the picture has no '$title'"; exit 1; }; done
grep -q 'commit aaa' $scratch/new.md && grep -q 'commit ccc' $scratch/new.md && grep -q 'commit bbb' $scratch/new.md
mkdir -p $scratch/layers/linear_residual
sed -E '/^\| linear and residual \|/ s/[0-9]\.[0-9]+ \|$/9.99 |/' layers/linear_residual/README.md >$scratch/layers/linear_residual/README.md
models() { python3 bench/models_readme.py --layers $scratch/layers "$@"; }
if models --check 2>/dev/null; then echo 'a typed number in a row layer went unnoticed'; exit 1; fi
models && models --check
diff layers/linear_residual/README.md <(sed -E 's#(\.\./)+docs/#../../docs/#' $scratch/layers/linear_residual/README.md)
cp $scratch/new.json $scratch/again.json
page $scratch/again.json --readme $scratch/layer/README.md >/dev/null
cmp $scratch/new.json $scratch/again.json
echo "page, picture and README follow the measurements"
