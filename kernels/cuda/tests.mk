# The primitives' tests: kernels/cuda/tests/*.cu as fat binaries, embedded in programs that launch them through the plug-ins' driver table.
CUDA_TESTS := $(OBJ)/kernels/cuda/tests
CUDA_TEST_PROGRAMS := $(BIN)/kernels-cuda-primitives_test $(BIN)/kernels-cuda-planted_faults
$(CUDA_TESTS)/%.fatbin: kernels/cuda/tests/%.cu $(CUDA_READY) kernels/cuda/cuda.mk kernels/cuda/tests.mk
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCC_FLAGS) $(call gencode,sm_80 sm_90a compute_80) -fatbin -MD -MP -MF $@.d -MT $@ -o $@ $<
$(CUDA_TESTS)/%.fatbin.o: $(CUDA_TESTS)/%.fatbin kernels/cuda/embed.S
	$(Q)$(CC) -DLAMINA_DEVICE_CODE='"$<"' -c -o $@ kernels/cuda/embed.S
-include $(wildcard $(CUDA_TESTS)/*.fatbin.d)

CUDA_TEST_HOST := $(OBJ)/kernels/cuda/driver.o $(OBJ)/kernels/cuda/device_code.o $(OBJ)/kernels/cuda/tensor_map.o
$(CUDA_TEST_HOST) $(CUDA_TESTS)/primitives_test.o $(CUDA_TESTS)/planted_faults.o: CPPFLAGS += -isystem $(CUDA_INCLUDE)
$(CUDA_TEST_HOST) $(CUDA_TESTS)/primitives_test.o $(CUDA_TESTS)/planted_faults.o: | $(CUDA_READY)
$(BIN)/kernels-cuda-primitives_test: $(CUDA_TESTS)/primitives_test.o $(CUDA_TESTS)/primitives.fatbin.o
$(BIN)/kernels-cuda-planted_faults: $(CUDA_TESTS)/planted_faults.o $(CUDA_TESTS)/faults.fatbin.o
$(CUDA_TEST_PROGRAMS): $(CUDA_TEST_HOST) $(LIB)/libconformance.a $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $(filter %.o,$^) $(LIB)/libconformance.a $(LIB)/libmanifest.a $(MANIFEST_LIBS) -ldl -lpthread

PROGRAMS += $(CUDA_TEST_PROGRAMS)
TESTS += kernels/cuda/tests/primitives_test.sh
kernels/cuda/tests/primitives_test.sh: | $(CUDA_TEST_PROGRAMS) fake_cuda

# NVIDIA's tools that a toolkit would bring, by hash: build/cuda-tools/nvidia/cu13/bin/{cuobjdump,nvdisasm}, and compute-sanitizer.
CUDA_TOOLS := $(BUILD)/cuda-tools
install_tools = rm -rf $(1) && python3 -m venv $(1)/venv && $(1)/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps \
  --only-binary :all: --target $(1) --requirement $(2) && chmod -R u+x $(1)/nvidia/cu13/bin && rm -rf $(1)/venv
$(CUDA_TOOLS)/done: kernels/cuda/tools.txt
	$(call say,PIP,$(@D))
	$(Q)$(call install_tools,$(@D),$<)
	$(Q)touch $@
$(BUILD)/compute-sanitizer/done: kernels/cuda/sanitizer.txt
	$(call say,PIP,$(@D))
	$(Q)$(call install_tools,$(@D),$<)
	$(Q)touch $@
.PHONY: compute-sanitizer
compute-sanitizer: $(BUILD)/compute-sanitizer/done  ## NVIDIA's package of compute-sanitizer, for GPU machines without one
