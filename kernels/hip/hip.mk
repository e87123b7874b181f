# The device half of HIP builds: code objects by Debian's clang, no ROCm needed.
HIP_CLANG := clang-19
HIP_FLAGS := -x hip -nogpuinc -nogpulib -std=c++20 -O3 -ffp-contract=fast --cuda-device-only --no-gpu-bundle-output -Wall -Wextra -Werror -I.

# $(call hip_device_objects,LAYER,ARCH): what a plug-in links beside its host objects: a code object in each format that arch.ARCH.formats
# names, as lamina_device_code_FORMAT.
hip_device_objects = $(foreach format,$(arch.$(2).formats),$(OBJ)/plugins/$(1)/$(2)/device_code_$(format).o)

# $(1) layer, $(2) arch, $(3) format
define hip_device_code_rules
$(OBJ)/plugins/$(1)/$(2)/device_code_$(3).co: layers/$(1)/$(2).hip kernels/hip/hip.mk kernels/archs.mk
	@mkdir -p $$(@D)
	$$(call say,CLANG,"$$< ($(arch.$(2).device), code object $(3))")
	$$(Q)$$(HIP_CLANG) $$(HIP_FLAGS) -mcode-object-version=$(3) --offload-arch=$(arch.$(2).device) -MD -MP -MF $$@.d -MT $$@ -o $$@ $$<
$(OBJ)/plugins/$(1)/$(2)/device_code_$(3).o: $(OBJ)/plugins/$(1)/$(2)/device_code_$(3).co kernels/hip/embed.S
	$$(Q)$$(CC) -DLAMINA_DEVICE_CODE='"$$<"' -DLAMINA_SYMBOL=lamina_device_code_$(3) -c -o $$@ kernels/hip/embed.S
-include $(OBJ)/plugins/$(1)/$(2)/device_code_$(3).co.d
endef
hip_archs = $(filter hip_%,$(ARCHS))
$(foreach contract,$(wildcard layers/*/contract.json),$(foreach arch,$(hip_archs),$(if $(wildcard $(dir $(contract))$(arch).hip),$(foreach \
  format,$(arch.$(arch).formats),$(eval $(call hip_device_code_rules,$(notdir $(patsubst %/,%,$(dir $(contract)))),$(arch),$(format)))))))

# The newest format's code objects of every HIP build, and each layer's budget for them.
hip_objects_of = $(foreach arch,$(hip_archs),$(if $(wildcard layers/$(1)/$(arch).hip),$(OBJ)/plugins/$(1)/$(arch)/device_code_$(firstword $(arch.$(arch).formats)).co))
HIP_LAYERS := $(sort $(foreach arch,$(hip_archs),$(patsubst layers/%/$(arch).hip,%,$(wildcard layers/*/$(arch).hip))))
.PHONY: isa-report
isa-report:  ## registers, LDS and MFMA share of every HIP kernel, against the committed budget
	$(Q)$(foreach layer,$(HIP_LAYERS),python3 kernels/hip/isa_report.py layers/$(layer)/tests/isa_budget.txt $(call hip_objects_of,$(layer)) &&) true
isa-report: $(foreach layer,$(HIP_LAYERS),$(call hip_objects_of,$(layer)))
TESTS += kernels/hip/tests/isa_report_test.sh
