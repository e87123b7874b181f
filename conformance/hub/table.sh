#!/usr/bin/env bash
# Runs every case and prints the page of docs/measurements/hub_faults.md.
set -euo pipefail
cd "$(dirname "$0")/../.."
rows=$(mktemp -d build/test-scratch/table.XXXXXX)
trap 'rm -rf "$rows"' EXIT
conformance/hub/fetch_cases.py --table "$rows/fetch" >"$rows/fetch.log"
conformance/hub/publish_cases.py --table "$rows/publish" >"$rows/publish.log"
conformance/hub/process_cases.py >"$rows/process.log"
cat <<PAGE
# Faults that the hub client survived

$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ //'), $(nproc) processors, $(. /etc/os-release; echo "$PRETTY_NAME"). Made by \`conformance/hub/table.sh\`; what each case demands is in
[conformance/hub/README.md](../../conformance/hub/README.md). Seconds and memory (largest resident set) are those of the run that met the fault, with \`HF_HUB_DOWNLOAD_TIMEOUT=2\`.

- fetching: $(tail -n1 "$rows/fetch.log")
- publishing: $(tail -n1 "$rows/publish.log")
$(sed -E 's/^pass +([a-z_]+) +(.*) \([0-9.]+ s\)$/- \1: \2/' "$rows/process.log")

## Fetching
$(cat "$rows/fetch")

## Publishing
$(cat "$rows/publish")
PAGE
