# libbench.a, and `make bench`: every CPU build against the machine's peaks and PyTorch, into docs/measurements/.
BENCH_SOURCES := $(wildcard bench/*.cpp)
BENCH_OBJECTS := $(call objects,$(BENCH_SOURCES))
ifeq ($(shell uname -m),x86_64)
$(OBJ)/bench/peaks_avx2.o: CXXFLAGS += -mavx2 -mfma
$(OBJ)/bench/peaks_avx512.o: CXXFLAGS += -mavx512f -mavx512bw -mavx512vl -mavx512bf16 -Wno-uninitialized -Wno-maybe-uninitialized
endif
$(LIB)/libbench.a: $(BENCH_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $(BENCH_OBJECTS)

$(LIB)/nvtx_stand_in.so: bench/tests/nvtx_stand_in.c | $(LIB)/
	$(call say,LINK,$@)
	$(Q)$(CC) $(CFLAGS) -shared -fPIC -o $@ $<
$(BIN)/bench-models_test: $(OBJ)/bench/tests/models_test.o $(LIB)/libbench.a $(LIB)/libmanifest.a | $(BIN)/ plugins $(LIB)/nvtx_stand_in.so
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libbench.a $(LIB)/libmanifest.a $(LAMINA_LIBS)
TESTS += $(BIN)/bench-models_test

BENCH_VENV := $(BUILD)/bench-venv
$(BENCH_VENV)/ready: bench/bench.mk | $(BUILD)/
	python3 -m venv $(BENCH_VENV)
	$(BENCH_VENV)/bin/pip install --quiet torch==2.13.0 numpy
	@touch $@

# Of LAYER; for another than the default say BENCH_SHAPES, and BENCH_WRITE for a folder of its own.
BENCH_WRITE ?= docs/measurements
BENCH_SHAPES ?= N=76,C=128 N=128,C=128 N=256,C=128 N=384,C=128 N=128,C=256 N=256,C=256
.PHONY: bench
bench: plugins $(BIN)/lamina $(BENCH_VENV)/ready  ## time the CPU builds against this machine's peaks and PyTorch; writes docs/measurements/
	$(BIN)/lamina bench $(foreach plugin,$(filter $(PLUGINS)/$(LAYER)-%-cpu_avx512.so $(PLUGINS)/$(LAYER)-%-cpu_avx2.so,$(ALL_PLUGINS)),--build $(plugin)) \
	  $(foreach shape,$(BENCH_SHAPES),--dims $(shape)) --dtype float32 --dtype bfloat16 --torch $(BENCH_VENV)/bin/python --write $(BENCH_WRITE)

BENCH_MODELS ?= esm2-650m esm2-3b protbert esmfold2-pair boltz-pair
.PHONY: bench-models
bench-models: plugins $(BIN)/lamina $(BENCH_VENV)/ready  ## time every layer at the shapes of bench/models.json's models; writes a page and pictures
	$(BIN)/lamina bench $(foreach model,$(BENCH_MODELS),--model $(model)) --torch $(BENCH_VENV)/bin/python --write docs/measurements
	python3 bench/models_readme.py

# What bench/gpu needs beside Python on a GPU machine, and how its page comes about.  Parts measured there are merged by ADD=FILE.json.
$(LIB)/run_loop.so: bench/gpu/run_loop.c abi/lamina_abi.h | $(LIB)/
	$(call say,LINK,$@)
	$(Q)$(CC) $(CPPFLAGS) -D_POSIX_C_SOURCE=200809L $(CFLAGS) -shared -o $@ $<
GPU_MEASUREMENTS := docs/measurements/h200_triangle_multiplication.json
.PHONY: bench-page
bench-page:  ## write the GPU page, its picture and the README's section from the committed measurements; ADD='part.json ...' merges new ones
	python3 bench/gpu/page.py $(GPU_MEASUREMENTS) $(foreach part,$(ADD),--add $(part))
CHECKS += bench/tests/page_test.sh bench/tests/tune_test.sh

# Registers, spills, shared memory and occupancy of every kernel; needs no GPU.
LAYER ?= triangle_multiplication
device_sources := layers/*/*.cu layers/*/*.cuh layers/*/*.h kernels/cuda/*.cuh kernels/gpu kernels/common  # what a build's machine code comes from
.PHONY: gpu-profile-static
gpu-profile-static: plugins fake_cuda $(BUILD)/cuda-tools/done  ## registers, spills, shared memory, occupancy of every CUDA kernel of LAYER, from the machine code
	python3 bench/gpu/profile_static.py $(LAYER) --tools $(BUILD)/cuda-tools/nvidia/cu13/bin --commit "$$(git log -1 --abbrev=12 --format=%h -- $(device_sources))$$(git diff --quiet HEAD -- $(device_sources) || echo -dirty)" \
	  --write docs/measurements/$(LAYER)_cuda_kernels.md
SLOW_TESTS += bench/tests/static_profile_test.sh bench/tests/gpu_bench_test.sh bench/tests/rows_test.sh bench/tests/determinism_test.sh
bench/tests/determinism_test.sh: | plugins $(BENCH_VENV)/ready
bench/tests/rows_test.sh: | plugins $(BENCH_VENV)/ready
bench/tests/static_profile_test.sh: | plugins fake_cuda $(BUILD)/cuda-tools/done
bench/tests/gpu_bench_test.sh: | plugins $(LIB)/run_loop.so $(BENCH_VENV)/ready

# `make tune LAYER=x ARCH=cuda_sm90a` times other values of the numbers in tiles.h; ONLY=name takes one.  On a machine without a GPU the CUDA
# builds are made and not timed: carry build/tune and build/plugins to one, and add TUNE_OPTIONS=--time-only there.
.PHONY: tune
tune: plugins $(if $(filter cpu_%,$(ARCH)),$(BENCH_VENV)/ready)  ## time other values of LAYER's tile sizes for ARCH; builds alone where no GPU is
	@[ -n '$(ARCH)' ] || { echo "error: say for which build: make tune LAYER=$(LAYER) ARCH=cpu_avx512" >&2; exit 2; }
	$(if $(filter cpu_%,$(ARCH)),$(BENCH_VENV)/bin/python,python3) bench/gpu/tune.py $(LAYER) --arch $(ARCH) $(if $(ONLY),--only $(ONLY)) \
	  $(if $(filter cuda_%,$(ARCH)),--cuda-home $(CUDA_HOME) $(if $(shell command -v nvidia-smi),,--build-only)) $(TUNE_OPTIONS)
