#!/usr/bin/env bash
# A fetch that is killed at any step leaves a cache that the next one completes; one that was killed in the middle of a file goes on there.
cd "$(dirname "$0")/../.."
. hub_client/tests/site.sh kill_anywhere
"$lamina" trust add org "$scratch/key.pub" >/dev/null
fetch() { "$lamina" fetch "$repo@v1" "$@"; }

# After a kill: nothing wrong has a name, and what is noted as a version is whole.
check_after_kill() {
  check_blobs "$HF_HOME"
  if [ -e "$HF_HOME/hub/kernels--org--triangle-multiplication/refs/v1" ]; then
    HF_HUB_OFFLINE=1 fetch --quiet >/dev/null || fail "killed at step $1: the version is noted, and not whole"
  fi
  fetch --quiet >"$scratch/path" || fail "killed at step $1: the next fetch fails"
  [ -s "$(cat "$scratch/path")" ] || fail "killed at step $1: no build"
  check_blobs "$HF_HOME"
  [ -z "$(find "$HF_HOME" -name '*.incomplete')" ] || fail "killed at step $1: unfinished downloads are left"
}

steps=0
for step in $(seq 1000); do
  rm -rf "$HF_HOME"
  code=0
  LD_PRELOAD=$faults LAMINA_TEST_KILL_AT=$step fetch --quiet >/dev/null 2>&1 || code=$?
  [ $code = 0 ] && break
  [ $code = 137 ] || fail "step $step: exit code $code instead of a kill"
  check_after_kill "$step"
  steps=$step
done
[ "$steps" -gt 40 ] || fail "only $steps steps were killed"
echo "killed at each of $steps steps"

rm -rf "$HF_HOME"
all=$(fetch --json 2>/dev/null | jq .downloaded.bytes)
[ "$all" -gt 100000 ] || fail "the bundle has $all bytes only"
for after in 1 1000 $((all / 2)) $((all - 1)); do
  rm -rf "$HF_HOME"
  code=0
  LD_PRELOAD=$faults LAMINA_TEST_KILL_AFTER=$after fetch --quiet >/dev/null 2>&1 || code=$?
  [ $code = 137 ] || fail "not killed after $after bytes, but $code"
  [ "$(find "$HF_HOME" -name '*.incomplete' | wc -l)" = 1 ] || fail "no unfinished download after $after bytes"
  check_blobs "$HF_HOME"
  rest=$(fetch --json 2>"$scratch/said" | jq .downloaded.bytes)
  grep -q 'going on with' "$scratch/said" || fail "after $after bytes it did not go on"
  [ "$rest" = $((all - after)) ] || fail "killed after $after of $all bytes, the next asked for $rest"
done
echo "resumed"
