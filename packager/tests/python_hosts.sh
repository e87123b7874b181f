#!/usr/bin/env bash
# Slow test: layers and blocks of released packages (Boltz, OpenFold 3, Protenix, alphafold3-pytorch, ESMFold) with the bundle's layers in them.
# What became of each package stands in python_hosts.json; another outcome fails.
test_name=packager-python-hosts
source "$(dirname "$0")/support.sh"
make --no-print-directory build/python/hosts/installed
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
"$lamina" pack transition --org $org --counter 1 --only-backend cpu --out "$scratch/transition" >/dev/null
build/python/hosts/bin/python packager/tests/python_hosts.py "$scratch/bundle" "$scratch/transition" packager/tests/python_hosts.json
# The measurement for GPU machines, as far as a CPU takes it.
LAMINA_TEST_DEVICE=cpu LAMINA_TEST_BUNDLE=$scratch/bundle packager/tests/on_gpu.sh build/python/kernels_0_17_hub_1/bin/python "$scratch/results" trunk
jq -e '[.rows[] | select(.form | startswith("lamina")) | .error < 1e-5] == [true, true]' "$scratch/results/esmfold2.json" >/dev/null ||
  fail 'a form of the ESMFold2 measurement did not run'
python3 bench/gpu/esmfold2_page.py "$scratch/results/esmfold2.json" --out "$scratch/page"
grep -qE '^\| 32 \| [0-9]+ \| [0-9]+ \([0-9.]+\) \|' "$scratch/page.md" || { cat "$scratch/page.md"; fail 'the page has no row of its times'; }
echo 'Python hosts: passed'
