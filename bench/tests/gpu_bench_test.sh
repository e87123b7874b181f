#!/usr/bin/env bash
# The GPU bench with a CPU build in the GPU's place: every part writes rows, a wrong build and an absent peer are not timed and say so, the GPU
# MODE problem's checker refuses what is wrong, and the page takes what was written.
set -euo pipefail
cd "$(dirname "$0")/../.."
python=$PWD/build/bench-venv/bin/python
scratch=build/test-scratch/gpu-bench
rm -rf $scratch; mkdir -p $scratch
plugin=$(ls build/plugins/triangle_multiplication-*-cpu_avx2.so)
bench=($python bench/gpu/triangle_multiplication.py --device cpu --commit abc --rounds 2 --rotated-bytes 1e5 --sizes 16,24 --widths 32 --build "$plugin")
"${bench[@]}" --part table --part peers --part extras --part in_place --part fp16 --part host --peers eager,cuequivariance --run-loop build/lib/run_loop.so --out $scratch/all.json >$scratch/log || { cat $scratch/log; exit 1; }
$python - $scratch/all.json <<'P'
import json, sys
rows = json.load(open(sys.argv[1]))["rows"]
timed = [row for row in rows if "not_timed" not in row]
assert {row["part"] for row in timed} == {"table", "peers", "extras", "in_place", "fp16", "host"}, timed
assert all(row["microseconds"] > 0 and 0 < row["error"] < 1e-2 for row in timed)
assert all(row["host_microseconds"] > 0 for row in timed if row["part"] == "host")
assert {row["form"] for row in timed if row["part"] == "peers"} == {"lamina cpu_avx2", "PyTorch eager"}
absent = [row for row in rows if row["form"] == "cuEquivariance"]
assert absent and all("cuequivariance" in row["not_timed"] for row in absent), absent
P
if "${bench[@]}" --part host 2>$scratch/log; then echo "part host ran without its loop"; exit 1; fi

# A peer that computes something else, and a build that does, by patching the formula.
$python - "$plugin" >$scratch/wrong.log <<'P'
import sys
sys.path.insert(0, "bench/gpu")
import torch, forms, triangle_multiplication as bench
sys.argv = ["x", "--device", "cpu", "--commit", "abc", "--rounds", "1", "--rotated-bytes", "1e5", "--sizes", "16", "--widths", "32", "--part", "peers",
            "--peers", "eager", "--directions", "outgoing", "--build", sys.argv[1]]
eager, ours = forms.eager, forms.Ours.__call__
forms.SLOW["eager"] = lambda problem, folder: forms.Peer("PyTorch eager", "", lambda pair: problem.formula(pair) * 1.02, problem, fused=True)
assert bench.main() == 0
forms.SLOW["eager"] = eager
forms.Ours.__call__ = lambda self, i: ours(self, i) * 1.01
assert bench.main() == 1
P
grep -q 'PyTorch eager: NOT TIMED: wrong: relative error 0.02' $scratch/wrong.log
grep -q 'lamina cpu_avx2: NOT TIMED: wrong: relative error 0.01' $scratch/wrong.log

cat >$scratch/rival.py <<'P'
import torch
def negated(data):
    return -torch.ones_like(data[0])
P
$python - "$plugin" $scratch/rival.py:negated $scratch/mode.json >$scratch/mode.log <<'P'
import sys
sys.path.insert(0, "bench/gpu")
import gpu_mode
gpu_mode.CASES = [(24, 2, 32, 1, True, "normal"), (16, 1, 32, 2, False, "cauchy")]
sys.argv = ["x", "--device", "cpu", "--commit", "abc", "--rounds", "1", "--cases", "0,1", "--build", sys.argv[1], "--rival", "wrong=" + sys.argv[2], "--out", sys.argv[3]]
gpu_mode.main()
P
grep -qE '^wrong +geometric mean none' $scratch/mode.log
grep -qE '^lamina cpu_avx2 compute=bf16 +geometric mean [0-9]+ us' $scratch/mode.log
# Other values of a tunable number become builds of their own and take turns with the one that is.
$python bench/gpu/tune.py triangle_multiplication --arch cpu_avx2 --only cpu_front_columns --problems 'N=200 C=16 dtype=float32' --rounds 3 >$scratch/tune
grep -qE '^\| 16 \| [0-9.]+ \([0-9.]+\) \|$' $scratch/tune && grep -qE '^\| 8 \| [0-9.]+ \([0-9.]+\) [0-9.]+ \|$' $scratch/tune || { cat $scratch/tune; exit 1; }
[ "$(sha256sum "$plugin" build/tune/cpu_avx2-cpu_front_columns-*/*-cpu_avx2.so | cut -d' ' -f1 | sort -u | wc -l)" = 3 ] ||
  { echo "a value made no other build"; exit 1; }

# Builds that should compute the same: one that does not is named, left out and the end's code; the others take turns.
cp "$plugin" $scratch/base.so && cp "$plugin" $scratch/same.so && cp build/plugins/triangle_multiplication-*-reference.so $scratch/other.so
$python bench/gpu/variants.py $scratch/{base,other,same}.so --device cpu --largest 33 --sizes 24 --widths 32 --rounds 2 --peers '' >$scratch/variants &&
  { echo "a build that differs was taken"; exit 1; }
grep -q '^check same: ok' $scratch/variants && grep -q '^check other: differs from base at' $scratch/variants || { cat $scratch/variants; exit 1; }
grep -qE '^ +same +[0-9.]+ us .* of the base' $scratch/variants && ! grep -qE '^ +other ' $scratch/variants || { cat $scratch/variants; exit 1; }

# Counters as Nsight Compute prints them: the last of three calls counts.
cat >$scratch/ncu <<'N'
#!/bin/bash
if [ "$1" = --version ]; then echo 'Version 1'; exit; fi
echo '==PROF== Connected'
echo '"ID","Kernel Name","Metric Name","Metric Unit","Metric Value"'
for id in $(seq 0 17); do  # two shapes, three calls of each, three kernels a call
  kernels=(hopper_front_128 hopper_contract_wide hopper_back_128)
  echo "\"$id\",\"${kernels[id % 3]}(Job)\",\"gpu__time_duration.sum\",\"ns\",\"$((id + 1))00,000\""
  echo "\"$id\",\"${kernels[id % 3]}(Job)\",\"sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed\",\"%\",\"8$id.4\""
  echo "\"$id\",\"${kernels[id % 3]}(Job)\",\"lts__throughput.avg.pct_of_peak_sustained_elapsed\",\"%\",\"n/a\""
done
N
chmod +x $scratch/ncu
$python bench/gpu/kernel_profile.py --build some.so --sizes 512,1024 --widths 128 --counters $scratch/ncu --write $scratch/profile.md >/dev/null
grep -qE '^\| 512 \| 128 \| hopper_contract_wide \| 800\.0 \| .* \| 87 \| .* \| the tensor cores \|$' $scratch/profile.md || { cat $scratch/profile.md; exit 1; }
grep -qE '^\| 1024 \| 128 \| hopper_contract_wide \| 1700\.0 \|' $scratch/profile.md || { cat $scratch/profile.md; exit 1; }
[ "$(grep -c '^| 512' $scratch/profile.md)" = 3 ] && [ "$(grep -c '^| 1024' $scratch/profile.md)" = 3 ]

printf '<!-- bench:gpu begin -->\n<!-- bench:gpu end -->\n' >$scratch/README.md
python3 bench/gpu/page.py $scratch/page.json --readme $scratch/README.md --add $scratch/all.json --add $scratch/mode.json
for title in 'The GPU MODE problem' 'With residual and dropout mask' "The host's share" 'Not timed'; do grep -q "^## $title" $scratch/page.md || { echo "the page lacks '$title'"; exit 1; }; done
echo "the bench times what is right and says what is not there"
