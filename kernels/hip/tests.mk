# The tests of kernels/hip: programs that load small code objects through the plug-ins' loader, on the emulator.
HIP_TESTS := $(OBJ)/kernels/hip/tests
# $(1) gfx target, $(2) code object format
define hip_test_object
$(HIP_TESTS)/%.$(1).$(2).co: kernels/hip/tests/%.hip kernels/hip/hip.mk kernels/hip/tests.mk
	@mkdir -p $$(@D)
	$$(call say,CLANG,"$$< ($(1), code object $(2))")
	$$(Q)$(HIP_CLANG) $(HIP_FLAGS) -mcode-object-version=$(2) --offload-arch=$(1) -MD -MP -MF $$@.d -MT $$@ -o $$@ $$<
endef
$(foreach target,gfx90a gfx942,$(foreach format,4 5,$(eval $(call hip_test_object,$(target),$(format)))))
-include $(wildcard $(HIP_TESTS)/*.co.d)
HIP_TEST_OBJECTS := $(foreach target,gfx90a gfx942,$(foreach format,4 5,$(HIP_TESTS)/primitives.$(target).$(format).co))

HIP_TEST_HOST := $(OBJ)/kernels/hip/runtime.o $(OBJ)/kernels/hip/device_code.o
HIP_TEST_PROGRAMS := $(addprefix $(BIN)/kernels-hip-,primitives_test device_code_test headers_test loader)
$(HIP_TESTS)/primitives_test.o $(HIP_TESTS)/device_code_test.o: CPPFLAGS += -DLAMINA_CODE_OBJECTS='"$(HIP_TESTS)"'
$(HIP_TEST_PROGRAMS): $(BIN)/kernels-hip-%: $(HIP_TESTS)/%.o $(HIP_TEST_HOST) | $(BIN)/ $(HIP_TEST_OBJECTS) hip_emulator
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $(filter %.o,$^) -ldl -lpthread
TESTS += $(BIN)/kernels-hip-primitives_test $(BIN)/kernels-hip-device_code_test kernels/hip/tests/loader_test.sh kernels/hip/tests/headers_test.sh
kernels/hip/tests/loader_test.sh kernels/hip/tests/headers_test.sh: | $(HIP_TEST_PROGRAMS)
SLOW_TESTS += kernels/hip/tests/second_compiler_test.sh kernels/hip/tests/layer_headers_test.sh
kernels/hip/tests/layer_headers_test.sh: | plugins
kernels/hip/tests/second_compiler_test.sh: | hip_emulator $(BIN)/lamina $(BIN)/hip_emulator-listing plugins
TESTS += kernels/hip/tests/bench_test.sh
kernels/hip/tests/bench_test.sh: | hip_emulator $(BIN)/lamina plugins
