#!/usr/bin/env bash
# Slow test: layers and blocks of released packages (Boltz, OpenFold 3, Protenix, alphafold3-pytorch, ESMFold) with the bundle's layers in them.
# What became of each package stands in python_hosts.json; another outcome fails.
test_name=packager-python-hosts
source "$(dirname "$0")/support.sh"
make --no-print-directory build/python/hosts/installed
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
"$lamina" pack transition --org $org --counter 1 --only-backend cpu --out "$scratch/transition" >/dev/null
build/python/hosts/bin/python packager/tests/python_hosts.py "$scratch/bundle" "$scratch/transition" packager/tests/python_hosts.json
# The measurement for GPU machines, as far as a CPU takes it: both ways in, kernelize and patch().
measure() { "$@" bench/gpu/esmfold2.py --bundle "$scratch/bundle" --device cpu --sizes 32 --channels 64 --blocks 1 --rounds 1 --seconds 0.01 \
  --forms host lamina 'lamina, compile' --dtype float32 --out "$scratch/esmfold2.json"; }
LAMINA_STRICT=1 measure build/python/kernels_0_17_hub_1/bin/python
jq -e '[.rows[] | select(.form | startswith("lamina")) | .error < 1e-5] == [true, true]' "$scratch/esmfold2.json" >/dev/null ||
  fail 'a form of the ESMFold2 measurement did not run'
python3 bench/gpu/esmfold2_page.py "$scratch/esmfold2.json" --out "$scratch/page"
grep -qE '^\| 32 \| [0-9]+ \| [0-9]+ \([0-9.]+\) \|' "$scratch/page.md" || { cat "$scratch/page.md"; fail 'the page has no row of its times'; }
echo 'Python hosts: passed'
