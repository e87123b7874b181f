#!/usr/bin/env bash
# make_stubs.sh LIST OUTDIR: makes empty shared libraries with the sonames, symbols and versions that LIST names.  Plug-ins link
# against these instead of the machine's C library: what LIST lacks cannot be imported, and versions do not depend on the machine.
set -eu
list=$1 out=$2
mkdir -p "$out"
sonames=$(grep -v '^#' "$list" | cut -d' ' -f1 | sort -u)
for soname in $sonames; do
  code=$out/$soname.c map=$out/$soname.map previous=
  : >"$code"; : >"$map"
  while read -r library version symbols; do
    [ "$library" = "$soname" ] || continue
    for symbol in $symbols; do echo "void $symbol(void) {}" >>"$code"; done
    echo "GLIBC_$version { global: ${symbols// /; }; } $previous;" >>"$map"
    previous=GLIBC_$version
  done < <(grep -v '^#' "$list")
  ${CC:-gcc} -w -fno-builtin -shared -nostdlib -fPIC "$code" -Wl,--version-script="$map" -Wl,-soname,"$soname" -o "$out/$soname"
done
touch "$out/done"
