# nvcc and the device half of CUDA builds.
#
# A toolkit of the machine is used if its nvcc is this very one; else `make` installs NVIDIA's compiler packages into build/cuda-toolkit with
# pip.  The two give the same bytes: kernels/cuda/README.md.
CUDA_RELEASE := 13.0
NVCC_VERSION := 13.0.88
CUDA_HOME ?= $(firstword $(foreach home,/usr/local/cuda-$(CUDA_RELEASE) /usr/local/cuda /usr/lib/cuda,$(if $(wildcard $(home)/include/cuda.h),$(if $(shell \
  $(home)/bin/nvcc --version 2>/dev/null | grep -o 'V$(NVCC_VERSION)$$'),$(home)))) $(BUILD)/cuda-toolkit/nvidia/cu13)
NVCC := $(CUDA_HOME)/bin/nvcc
CUDA_INCLUDE := $(CUDA_HOME)/include
CUDA_READY := $(if $(filter $(BUILD)/%,$(CUDA_HOME)),$(BUILD)/cuda-toolkit/done)

$(BUILD)/cuda-toolkit/done: kernels/cuda/toolkit.txt
	$(call say,PIP,"$(BUILD)/cuda-toolkit (nvcc $(NVCC_VERSION))")
	$(Q)rm -rf $(@D) && python3 -m venv $(@D)/venv
	$(Q)$(@D)/venv/bin/pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary :all: --target $(@D) --requirement $<
	$(Q)chmod -R u+x $(CUDA_HOME)/bin $(CUDA_HOME)/nvvm/bin
	$(Q)touch $@

# Machine code for each named GPU, PTX for a named virtual one.
NVCC_FLAGS := -std=c++20 -O3 -I. --expt-relaxed-constexpr -Werror all-warnings
gencode = $(foreach target,$(1),-gencode arch=$(subst sm_,compute_,$(target)),code=$(target))

# $(call cuda_device_objects,LAYER,ARCH): what a plug-in links beside its host objects.
cuda_device_objects = $(OBJ)/plugins/$(1)/$(2)/device_code.o

# $(1) layer, $(2) arch
define device_code_rules
$(OBJ)/plugins/$(1)/$(2)/device_code.fatbin: layers/$(1)/$(2).cu $(CUDA_READY) kernels/cuda/cuda.mk kernels/archs.mk $(GEN)/$(1)/contract.h
	@mkdir -p $$(@D)
	$$(call say,NVCC,"$$< ($(arch.$(2).device))")
	$$(Q)$$(NVCC) $$(NVCC_FLAGS) -I$(GEN)/$(1) $(call gencode,$(arch.$(2).device)) -fatbin -MD -MP -MF $$@.d -MT $$@ -o $$@ $$<
$(OBJ)/plugins/$(1)/$(2)/device_code.o: $(OBJ)/plugins/$(1)/$(2)/device_code.fatbin kernels/cuda/embed.S
	$$(Q)$$(CC) -DLAMINA_DEVICE_CODE='"$$<"' -c -o $$@ kernels/cuda/embed.S
$(foreach half,kernels/cuda/driver.cpp kernels/cuda/device_code.cpp layers/$(1)/$(2).cu,$(OBJ)/plugins/$(1)/$(2)/$(half).o): | $(CUDA_READY)
-include $(OBJ)/plugins/$(1)/$(2)/device_code.fatbin.d
endef
cuda_archs = $(filter cuda_%,$(ARCHS))
$(foreach contract,$(wildcard layers/*/contract.json),$(foreach arch,$(cuda_archs),$(if $(wildcard $(dir $(contract))$(arch).cu),$(eval $(call \
  device_code_rules,$(notdir $(patsubst %/,%,$(dir $(contract)))),$(arch))))))
