# Every arch Lamina builds for, best first within a device; the one list of machines.
#   arch.<name>.flags      what the compiler needs beside the common flags (host half for GPUs)
#   arch.<name>.source     file extension of a layer's source for this arch
#   arch.<name>.backend    hub backend tokens of the variants that the build goes into; empty: not packed (the reference is nobody's fast build)
#   arch.<name>.requires   JSON object: what a machine must have; the client chooses by it
ARCHS := cpu_amx cpu_avx512 cpu_avx2 cuda_sm90a cuda_sm80 hip_gfx950 hip_gfx942 hip_gfx90a reference

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

# One code object for each GPU, in the formats of ROCm 6 and newer and of ROCm 5; one build for every release, since it finds the runtime at
# first use.  Executed instruction by instruction in CI, not yet measured on silicon.
hip_backends := rocm71 rocm72
arch.hip_gfx942.flags    :=
arch.hip_gfx942.source   := hip
arch.hip_gfx942.backend  := $(hip_backends)
arch.hip_gfx942.requires := {"cpu": "x86_64", "rocm": {"archs": ["gfx942"]}}
arch.hip_gfx942.device   := gfx942
arch.hip_gfx942.formats  := 5 4

arch.hip_gfx90a.flags    :=
arch.hip_gfx90a.source   := hip
arch.hip_gfx90a.backend  := $(hip_backends)
arch.hip_gfx90a.requires := {"cpu": "x86_64", "rocm": {"archs": ["gfx90a"]}}
arch.hip_gfx90a.device   := gfx90a
arch.hip_gfx90a.formats  := 5 4

# Debian's clang does not know this GPU; clang 22 of the ziglang wheel does.  Built where python3 has it (pip install ziglang==0.17.0), or
# by make ZIGLANG_PYTHON=/path/to/python.
arch.hip_gfx950.flags    :=
arch.hip_gfx950.source   := hip
arch.hip_gfx950.backend  := $(hip_backends)
arch.hip_gfx950.requires := {"cpu": "x86_64", "rocm": {"archs": ["gfx950"]}}
arch.hip_gfx950.device   := gfx950
arch.hip_gfx950.formats  := 5
arch.hip_gfx950.compiler := ziglang
ZIGLANG_PYTHON ?= $(shell python3 -c 'import ziglang' 2>/dev/null && echo python3)
ifeq ($(ZIGLANG_PYTHON),)
override ARCHS := $(filter-out hip_gfx950,$(ARCHS))
endif
