#!/usr/bin/env bash
# How fast bundles come and load here: downloads over loopback against `openssl speed sha256` and a synced dd, warm loads with and without
# receipts.  Prints a page in Markdown; conformance/hub/speed.sh > docs/measurements/hub_speed.md
cd "$(dirname "$0")/../.."
root=$PWD
. hub_client/tests/site.sh speed
megabytes=${MEGABYTES:-512}
ram=/dev/shm/lamina-speed.$$
mkdir -p "$ram"
trap 'end_started; rm -rf "$ram"' EXIT
"$lamina" trust add org "$scratch/key.pub" >/dev/null
rate() { awk -v bytes="$1" -v seconds="$2" 'BEGIN { printf "%.0f", bytes / seconds / 1e6 }'; }

# A bundle with one large file, by LFS; its hub lies in memory too, so that the disk below is the client's.
variant=$(ls -d "$scratch"/bundle/build/*)
head -c $((megabytes << 20)) /dev/urandom >"$variant/large.bin"
"$root/build/bin/conformance-hub-forge" "$variant" "$scratch/key.sec" counter=2
"$lamina" serve "$ram/hub" --port 0 --upload lfs >"$scratch/large.log" 2>&1 &
started+=($!)
HF_ENDPOINT=$(wait_for "$scratch/large.log" 'http://127\.0\.0\.1:[0-9]+')
"$lamina" publish "$scratch/bundle" --repo $repo --create >/dev/null
bytes=$((megabytes << 20))
fetch_rate() { # CACHE: the best of three
  local best=0 now begin
  for _ in 1 2 3; do
    rm -rf "$1" "$scratch/home/.local"
    begin=$EPOCHREALTIME
    HF_HUB_CACHE=$1 "$lamina" fetch $repo --quiet >/dev/null
    now=$(rate $bytes "$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')")
    [ "$now" -gt "$best" ] && best=$now
  done
  echo "$best"
}
sha=$(openssl speed -elapsed -seconds 2 -bytes 1048576 sha256 2>/dev/null | awk '/^sha256/ { gsub("k", "", $2); printf "%.0f", $2 * 1000 / 1e6 }')
sha1=$(openssl speed -elapsed -seconds 2 -bytes 1048576 sha1 2>/dev/null | awk '/^sha1/ { gsub("k", "", $2); printf "%.0f", $2 * 1000 / 1e6 }')
memory=$(fetch_rate "$ram/cache")
disk=$(fetch_rate "$scratch/cache-on-disk")
begin=$EPOCHREALTIME
dd if="$variant/large.bin" of="$scratch/dd" bs=1M conv=fsync status=none
dd_rate=$(rate $bytes "$(awk -v a="$begin" -v b="$EPOCHREALTIME" 'BEGIN { print b - a }')")

# Warm loads of the ordinary bundle, offline: a new client each time, as a new process would have it.
HF_ENDPOINT=$(wait_for "$scratch/serve.log" 'http://127\.0\.0\.1:[0-9]+')
rm -rf "$scratch/home/.local"
"$lamina" fetch $repo --quiet >/dev/null
loads() { HF_HUB_OFFLINE=1 "$root/build/bin/conformance-hub-loader" $repo@v1 40 | awk '/^loaded/ { print $4, $6, $4 + $6 }' | sort -n -k3 | sed -n 20p; }
sleep 0.2
HF_HUB_OFFLINE=1 "$lamina" fetch $repo --quiet >/dev/null
[ -n "$(find "$scratch/home/.local" -path '*receipts/*' -type f)" ] || fail "no receipt was written"
read -r warm_fetch warm_load warm_all <<<"$(loads)"
chmod -R g+w "$HF_HOME"
read -r hash_fetch hash_load hash_all <<<"$(loads)"
cat <<PAGE
# How fast bundles come and load

$(grep -m1 'model name' /proc/cpuinfo | cut -d: -f2 | sed 's/^ //'), $(nproc) processors, $(. /etc/os-release; echo "$PRETTY_NAME"), $(openssl version | cut -d' ' -f1,2). Made by \`conformance/hub/speed.sh\`, at a load average of $(cut -d" " -f1 /proc/loadavg): other work shared the processors; a quiet machine is faster.

| what | MB/s |
|---|---|
| \`openssl speed -elapsed sha256\`, blocks of 1 MB, one thread | $sha |
| \`openssl speed -elapsed sha1\` | $sha1 |
| \`dd\` to the disk with fsync | $dd_rate |
| fetch of a bundle with one file of $megabytes MB over loopback, everything verified, cache in memory | $memory |
| the same, cache on the disk | $disk |

Warm and offline, from nothing to a loaded library, median of 40, ms:

| | verify and choose | load | together |
|---|---|---|---|
| with a receipt | $warm_fetch | $warm_load | $warm_all |
| without one (a cache that the group may write) | $hash_fetch | $hash_load | $hash_all |
PAGE
