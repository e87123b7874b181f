# The stand-in for libamdhip64: built and run on the same machine, so for that machine's own instructions.
HIP_EMULATOR := $(BUILD)/hip_emulator
HIP_EMULATOR_SOURCES := $(wildcard conformance/hip_emulator/*.cpp)
HIP_EMULATOR_OBJECTS := $(patsubst conformance/hip_emulator/%.cpp,$(OBJ)/conformance/hip_emulator/native/%.o,$(HIP_EMULATOR_SOURCES))
# Sums and products are rounded one by one, but for matrix instructions, whose inner order no document gives.
HIP_EMULATOR_FLAGS := -O3 -march=native -mprefer-vector-width=512 -fvisibility=hidden -fno-math-errno -fno-trapping-math -ffp-contract=off
HIP_EMULATOR_FLAGS += -Wno-restrict  # GCC 12 sees overlaps in std::string that are none (its bug 105329)
$(OBJ)/conformance/hip_emulator/native/matrix.o: HIP_EMULATOR_FLAGS += -ffp-contract=fast
.PHONY: hip_emulator
hip_emulator: $(HIP_EMULATOR)/libamdhip64.so.6  ## the runtime that executes AMD code objects on a machine without such a GPU
$(HIP_EMULATOR)/libamdhip64.so.6: $(HIP_EMULATOR_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) -shared -Wl,-soname,libamdhip64.so.6,-z,defs -o $@ $^ -lpthread
$(OBJ)/conformance/hip_emulator/native/%.o: conformance/hip_emulator/%.cpp $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) $(HIP_EMULATOR_FLAGS) -MMD -MP -c -o $@ $<

# Programs that see the emulator's inside: they are linked from its objects.
HIP_EMULATOR_PROGRAMS := $(patsubst conformance/hip_emulator/tests/%.cpp,$(BIN)/hip_emulator-%,$(wildcard conformance/hip_emulator/tests/*.cpp))
$(HIP_EMULATOR_PROGRAMS): $(BIN)/hip_emulator-%: $(OBJ)/conformance/hip_emulator/tests/%.o $(HIP_EMULATOR_OBJECTS) | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ -lpthread -ldl
