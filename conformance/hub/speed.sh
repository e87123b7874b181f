#!/usr/bin/env bash
# How fast bundles come and load here: downloads over loopback against `openssl speed sha256` and a synced dd, from our server and from nginx;
# warm loads up to a ready plan with and without receipts.  In turns, ROUNDS (7) of them, medians.  Prints a page in Markdown;
# conformance/hub/speed.sh > docs/measurements/hub_speed.md
cd "$(dirname "$0")/../.."
root=$PWD
. hub_client/tests/site.sh speed
megabytes=${MEGABYTES:-512} rounds=${ROUNDS:-7}
ram=/dev/shm/lamina-speed.$$
mkdir -p "$ram"
trap 'end_started; rm -rf "$ram"' EXIT
"$lamina" trust add org "$scratch/key.pub" >/dev/null
bytes=$((megabytes << 20))

# A bundle with one large file, by LFS; its hubs lie in memory too, so that the disk below is the client's.
variant=$(ls -d "$scratch"/bundle/build/*)
head -c $bytes /dev/urandom >"$variant/large.bin"
"$root/build/bin/conformance-hub-forge" "$variant" "$scratch/key.sec" counter=2
"$lamina" serve "$ram/hub" --port 0 --upload lfs >"$scratch/large.log" 2>&1 &
started+=($!)
ours=$(wait_for "$scratch/large.log" 'http://127\.0\.0\.1:[0-9]+')
HF_ENDPOINT=$ours "$lamina" publish "$scratch/bundle" --repo $repo --create >/dev/null
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
"$lamina" export "$scratch/bundle" --static "$ram/mirror" --listen 127.0.0.1:"$port" >/dev/null
nginx -p "$ram/mirror" -c nginx.conf -g 'master_process off;' 2>"$scratch/nginx.log" &
started+=($!)
mirror=http://127.0.0.1:$port
for _ in $(seq 100); do curl -s -o /dev/null "$mirror/api/kernels/$repo/refs" && break || sleep 0.05; done

# rate COMMAND...: MB/s of a command that moves the large file.
rate() {
  local begin=$EPOCHREALTIME
  "$@" >/dev/null
  awk -v a="$begin" -v b="$EPOCHREALTIME" -v bytes=$bytes 'BEGIN { printf "%.0f\n", bytes / (b - a) / 1e6 }'
}
fetch_from() { HF_ENDPOINT=$1 HF_HUB_CACHE=$2 "$lamina" fetch $repo --quiet; }
forget() { rm -rf "$ram/cache" "$scratch/cache-on-disk" "$scratch/dd" "$scratch/home/.local"; }
digest_rate() { openssl speed -elapsed -seconds 1 -bytes 1048576 "$1" 2>/dev/null | awk -v name="^$1" '$0 ~ name { gsub("k", "", $2); printf "%.0f\n", $2 * 1000 / 1e6 }'; }
for ((round = 0; round < rounds; ++round)); do
  digest_rate sha256 >>"$scratch/sha256"
  forget; rate fetch_from "$ours" "$ram/cache" >>"$scratch/memory"
  forget; rate fetch_from "$mirror" "$ram/cache" >>"$scratch/nginx"
  rate dd if="$variant/large.bin" of="$scratch/dd" bs=1M conv=fsync status=none >>"$scratch/dd_rates"
  forget; rate fetch_from "$ours" "$scratch/cache-on-disk" >>"$scratch/disk"
done
forget
median() { sort -n "$scratch/$1" | sed -n "$((rounds / 2 + 1))p"; }
row() { echo "| $2 | $(median "$1") | $(sort -n "$scratch/$1" | tail -n1) | ${3:-} |"; }
percent() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.0f %%", 100 * a / b }'; }
slower() { printf '%s\n' "$@" | sort -n | head -n1; }
sha=$(median sha256) memory=$(median memory) disk=$(median disk) dd=$(median dd_rates)

# Warm loads of the ordinary bundle, offline: a new client each time, as a new process would have it.
rm -rf "$variant/large.bin"
"$root/build/bin/conformance-hub-forge" "$variant" "$scratch/key.sec" counter=3
"$lamina" publish "$scratch/bundle" --repo $repo --create >/dev/null 2>&1 || true
"$lamina" fetch $repo --quiet >/dev/null
hash_bytes=$(find -L "$HF_HOME/hub" -path '*/snapshots/*' -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum }')
build_bytes=$(stat -L -c %s "$("$lamina" fetch $repo --quiet)")
# loads [MODE]: the lower quartiles of 40 rounds: fetch, load, plan, and all three; other work makes some rounds longer.
loads() {
  HF_HUB_OFFLINE=1 "$root/build/bin/conformance-hub-loader" $repo@v1 40 "$@" >"$scratch/loads"
  for column in 4 6 8 10; do awk -v c=$column '/^loaded/ { print $c }' "$scratch/loads" | sort -n | sed -n 10p; done | tr '\n' ' '
}
sleep 0.2
HF_HUB_OFFLINE=1 "$lamina" fetch $repo --quiet >/dev/null
[ -n "$(find "$scratch/home/.local" -path '*receipts/*' -type f)" ] || fail "no receipt was written"
read -r warm_fetch warm_load warm_plan warm_all <<<"$(loads)"
read -r bare_fetch bare_load bare_plan bare_all <<<"$(loads trusting)"
chmod -R g+w "$HF_HOME"
read -r hash_fetch hash_load hash_plan hash_all <<<"$(loads)"
difference() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a - b }'; }
cat <<PAGE
# How fast bundles come and load

$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ //'), $(nproc) processors, $(. /etc/os-release; echo "$PRETTY_NAME"), $(openssl version | cut -d' ' -f1,2). Made by \`conformance/hub/speed.sh\` at a load average of $(cut -d" " -f1 /proc/loadavg)${SPEED_NOTE:-}. Everything in turns, $rounds rounds.

One file of $megabytes MB in a bundle, over loopback, client and server on these processors, everything verified:

| what | median MB/s | best | against |
|---|---|---|---|
$(row sha256 '`openssl speed -elapsed sha256`, blocks of 1 MB, one thread')
$(row dd_rates '`dd` to the disk with fsync')
$(row memory 'fetch from `lamina serve`, cache in memory' "$(percent "$memory" "$sha") of sha256")
$(row nginx 'fetch from nginx, cache in memory' "$(percent "$(median nginx)" "$sha") of sha256")
$(row disk 'fetch from `lamina serve`, cache on the disk' "$(percent "$disk" "$(slower "$memory" "$dd")") of the slower of memory and dd")

Warm and offline, from nothing to a plan that is ready, lower quartiles of 40 rounds in one process, ms ($hash_bytes bytes lie in the cache):

| | verify and choose | load | plan | together |
|---|---|---|---|---|
| with a receipt | $warm_fetch | $warm_load | $warm_plan | $warm_all |
| without one (a cache that the group may write) | $hash_fetch | $hash_load | $hash_plan | $hash_all |
| nothing verified: the documents read, a build chosen by them and opened | $bare_fetch | $bare_load | $bare_plan | $bare_all |

Verification adds $(difference "$warm_all" "$bare_all") ms with a receipt. Without facts of the files, where a receipt still says what passed, it adds $(difference "$hash_all" "$bare_all") ms more than
nothing and $(difference "$hash_all" "$warm_all") ms more than with them; SHA-256 of $hash_bytes bytes, those of the build twice, takes $(awk -v n="$hash_bytes" -v b="$build_bytes" -v r="$sha" 'BEGIN { printf "%.2f", (n + b) / r / 1e3 }') ms at the rate above.
PAGE
