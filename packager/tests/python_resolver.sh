#!/usr/bin/env bash
# Slow test: the client chooses variants as the Python library does, over 100,000 random systems and listings.
test_name=packager-python-resolver
source "$(dirname "$0")/support.sh"
make --no-print-directory build/python/kernels_0_17_hub_2/installed
build/python/kernels_0_17_hub_2/bin/python packager/tests/python_resolver.py build/bin/packager-resolver_lines
