# The device half of HIP builds: code objects by Debian's clang (gfx950: by the ziglang wheel's), no ROCm needed.
HIP_CLANG := clang-19
HIP_FLAGS := -x hip -nogpuinc -nogpulib -std=c++20 -O3 -ffp-contract=fast --cuda-device-only --no-gpu-bundle-output -Wall -Wextra -Werror -I.

# $(call hip_device_objects,LAYER,ARCH): what a plug-in links beside its host objects: a code object in each format that arch.ARCH.formats
# names, as lamina_device_code_FORMAT.
hip_device_objects = $(foreach format,$(arch.$(2).formats),$(OBJ)/plugins/$(1)/$(2)/device_code_$(format).o)

# How a code object is made: $(1) arch, $(2) format; of $<, into $@.
hip_compile = $(Q)$(HIP_CLANG) $(HIP_FLAGS) -mcode-object-version=$(2) --offload-arch=$(arch.$(1).device) -MD -MP -MF $@.d -MT $@ -o $@ $<
# The wheel's clang finds neither headers nor linker by itself, and names no dependencies.
ZIGLANG = $(ZIGLANG_PYTHON) -m ziglang
ziglang_include = $(addprefix -isystem ,/usr/include/c++/$(1) /usr/include/$(HOST_CPU)-linux-gnu/c++/$(1) $(2)/lib/include /usr/include/$(HOST_CPU)-linux-gnu /usr/include)
hip_compile_ziglang = $(Q)$(ZIGLANG) clang $(HIP_FLAGS) -nostdinc $(call ziglang_include,$(shell $(CXX) -dumpversion),$(shell $(ZIGLANG_PYTHON) -c \
  'import ziglang, os; print(os.path.dirname(ziglang.__file__))')) -mcode-object-version=$(2) --offload-arch=$(arch.$(1).device) -S -o $@.s $< && \
  $(ZIGLANG) clang -cc1as -triple amdgcn-amd-amdhsa -target-cpu $(arch.$(1).device) -filetype obj -o $@.o $@.s && $(ZIGLANG) ld.lld -shared $@.o -o $@

# $(1) layer, $(2) arch, $(3) format
define hip_device_code_rules
$(OBJ)/plugins/$(1)/$(2)/device_code_$(3).co: layers/$(1)/$(2).hip kernels/hip/hip.mk kernels/archs.mk $(if $(arch.$(2).compiler),$(wildcard layers/$(1)/*.h layers/$(1)/*.cuh kernels/hip/*.h kernels/gpu/*))
	@mkdir -p $$(@D)
	$$(call say,CLANG,"$$< ($(arch.$(2).device), code object $(3))")
	$$(call hip_compile$(addprefix _,$(arch.$(2).compiler)),$(2),$(3))
$(OBJ)/plugins/$(1)/$(2)/device_code_$(3).o: $(OBJ)/plugins/$(1)/$(2)/device_code_$(3).co kernels/hip/embed.S
	$$(Q)$$(CC) -DLAMINA_DEVICE_CODE='"$$<"' -DLAMINA_SYMBOL=lamina_device_code_$(3) -c -o $$@ kernels/hip/embed.S
-include $(OBJ)/plugins/$(1)/$(2)/device_code_$(3).co.d
endef
hip_archs = $(filter hip_%,$(ARCHS))
$(foreach contract,$(wildcard layers/*/contract.json),$(foreach arch,$(hip_archs),$(if $(wildcard $(dir $(contract))$(arch).hip),$(foreach \
  format,$(arch.$(arch).formats),$(eval $(call hip_device_code_rules,$(notdir $(patsubst %/,%,$(dir $(contract)))),$(arch),$(format)))))))

# The newest format's code objects of every HIP build, and each layer's budget for them.
# llvm-objdump-19 does not know what another compiler's GPU can do; the emulator's listing does.
hip_objects_of = $(foreach arch,$(hip_archs),$(if $(wildcard layers/$(1)/$(arch).hip),$(OBJ)/plugins/$(1)/$(arch)/device_code_$(firstword $(arch.$(arch).formats)).co))
HIP_LAYERS := $(sort $(foreach arch,$(hip_archs),$(patsubst layers/%/$(arch).hip,%,$(wildcard layers/*/$(arch).hip))))
.PHONY: isa-report
isa-report:  ## registers, LDS and MFMA share of every HIP kernel, against the committed budget
	$(Q)$(foreach layer,$(HIP_LAYERS),python3 kernels/hip/isa_report.py layers/$(layer)/tests/isa_budget.txt $(call hip_objects_of,$(layer)) &&) true
isa-report: $(foreach layer,$(HIP_LAYERS),$(call hip_objects_of,$(layer))) $(if $(filter hip_gfx950,$(ARCHS)),$(BIN)/hip_emulator-listing)
TESTS += kernels/hip/tests/isa_report_test.sh

# What is left out says so.
ifeq ($(filter hip_gfx950,$(ARCHS)),)
.PHONY: hip_gfx950_left_out
hip_gfx950_left_out:
	@printf '  %-6s %s\n' SKIP 'hip_gfx950: python3 has no ziglang (pip install ziglang==0.17.0); or make ZIGLANG_PYTHON=/path/to/python'
plugins isa-report: hip_gfx950_left_out
endif

# The list of archs changes with the compilers of the machine, and what is made of it follows.
$(BUILD)/archs: FORCE | $(BUILD)/
	@echo '$(ARCHS)' | cmp -s - $@ || echo '$(ARCHS)' > $@
$(GEN)/archs.json: $(BUILD)/archs
