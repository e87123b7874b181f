# Every arch Lamina builds for, best first within a device; the one list of machines.
#   arch.<name>.flags      what the compiler needs beside the common flags (host half for GPUs)
#   arch.<name>.source     file extension of a layer's source for this arch
#   arch.<name>.backend    hub backend token of the variant the build goes into; empty: not packed (the reference is nobody's fast build)
#   arch.<name>.requires   JSON object: what a machine must have; the client chooses by it
ARCHS := cpu_amx cpu_avx512 cpu_avx2 cuda_sm90a cuda_sm80 reference

arch.reference.flags    :=
arch.reference.source   := cpp
arch.reference.backend  :=
arch.reference.requires := {}

arch.cpu_amx.flags    = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mamx-tile -mamx-bf16 -mfma -mf16c $(avx512_warnings)
arch.cpu_amx.source   := cpp
arch.cpu_amx.backend  := cpu
arch.cpu_amx.requires := {"cpu": "x86_64", "cpu_features": ["avx512f", "avx512bw", "avx512vl", "avx512dq", "avx512bf16", "amx_tile", "amx_bf16", "fma", "f16c"]}

# g++ 12's own AVX-512 header trips these two warnings.
avx512_warnings := -Wno-uninitialized -Wno-maybe-uninitialized
# -mavx512bf16 only makes the intrinsics known; they run behind the plan's choice.
arch.cpu_avx512.flags    = -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mfma -mf16c $(avx512_warnings)
arch.cpu_avx512.source   := cpp
arch.cpu_avx512.backend  := cpu
arch.cpu_avx512.requires := {"cpu": "x86_64", "cpu_features": ["avx512f", "avx512bw", "avx512vl", "avx512dq", "fma", "f16c"]}

arch.cpu_avx2.flags    := -mavx2 -mfma -mf16c
arch.cpu_avx2.source   := cpp
arch.cpu_avx2.backend  := cpu
arch.cpu_avx2.requires := {"cpu": "x86_64", "cpu_features": ["avx2", "fma", "f16c"]}

arch.cuda_sm90a.flags    :=
arch.cuda_sm90a.source   := cu
arch.cuda_sm90a.backend  := cu130
arch.cuda_sm90a.requires := {"cpu": "x86_64", "cuda": {"capabilities": ["9.0a"], "driver": 580}}
arch.cuda_sm90a.device   := sm_90a

# Cubins for what exists, PTX for what comes; plan creation rarely compiles.
arch.cuda_sm80.flags    :=
arch.cuda_sm80.source   := cu
arch.cuda_sm80.backend  := cu130
arch.cuda_sm80.requires := {"cpu": "x86_64", "cuda": {"capabilities": ["8.0+PTX", "8.6", "8.9", "9.0", "10.0", "12.0"], "driver": 580}}
arch.cuda_sm80.device   := sm_80 sm_86 sm_89 sm_90 sm_100 sm_120 compute_80
