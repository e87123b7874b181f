#!/usr/bin/env bash
# What the adapters' files show to the loader: every tvm-ffi build exports and weakly imports what tvm_ffi/symbols.golden says, the XLA
# adapter exports its handlers; both need glibc's own libraries alone, at most 2.28, and run nothing when loaded.  The core builds keep one
# export.
set -euo pipefail
cd "$(dirname "$0")/../.."
bad=0
complain() { echo "$1"; bad=1; }

dynamic() {  # FILE KIND: sorted names of the dynamic symbols that are defined, weak and undefined, or undefined otherwise
  case $2 in
    export) nm -D --defined-only "$1" | awk '{ print $NF }' ;;
    weak) nm -D "$1" | awk '$1 == "w" { print $2 }' ;;
    unversioned) nm -D --undefined-only "$1" | awk '$1 == "U" && $2 !~ /@/ { print $2 }' ;;
  esac | LC_ALL=C sort
}
check_loading() {  # FILE: needs, versions, constructors
  local needed versions
  needed=$(readelf -dW "$1" | sed -nE 's/.*\(NEEDED\).*\[(.*)\]/\1/p')
  for library in $needed; do
    case $library in libc.so.6|libm.so.6|libdl.so.2|libpthread.so.0) ;; *) complain "$1 needs $library" ;; esac
  done
  versions=$(readelf -VW "$1" | grep -oE 'GLIBC_[0-9.]+' | sort -Vu | tail -1)
  [ "$(printf '%s\nGLIBC_2.28\n' "$versions" | sort -V | tail -1)" = GLIBC_2.28 ] || complain "$1 asks for $versions"
  [ -z "$(dynamic "$1" unversioned)" ] || complain "$1 has imports that no library of its own provides: $(dynamic "$1" unversioned | tr '\n' ' ')"
  ! readelf -dW "$1" | grep -qE '\((INIT|INIT_ARRAY|FINI|FINI_ARRAY|RPATH|RUNPATH)\)' || complain "$1 runs code when loaded, or has a search path"
}

checked=0
for file in build/plugins/*.so; do
  [ "$(dynamic "$file" export)" = lamina_library_v1 ] || complain "$file: a core build exports lamina_library_v1 alone"
  twin=build/plugins/tvm_ffi/$(basename "$file" .so)-tvm_ffi.so
  [ -f "$twin" ] || { complain "$twin is missing: one for each build"; continue; }
  layer=$(basename "$file"); layer=${layer%%-*}
  ops=$(jq -r '.ops[].name' "layers/$layer/contract.json" | LC_ALL=C sort)
  golden=$(while read -r kind name; do for op in $([[ $name == *'<op>'* ]] && echo "$ops" || echo -); do echo "$kind ${name/<op>/$op}"; done; done <adapters/tvm_ffi/symbols.golden)
  found=$(dynamic "$twin" export | sed 's/^/export /'; dynamic "$twin" weak | sed 's/^/weak /')
  diff <(echo "$golden") <(echo "$found") || complain "$twin differs from adapters/tvm_ffi/symbols.golden (one line for each op of its contract)"
  check_loading "$twin"
  checked=$((checked + 1))
done
xla=build/lib/liblamina_xla.so
diff adapters/xla/symbols.golden <(dynamic "$xla" export) || complain "$xla differs from adapters/xla/symbols.golden"
[ -z "$(dynamic "$xla" weak)" ] || complain "$xla has weak imports"
check_loading "$xla"
[ $checked -gt 0 ] || complain "build/plugins holds no build"
[ $bad = 1 ] || echo "$checked builds for tvm-ffi and the XLA adapter are as their goldens say"
exit $bad
