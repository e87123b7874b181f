#!/usr/bin/env bash
# The layer's README shows what hip_roofline.py computes from the budget as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
diff <(sed -n '/<!-- hip:roofline begin -->/,/<!-- hip:roofline end -->/p' README.md | sed '1d;$d') <(python3 tests/hip_roofline.py) ||
  { echo "README.md is not what tests/hip_roofline.py prints"; exit 1; }
echo 'the roofline in README.md is the computed one'
