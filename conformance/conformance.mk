# libconformance.a, what proves it, and the proofs of the ABI, the arrows and every build.
include conformance/hip_emulator/hip_emulator.mk
include conformance/cuda_emulator/cuda_emulator.mk
CONFORMANCE_SOURCES := $(wildcard conformance/*.cpp)
CONFORMANCE_OBJECTS := $(call objects,$(CONFORMANCE_SOURCES))
CONFORMANCE_LINK := $(LIB)/libconformance.a $(LIB)/libmanifest.a
$(LIB)/libconformance.a: $(CONFORMANCE_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $(CONFORMANCE_OBJECTS)

CONFORMANCE_PROGRAMS := $(patsubst conformance/tests/%.cpp,$(BIN)/conformance-%,$(wildcard conformance/tests/*.cpp))
$(CONFORMANCE_PROGRAMS): $(BIN)/conformance-%: $(OBJ)/conformance/tests/%.o $(CONFORMANCE_LINK) | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(CONFORMANCE_LINK) $(MANIFEST_LIBS) -ldl -lpthread
# They read what lies in build/plugins.
CUDA_HOST_TESTS := $(addprefix $(BIN)/conformance-,fake_cuda cuda_host_path cuda_streams)
$(BIN)/conformance-audit_plugins $(CUDA_HOST_TESTS): | plugins
$(CUDA_HOST_TESTS): | fake_cuda

# The stand-in driver of tests without a GPU; beside it one that is too old, and a file that is none.  The headers of CUDA come with the
# CUDA builds' compiler.
FAKE_CUDA := $(BUILD)/fake_cuda
.PHONY: fake_cuda
fake_cuda: $(FAKE_CUDA)/libcuda.so.1 $(FAKE_CUDA)/ancient/libcuda.so.1 $(FAKE_CUDA)/broken/libcuda.so.1
$(FAKE_CUDA)/libcuda.so.1: $(wildcard conformance/fake_cuda/*.cpp conformance/fake_cuda/*.h) $(BUILD)/flags | plugins
	@mkdir -p $(@D)
	$(call say,LINK,$@)
	$(Q)$(CXX) $(CPPFLAGS) -isystem $(CUDA_INCLUDE) $(CXXFLAGS) -shared -Wl,-soname,libcuda.so.1,-z,defs -o $@ $(filter %.cpp,$^)
$(FAKE_CUDA)/ancient/libcuda.so.1: conformance/fake_cuda/ancient.c
	@mkdir -p $(@D)
	$(Q)$(CC) $(CFLAGS) -shared -Wl,-soname,libcuda.so.1 -o $@ $<
$(FAKE_CUDA)/broken/libcuda.so.1:
	@mkdir -p $(@D) && : > $@

# A layer's own test programs see conformance: layers/<layer>/tests/<name>.cpp is build/bin/<layer>-<name>.
LAYER_PROGRAMS := $(foreach source,$(wildcard layers/*/tests/*.cpp),$(BIN)/$(word 2,$(subst /, ,$(source)))-$(basename $(notdir $(source))))
define layer_program
$(BIN)/$(word 2,$(subst /, ,$(1)))-$(basename $(notdir $(1))): $(OBJ)/$(1:.cpp=.o) $(CONFORMANCE_LINK) | $(BIN)/
	$$(call say,LINK,$$@)
	$$(Q)$$(CXX) $$(LDFLAGS) -o $$@ $$< $$(CONFORMANCE_LINK) $$(MANIFEST_LIBS) -ldl -lpthread
endef
$(foreach source,$(wildcard layers/*/tests/*.cpp),$(eval $(call layer_program,$(source))))
PROGRAMS += $(LAYER_PROGRAMS)
$(filter %-cuda_launches_test,$(LAYER_PROGRAMS)): | fake_cuda

CHECKS += abi/tests/header_test.sh abi/tests/layout_test.sh .ci/check-arrows $(BIN)/conformance-audit_plugins
TESTS += $(BIN)/conformance-units_test $(CUDA_HOST_TESTS) conformance/tests/arrows_test.sh \
  conformance/tests/cuda_bundle_test.sh conformance/tests/sanitize_test.sh conformance/tests/frozen_test.sh conformance/tests/conform_verb_test.sh \
  conformance/tests/mutants_test.sh conformance/tests/conform_builds_test.sh $(wildcard layers/*/tests/*_test.sh) $(filter %_test,$(LAYER_PROGRAMS))
SLOW_TESTS += conformance/tests/kernel_abi_check_test.sh conformance/tests/sanitizers_test.sh

# MEASUREMENT=docs/measurements/h200_conformance.txt keeps what was found; GPU_OPTIONS goes to gpu.sh.
MEASUREMENT := $(BUILD)/gpu_conformance.txt
GPU_PROGRAMS := $(BIN)/lamina $(BIN)/conformance-device_gpu $(BIN)/kernels-cuda-primitives_test $(BIN)/kernels-cuda-planted_faults $(filter-out %_test,$(LAYER_PROGRAMS))
.PHONY: test-gpu
test-gpu: everything $(GPU_PROGRAMS)  ## on a machine with a GPU: every CUDA build through all cases, and the problem of more than 2^31 elements
	conformance/tests/gpu.sh --measurement $(MEASUREMENT) $(GPU_OPTIONS)

.PHONY: test-gpu-sanitize
test-gpu-sanitize: everything $(GPU_PROGRAMS)  ## on a machine with a GPU: small cases of every CUDA build under compute-sanitizer
	conformance/tests/gpu.sh --sanitize --measurement $(MEASUREMENT) $(GPU_OPTIONS)

# The same for a GPU machine without compilers: copy the folder there and run conformance/tests/gpu.sh --prebuilt in it.
GPU_KIT := $(BUILD)/gpu-kit
.PHONY: gpu-kit
gpu-kit: plugins $(GPU_PROGRAMS)  ## everything that conformance/tests/gpu.sh --prebuilt needs, stripped, as one folder in build/
	$(call say,KIT,$(GPU_KIT))
	$(Q)rm -rf $(GPU_KIT) && mkdir -p $(GPU_KIT)/build/bin $(GPU_KIT)/build/plugins $(GPU_KIT)/conformance/tests/probe
	$(Q)conformance/tests/probe/probe.sh --build
	$(Q)cp -r build/probe $(GPU_KIT)/build/
	$(Q)for program in $(GPU_PROGRAMS); do strip -o $(GPU_KIT)/build/bin/$$(basename $$program) $$program; done
	$(Q)mkdir -p $(GPU_KIT)/build/kit-lib && ldd $(GPU_PROGRAMS) | awk '/=> \// { print $$3 }' | sort -u | \
	  grep -vE '/(libc|libm|libdl|libpthread|librt|libresolv)\.so' | xargs -I% cp -L % $(GPU_KIT)/build/kit-lib/
	$(Q)cp $(ALL_PLUGINS) $(GPU_KIT)/build/plugins/
	$(Q)cp conformance/tests/gpu.sh conformance/tests/sanitize.sh $(GPU_KIT)/conformance/tests/ && cp conformance/tests/probe/probe.sh conformance/tests/probe/cases.json $(GPU_KIT)/conformance/tests/probe/
	$(Q)cp --parents layers/*/contract.json layers/*/cases.json layers/*/tests/sanitizer_cases.json $(GPU_KIT)/
	$(Q)git describe --always --abbrev=40 --dirty > $(GPU_KIT)/build/gpu-kit-commit
