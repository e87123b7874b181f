#!/usr/bin/env bash
# Which HIP runtime a plug-in takes: the named one, one that is mapped already, the newest soname; and what it says where there is none.
set -euo pipefail
cd "$(dirname "$0")/../../.."
root=$PWD loader=build/bin/kernels-hip-loader emulator=$PWD/build/hip_emulator
scratch=build/test-scratch/hip-loader
rm -rf $scratch && mkdir -p $scratch/{newer,broken,empty}
# A runtime of a newer major that lacks a function: choosing it is an error that names the function.
echo 'int hipRuntimeGetVersion(int *v) { return *v = 0; }' >$scratch/stub.c
gcc -shared -fPIC -Wl,-soname,libamdhip64.so.10 -o $scratch/newer/libamdhip64.so.10 $scratch/stub.c
echo 'not an ELF file' >$scratch/broken/libamdhip64.so.10
unset LAMINA_HIP_RUNTIME LAMINA_HIP_EMULATOR LD_LIBRARY_PATH || true

says() {  # TEXT COMMAND...
  local text=$1 out; shift
  out=$("$@" 2>&1) || true
  grep -qF "$text" <<<"$out" || { printf 'expected "%s" of %s, got:\n%s\n' "$text" "$*" "$out"; exit 1; }
}
says "opened $emulator/libamdhip64.so.6" env LD_LIBRARY_PATH=$emulator $loader
says 'has no hipGetDeviceCount' env LD_LIBRARY_PATH=$root/$scratch/newer:$emulator $loader
says "opened $emulator/libamdhip64.so.6" env LD_LIBRARY_PATH=$root/$scratch/broken:$emulator $loader
says "opened $emulator/libamdhip64.so.6" env LD_LIBRARY_PATH=$root/$scratch/newer $loader --map $emulator/libamdhip64.so.6
says 'has no hipGetDeviceCount' env LD_LIBRARY_PATH=$emulator $loader --map $root/$scratch/newer/libamdhip64.so.10
says "opened $emulator/libamdhip64.so.6" env LAMINA_HIP_RUNTIME=$emulator/libamdhip64.so.6 LD_LIBRARY_PATH=$root/$scratch/newer $loader
says 'LAMINA_HIP_RUNTIME names a runtime that cannot be loaded' env LAMINA_HIP_RUNTIME=/nonexistent/libamdhip64.so $loader
says 'finds no usable GPU: hipGetDeviceCount gives 0 devices' env LAMINA_HIP_EMULATOR=devices=0 LD_LIBRARY_PATH=$emulator $loader
for major in 5 6 7 8 9 10; do  # every soname is found
  mkdir -p $scratch/$major && cp $emulator/libamdhip64.so.6 $scratch/$major/libamdhip64.so.$major
  says "opened $root/$scratch/$major/libamdhip64.so.$major" env LD_LIBRARY_PATH=$root/$scratch/$major $loader
done
# Debian's own runtime on a machine whose GPUs are hidden.
says 'finds no usable GPU' env HIP_VISIBLE_DEVICES=-1 ROCR_VISIBLE_DEVICES=-1 LAMINA_HIP_RUNTIME=libamdhip64.so.5 $loader
echo 'the loader takes the named, the mapped, the newest runtime, and names what is missing'
