#!/usr/bin/env bash
# The same for CDNA 2.
exec "$(dirname "$0")/conform_test.sh" gfx90a
