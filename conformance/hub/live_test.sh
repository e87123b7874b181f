#!/usr/bin/env bash
# live.sh against our own server: all its checks pass there, and each kind of them can fail.
cd "$(dirname "$0")/../.."
. hub_client/tests/site.sh live
export LAMINA=$lamina
run() { conformance/hub/live.sh "$@" >"$scratch/live.log" 2>&1; }
run $repo --key "$scratch/key.pub" || { cat "$scratch/live.log"; fail "the read checks"; }
grep -q '1[0-9] checks passed' "$scratch/live.log" || fail "too few read checks"

# With a token, on a hub that needs it.
(umask 077; echo hf_owner >"$scratch/token")
"$lamina" serve "$scratch/hub" --port 0 --token-file "$scratch/token" >"$scratch/token.log" 2>&1 &
started+=($!)
HF_ENDPOINT=$(wait_for "$scratch/token.log" 'http://127\.0\.0\.1:[0-9]+')
export HF_TOKEN=hf_owner
run $repo --key "$scratch/key.pub" --write scratch || { cat "$scratch/live.log"; fail "the write checks"; }
grep -q '2[0-9] checks passed' "$scratch/live.log" || { cat "$scratch/live.log"; fail "too few write checks"; }
if grep -q hf_owner "$scratch/live.log"; then fail "the token is in the log"; fi
[ ! -e "$scratch"/hub/kernels/scratch ] || [ -z "$(ls "$scratch"/hub/kernels/scratch)" ] || fail "the repository stays"
[ -z "$(ls -d build/test-scratch/live.* 2>/dev/null)" ] || fail "its folder stays"

# What must fail: a stranger's key, a token that may not write, a repository that is not there, no token.
"$lamina" keygen --out "$scratch/stranger" >/dev/null
if run $repo --key "$scratch/stranger.pub"; then fail "a stranger's key passes"; fi
grep -q 'FAIL  a fetch into an empty cache' "$scratch/live.log" || fail "a stranger's key fails elsewhere"
if HF_TOKEN=hf_other run $repo --key "$scratch/key.pub" --write scratch; then fail "another token writes"; fi
grep -q 'FAIL  publishing: exit code 10' "$scratch/live.log" || { cat "$scratch/live.log"; fail "another token fails elsewhere"; }
if run org/nothing --key "$scratch/key.pub"; then fail "a missing repository passes"; fi
expect 2 HF_TOKEN env HF_TOKEN= conformance/hub/live.sh $repo --key "$scratch/key.pub" --write scratch
expect 2 'live.sh ORG/NAME' conformance/hub/live.sh $repo
echo "live checks: passed"
