#!/usr/bin/env bash
# What conform_test.sh leaves out: every case of gfx90a, and the large ones of gfx942.
set -euo pipefail
"$(dirname "$0")/conform_test.sh" gfx90a
"$(dirname "$0")/conform_test.sh" gfx942 --filter 'case large '
