# The device code that CUDA and HIP share, compiled by both and for the host: one source.
GPU_TESTS := $(OBJ)/kernels/gpu/tests
$(GPU_TESTS)/rows.ptx: kernels/gpu/tests/rows.cu $(wildcard kernels/gpu/*) $(CUDA_READY)
	@mkdir -p $(@D)
	$(call say,NVCC,$<)
	$(Q)$(NVCC) $(NVCC_FLAGS) -arch=sm_80 -ptx -o $@ $<
$(GPU_TESTS)/rows.co: kernels/gpu/tests/rows.cu $(wildcard kernels/gpu/*)
	@mkdir -p $(@D)
	$(call say,CLANG,$<)
	$(Q)$(HIP_CLANG) $(HIP_FLAGS) --offload-arch=gfx942 -o $@ $<
kernels/gpu/tests/both_compilers_test.sh: | $(GPU_TESTS)/rows.ptx $(GPU_TESTS)/rows.co
TESTS += kernels/gpu/tests/both_compilers_test.sh

# The same source for the host, against loops in double.
$(GPU_TESTS)/rows_test.o: CPPFLAGS += -isystem $(CUDA_INCLUDE) -Wno-unknown-pragmas
$(GPU_TESTS)/rows_test.o: | $(CUDA_READY)
$(BIN)/kernels-gpu-rows_test: $(GPU_TESTS)/rows_test.o | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ -lpthread
TESTS += $(BIN)/kernels-gpu-rows_test
