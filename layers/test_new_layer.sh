#!/usr/bin/env bash
# A layer made from the template builds, shows its contract and conforms, without an edit anywhere else.  Works on a copy of the tree.
set -euo pipefail
root=$PWD/build/tests/new_layer
rm -rf "$root"; mkdir -p "$root"
trap 'rm -rf "$root"' EXIT
git ls-files -z -- Makefile install.mk CHANGELOG.md .ci abi kernels plugin manifest layers '*/*.mk' | xargs -0 cp --parents -t "$root"
lamina=$PWD/build/bin/lamina
cd "$root"
make --no-print-directory new-layer NAME=probe_layer
[ -f layers/probe_layer/contract.json ]
if make --no-print-directory new-layer NAME=probe_layer 2>/dev/null; then echo 'an existing layer was overwritten'; exit 1; fi
if make --no-print-directory new-layer NAME='../evil' 2>/dev/null; then echo 'a path was taken for a name'; exit 1; fi
make --no-print-directory build/plugins/probe_layer-0.1.0-reference.so
make --no-print-directory list >list.txt
grep -x 'probe_layer 0.1.0: reference' list.txt
"$lamina" conform build/plugins/probe_layer-0.1.0-reference.so --cases layers/probe_layer/cases.json
