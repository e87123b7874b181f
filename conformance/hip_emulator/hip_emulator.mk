# The stand-in for libamdhip64: built and run on the same machine, so for that machine's own instructions.
HIP_EMULATOR := $(BUILD)/hip_emulator
HIP_EMULATOR_SOURCES := $(wildcard conformance/hip_emulator/*.cpp)
HIP_EMULATOR_OBJECTS := $(patsubst conformance/hip_emulator/%.cpp,$(OBJ)/conformance/hip_emulator/native/%.o,$(HIP_EMULATOR_SOURCES))
# Sums and products are rounded one by one, but for matrix instructions, whose inner order no document gives.
HIP_EMULATOR_FLAGS := -O3 -march=native $(if $(filter x86_64,$(shell uname -m)),-mprefer-vector-width=512) -fvisibility=hidden -fno-math-errno -fno-trapping-math -ffp-contract=off
HIP_EMULATOR_FLAGS += -Wno-restrict  # GCC 12 sees overlaps in std::string that are none (its bug 105329)
$(OBJ)/conformance/hip_emulator/native/matrix.o: HIP_EMULATOR_FLAGS += -ffp-contract=fast
# A folder that was carried to another kind of processor is remade.
$(HIP_EMULATOR)/machine: FORCE
	@mkdir -p $(@D)
	@$(CXX) -march=native -Q --help=target | grep -E -- '-m(arch|cpu|tune)=' | cmp -s - $@ || $(CXX) -march=native -Q --help=target | grep -E -- '-m(arch|cpu|tune)=' > $@
.PHONY: hip_emulator
hip_emulator: $(HIP_EMULATOR)/libamdhip64.so.6  ## the runtime that executes AMD code objects on a machine without such a GPU
$(HIP_EMULATOR)/libamdhip64.so.6: $(HIP_EMULATOR_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) -shared -Wl,-soname,libamdhip64.so.6,-z,defs -o $@ $^ -lpthread
$(OBJ)/conformance/hip_emulator/native/%.o: conformance/hip_emulator/%.cpp $(BUILD)/flags $(HIP_EMULATOR)/machine
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(HIP_EMULATOR_FLAGS) -MMD -MP -c -o $@ $<

# Programs that see the emulator's inside: they are linked from its objects.
HIP_EMULATOR_PROGRAMS := $(patsubst conformance/hip_emulator/tests/%.cpp,$(BIN)/hip_emulator-%,$(wildcard conformance/hip_emulator/tests/*.cpp))
$(HIP_EMULATOR_PROGRAMS): $(BIN)/hip_emulator-%: $(OBJ)/conformance/hip_emulator/tests/%.o $(HIP_EMULATOR_OBJECTS) | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ -lpthread -ldl

# Code objects that the tests run.
HIP_EMULATOR_CODE := $(HIP_EMULATOR)/tests/faults.gfx942.co $(HIP_EMULATOR)/tests/kernels.gfx90a.co
$(HIP_EMULATOR)/tests/faults.gfx942.co: conformance/hip_emulator/tests/kernels/faults.s
	@mkdir -p $(@D)
	$(Q)clang-19 -target amdgcn-amd-amdhsa -mcpu=gfx942 -o $@ $<
$(HIP_EMULATOR)/tests/kernels.gfx90a.co: conformance/hip_emulator/tests/kernels/kernels.hip
	@mkdir -p $(@D)
	$(Q)clang-19 -x hip --offload-arch=gfx90a -nogpuinc -nogpulib -std=c++20 -O3 --cuda-device-only --no-gpu-bundle-output -o $@ $<
$(BIN)/hip_emulator-runtime_test: | $(HIP_EMULATOR)/libamdhip64.so.6 $(HIP_EMULATOR_CODE)

HIP_EMULATOR_TESTS := $(addprefix $(BIN)/hip_emulator-,instructions_test lanes_test programs_test runtime_test)
HIP_EMULATOR_SCRIPTS := $(addprefix conformance/hip_emulator/tests/,mistakes_test.sh listing_test.sh conform_test.sh fetch_test.sh)
HIP_EMULATOR_SLOW_SCRIPTS := $(addprefix conformance/hip_emulator/tests/,conform_whole_test.sh second_compiler_test.sh)
$(HIP_EMULATOR_SCRIPTS) $(HIP_EMULATOR_SLOW_SCRIPTS): | hip_emulator plugins $(BIN)/lamina $(BIN)/hip_emulator-listing $(BIN)/hip_emulator-run_kernels $(HIP_EMULATOR_CODE)
conformance/hip_emulator/tests/fetch_test.sh: | $(BIN)/ubiquitin $(GEN)/archs.json
TESTS += $(HIP_EMULATOR_TESTS) $(HIP_EMULATOR_SCRIPTS)
SLOW_TESTS += $(HIP_EMULATOR_SLOW_SCRIPTS)
