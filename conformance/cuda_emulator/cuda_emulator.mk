# A libcuda.so.1 that executes launches: the stand-in driver's model, and beside it, for each layer, the kernels' own source compiled for this
# machine, with stand-ins for the headers that hold a GPU's instructions.  CUDA's headers come with the plug-ins' compiler.
CUDA_EMULATOR := $(BUILD)/cuda_emulator
CUDA_EMULATOR_SOURCES := $(wildcard conformance/cuda_emulator/*.cpp conformance/fake_cuda/*.cpp)
CUDA_EMULATOR_OBJECTS := $(patsubst %.cpp,$(OBJ)/cuda_emulator/%.o,$(CUDA_EMULATOR_SOURCES))
$(CUDA_EMULATOR)/libcuda.so.1: $(CUDA_EMULATOR_OBJECTS)
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) -shared -Wl,-soname,libcuda.so.1,-z,defs -o $@ $^ -lpthread
$(OBJ)/cuda_emulator/%.o: %.cpp $(BUILD)/flags | plugins
	@mkdir -p $(@D)
	$(call say,CXX,"$< (cuda_emulator)")
	$(Q)$(CXX) $(CPPFLAGS) -isystem $(CUDA_INCLUDE) $(CXXFLAGS) -O3 -fno-trapping-math -ffp-contract=fast -MMD -MP -c -o $@ $<
-include $(CUDA_EMULATOR_OBJECTS:.o=.d)

# kernels/cuda as the kernels see it: its own headers, but for those that have a stand-in.  Links, since a header finds its neighbours in the
# folder of the name by which it was opened.
CUDA_EMULATOR_STANDINS := $(wildcard conformance/cuda_emulator/device/*.cuh)
CUDA_EMULATOR_TREE := $(CUDA_EMULATOR)/include
$(CUDA_EMULATOR_TREE)/done: $(wildcard kernels/cuda/*.cuh kernels/cuda/*.h) $(CUDA_EMULATOR_STANDINS) conformance/cuda_emulator/cuda_emulator.mk
	@rm -rf $(@D) && mkdir -p $(@D)/kernels/cuda
	$(Q)ln -s $(CURDIR)/kernels/common $(CURDIR)/kernels/gpu $(@D)/kernels/
	$(Q)ln -s $(addprefix $(CURDIR)/,$(filter-out $(patsubst conformance/cuda_emulator/device/%,kernels/cuda/%,$(CUDA_EMULATOR_STANDINS)),$(wildcard kernels/cuda/*.cuh kernels/cuda/*.h))) $(@D)/kernels/cuda/
	$(Q)ln -s $(addprefix $(CURDIR)/,$(CUDA_EMULATOR_STANDINS)) $(@D)/kernels/cuda/
	@touch $@

# The kernels are written for another compiler, whose pragmas and unused words are not ours to judge; they are compiled to be fast.
CUDA_EMULATOR_KERNEL_FLAGS = -std=c++20 -O2 -fPIC -fvisibility=hidden -fno-math-errno -fno-strict-aliasing -fno-extern-tls-init -mtls-dialect=gnu2 \
  -Wall -Wextra -Werror -Wno-unknown-pragmas -Wno-psabi \
  -I$(CUDA_EMULATOR_TREE) -I. -isystem $(CUDA_INCLUDE) -include conformance/cuda_emulator/device/prelude.h
# For tests that compile kernels of their own.
$(CUDA_EMULATOR)/kernel_flags: conformance/cuda_emulator/cuda_emulator.mk
	@mkdir -p $(@D)
	@echo $(CUDA_EMULATOR_KERNEL_FLAGS) > $@
# $(1) name, $(2) source, $(3) generated headers
define cuda_emulator_kernels
CUDA_EMULATOR_KERNELS += $(CUDA_EMULATOR)/kernels/$(1).so
$(OBJ)/cuda_emulator/kernels/$(1).o: $(2) $(CUDA_EMULATOR_TREE)/done $(3) $(BUILD)/flags | plugins
	@mkdir -p $$(@D)
	$$(call say,CXX,"$$< (cuda_emulator)")
	$$(Q)$$(CXX) $(addprefix -I,$(dir $(3))) $$(CUDA_EMULATOR_KERNEL_FLAGS) -MMD -MP -c -o $$@ -x c++ $$<
$(OBJ)/cuda_emulator/kernels/$(1)-shared.s: $(OBJ)/cuda_emulator/kernels/$(1).o conformance/cuda_emulator/device/dynamic_memory.sh
	$$(Q)conformance/cuda_emulator/device/dynamic_memory.sh $$< > $$@
$(CUDA_EMULATOR)/kernels/$(1).so: $(OBJ)/cuda_emulator/kernels/$(1).o $(OBJ)/cuda_emulator/kernels/$(1)-shared.s $(CUDA_EMULATOR)/libcuda.so.1
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(CXX) -shared -Wl,-z,defs -o $$@ $$^
-include $(OBJ)/cuda_emulator/kernels/$(1).d
endef
# Layers that have cases for it.
CUDA_EMULATOR_LAYERS := $(patsubst layers/%/tests/emulator_cases.json,%,$(wildcard layers/*/tests/emulator_cases.json))
$(foreach layer,$(CUDA_EMULATOR_LAYERS),$(eval $(call \
  cuda_emulator_kernels,$(layer)-cuda_sm90a,layers/$(layer)/cuda_sm90a.cu,$(GEN)/$(layer)/contract.h)))
# The primitives' tests, which have passed on silicon: the emulator must pass them too.
$(eval $(call cuda_emulator_kernels,kernels-cuda-primitives_test,kernels/cuda/tests/primitives.cu))
.PHONY: cuda_emulator
cuda_emulator: $(CUDA_EMULATOR)/libcuda.so.1 $(CUDA_EMULATOR_KERNELS) $(CUDA_EMULATOR)/kernel_flags  ## the driver that executes the Hopper kernels' source on a machine without such a GPU

CUDA_EMULATOR_SCRIPTS := conformance/cuda_emulator/tests/conform_test.sh conformance/cuda_emulator/tests/primitives_test.sh
CUDA_EMULATOR_SLOW_SCRIPTS := $(addprefix conformance/cuda_emulator/tests/,faults_test.sh conform_whole_test.sh)
$(CUDA_EMULATOR_SCRIPTS) $(CUDA_EMULATOR_SLOW_SCRIPTS): | cuda_emulator plugins $(BIN)/lamina $(BIN)/kernels-cuda-primitives_test
TESTS += $(CUDA_EMULATOR_SCRIPTS)
SLOW_TESTS += $(CUDA_EMULATOR_SLOW_SCRIPTS)
