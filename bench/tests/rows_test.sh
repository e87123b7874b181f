#!/usr/bin/env bash
# The bench of row layers with a CPU build in the GPU's place: forward and backward of small problems give times and rounding errors, a second
# run replaces what it measured again, and a build that computes something else is found.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$PWD/build/bench-venv/bin/python
scratch=build/test-scratch/rows-bench
rm -rf $scratch; mkdir -p $scratch
layer=layers/linear_residual
plugin=$(ls build/plugins/linear_residual-*-cpu_avx2.so)
bench=($python bench/gpu/rows.py --device cpu --commit abc --dtype float32 --rounds 1 --most 64 --rotated-bytes 1e4 --layer $layer --build "$plugin")
"${bench[@]}" --peers eager --out $scratch/rows.json >$scratch/log
"${bench[@]}" --peers eager --out $scratch/rows.json >>$scratch/log
"${bench[@]}" --op backward --out $scratch/rows.json >>$scratch/log
$python - $scratch/rows.json <<'P'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
assert len(rows) == 4, len(rows)  # of one size, with and without a norm, forward and backward
assert all(0 < row["error"] < 1e-5 and row["seconds"]["ours"]["median"] > 0 and row["commit"] == "abc" for row in rows), rows
assert all(set(row["seconds"]) == ({"ours", "eager"} if row["op"] == "forward" else {"ours"}) for row in rows), rows
P
# From what forward_train kept, of a layer whose builds keep something.
$python bench/gpu/rows.py --device cpu --commit abc --dtype float32 --rounds 1 --most 64 --rotated-bytes 1e4 --layer layers/transition --build "$(ls build/plugins/transition-*-cpu_avx2.so)" \
  --op backward --save activations --out $scratch/saved.json >$scratch/log
$python - $scratch/saved.json <<'P'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
assert rows and all(row["saved_bytes"] > 0 and row["attributes"]["save"] == "activations" and 0 < row["error"] < 1e-5 for row in rows), rows
P
# Forms of another formula stand for a build that is wrong.
mkdir $scratch/wrong
sed 's/residual + F.linear/residual - F.linear/' $layer/cuda_bench.py >$scratch/wrong/cuda_bench.py
if "${bench[@]}" --layer $scratch/wrong --peers eager --out $scratch/wrong.json >$scratch/log; then echo "a wrong result went unseen"; exit 1; fi
grep -q WRONG $scratch/log
# The page has a row a problem, with the peer's ratio.
$python bench/gpu/rows_page.py --out $scratch/page $scratch/rows.json
[ "$(grep -cE '^\| 64, 64, 64(, norm)? \| \*\*[0-9.]+\*\* \|' $scratch/page.md)" = 4 ] && grep -qE ' \| [0-9.]+ \([0-9.]+\) \| [0-9.]+e-' $scratch/page.md || { cat $scratch/page.md; exit 1; }
