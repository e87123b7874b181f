#!/usr/bin/env bash
# A second opinion on the plug-ins' symbols: Hugging Face's kernel-abi-check for manylinux_2_28.  Needs the Python package index.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=build/kernel-abi-check
if [ ! -x $venv/bin/python ]; then python3 -m venv $venv; fi
$venv/bin/python -c 'import kernel_abi_check' 2>/dev/null || $venv/bin/pip install -q 'kernel-abi-check==0.14.1'
cat >$venv/check.py <<'PY'
import sys
from kernel_abi_check import ObjectFile
broken = 0
for path in sys.argv[1:]:
    for symbol in ObjectFile(path).check_manylinux("manylinux_2_28"):
        print(f"{path}: {symbol.name}@{symbol.version} of {symbol.dep}")
        broken = 1
sys.exit(broken)
PY
ls build/plugins/*.so >/dev/null || { echo "no plug-in in build/plugins"; exit 1; }
$venv/bin/python $venv/check.py build/plugins/*.so
# The oracle can say no: an ordinary shared object linked against a later C library.
printf '#include <pthread.h>\n#include <dlfcn.h>\nvoid *f(void) { pthread_t t; pthread_create(&t, 0, 0, 0); return dlopen("x", 1); }\n' |
  gcc -shared -fPIC -o $venv/new.so -xc -
if $venv/bin/python $venv/check.py $venv/new.so >/dev/null; then echo "kernel-abi-check takes anything"; exit 1; fi
echo "$(ls build/plugins/*.so | wc -l) plug-ins keep manylinux_2_28"
