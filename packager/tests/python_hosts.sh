#!/usr/bin/env bash
# Slow test: layers and blocks of released packages (Boltz, OpenFold 3, Protenix, alphafold3-pytorch, ESMFold) with the bundle's layers in them.
# What became of each package stands in python_hosts.json; another outcome fails.
test_name=packager-python-hosts
source "$(dirname "$0")/support.sh"
make --no-print-directory build/python/hosts/installed
"$lamina" pack $layer --org $org --counter 1 --only-backend cpu --out "$scratch/bundle" >/dev/null
build/python/hosts/bin/python packager/tests/python_hosts.py "$scratch/bundle" packager/tests/python_hosts.json
