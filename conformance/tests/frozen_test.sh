#!/usr/bin/env bash
# Old against new, both ways: every frozen client runs head's reference plug-ins, head's client runs every frozen plug-in, and a
# client of a later minor runs both.  Equal pairs print equal checksums.
set -euo pipefail
cd "$(dirname "$0")/../.."
(cd conformance/frozen && sha256sum --check --quiet --strict SHA256SUMS) || { echo "a released version of the ABI has been edited"; exit 1; }
out=build/frozen
rm -rf $out; mkdir -p $out/head $out/future
cp abi/lamina_abi.h $out/head/
# A later minor: one more member at the end of each growable struct that a host fills.
sed -E 's/^\} (lamina_(call|plan_desc|host|need|error));/  uint64_t future_member;\n} \1;/' abi/lamina_abi.h >$out/future/lamina_abi.h
[ "$(grep -c future_member $out/future/lamina_abi.h)" = 5 ] || { echo "the later header lacks its members"; exit 1; }

client() { gcc -std=c11 -D_GNU_SOURCE -O1 -Wall -Wextra -Werror "${@:4}" -I"$2" -o "$3" "$1" -ldl -lm; }
plugin() { gcc -std=c99 -O1 -fPIC -shared -Wall -Wextra -Werror -I"$2" -o "$3" "$1"; }
mapfile -t head_plugins < <(ls build/plugins/*-reference.so)
[ ${#head_plugins[@]} -gt 0 ] || { echo "no reference build in build/plugins"; exit 1; }

pairs=0
for folder in conformance/frozen/v*; do
  version=$(basename "$folder")
  cp "$folder/plugin.c" "$folder/client.c" $out/  # so that "lamina_abi.h" is found by -I alone
  client $out/client.c "$folder" "$out/client_$version"
  client $out/client.c $out/head "$out/client_${version}_head"
  client $out/client.c $out/future "$out/client_${version}_future" -DFUTURE
  plugin $out/plugin.c "$folder" "$out/plugin_$version.so"
  plugin $out/plugin.c $out/head "$out/plugin_${version}_head.so"
  for so in "${head_plugins[@]}" "$out/plugin_$version.so" "$out/plugin_${version}_head.so"; do
    # The frozen clients know no layer: channels are 8 and every other extent is 3.  A layer that takes no such widths says so, and is named.
    if said=$("$out/client_$version" "$so" 2>&1 >/dev/null) || [ "${said#plan_need: *supported are}" = "$said" ]; then :; else
      echo "NOT ASKED: $so: $said"; continue
    fi
    sums=()
    for host in "$out/client_$version" "$out/client_${version}_head" "$out/client_${version}_future"; do
      sum=$("$host" "$so") || { echo "$host fails with $so"; exit 1; }
      sums+=("$sum"); pairs=$((pairs + 1))
    done
    [ "$(printf '%s\n' "${sums[@]}" | sort -u | wc -l)" = 1 ] || { echo "$so gives ${sums[*]} to three hosts"; exit 1; }
  done
  [ "$("$out/client_$version" "$out/plugin_$version.so")" = "$("$out/client_$version" "$out/plugin_${version}_head.so")" ] ||
    { echo "the frozen plug-in built against head gives other numbers"; exit 1; }
done

# The test can fail: a plug-in that reads its structs without the rule is caught by the client of a later minor.
sed 's/return LAMINA_UNSUPPORTED;$/return LAMINA_OK;/' conformance/frozen/v1_0/plugin.c >$out/careless.c
plugin $out/careless.c conformance/frozen/v1_0 $out/careless.so
if $out/client_v1_0_future $out/careless.so >/dev/null 2>&1; then echo "a plug-in that ignores later members goes unseen"; exit 1; fi
[ $pairs -gt 6 ] || { echo "no reference build of head takes the frozen clients' extents"; exit 1; }
echo "$pairs pairs of host and plug-in agree"
