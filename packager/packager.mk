# libpackager.a: builds in, bundle out.
PACKAGER_OBJECTS := $(call objects,$(wildcard packager/*.cpp)) $(OBJ)/$(GEN)/packager/templates.o

PACKAGER_TEMPLATES := $(sort $(wildcard packager/templates/*.py))
# One literal a file: a compiler takes 64 KB of them at most.
$(GEN)/packager/templates.cpp: $(PACKAGER_TEMPLATES) packager/packager.mk
	@mkdir -p $(@D)
	$(call say,EMBED,$@)
	$(Q){ printf '// Generated from packager/templates; do not edit.\n#include "packager/templates.h"\n\nnamespace lamina::packager {\n\n'; \
	  printf 'const std::vector<std::pair<std::string_view, std::string_view>> python_templates = {\n'; \
	  for file in $(PACKAGER_TEMPLATES); do \
	    printf '{"_%s", R"TEMPLATE(' "$${file##*/}"; cat $$file; printf ')TEMPLATE"},\n'; done; \
	  printf '};\n\n}  // namespace lamina::packager\n'; } > $@.new && mv $@.new $@

$(LIB)/libpackager.a: $(PACKAGER_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $(PACKAGER_OBJECTS)

# They run the program on the builds of this tree: `make test` makes both first.
TESTS += $(sort $(wildcard packager/tests/*_test.sh))

# Python: one environment holds torch, the others lie over it (a .pth file) and differ in the versions of the hub's libraries; `hosts` lies
# over the one with transformers.  Made before the tests start, not within the time of one.
PYTHON_TESTS := $(sort $(wildcard packager/tests/python_*.sh))
SLOW_TESTS += $(PYTHON_TESTS)
PYTHON := $(BUILD)/python
PYTHON_SETS := kernels_0_16_transformers kernels_0_17_hub_1 kernels_0_17_hub_2
packager/tests/python_resolver.sh: $(BIN)/packager-resolver_lines
$(BIN)/packager-resolver_lines: $(OBJ)/packager/tests/resolver_lines.o $(OBJ)/hub_client/resolve.o | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^
$(PYTHON_TESTS): $(PYTHON_SETS:%=$(PYTHON)/%/installed) $(PYTHON)/hosts/installed $(PYTHON)/models/installed
packager/tests/python_models.sh: $(BIN)/sentence_embeddings
pip = $(1)/bin/pip install --quiet --disable-pip-version-check --retries 1
$(PYTHON)/torch/installed: packager/tests/environments/torch.txt
	@rm -rf $(@D)
	$(call say,VENV,$(@D))
	$(Q)python3 -m venv $(@D)
	$(Q)$(call pip,$(@D)) --extra-index-url https://download.pytorch.org/whl/cpu -r $<
	@touch $@
# $(call python_over,FOLDERS): a new environment that also sees the packages of those.
python_over = rm -rf $(@D) && python3 -m venv $(@D) && \
  for below in $(1); do echo $(CURDIR)/$(PYTHON)/$$below/lib/python3*/site-packages; done > $$(echo $(@D)/lib/python3*/site-packages)/below.pth
$(PYTHON_SETS:%=$(PYTHON)/%/installed): $(PYTHON)/%/installed: packager/tests/environments/%.txt $(PYTHON)/torch/installed
	$(call say,VENV,$(@D))
	$(Q)$(call python_over,torch)
	$(Q)$(call pip,$(@D)) -r $<
	@touch $@
$(PYTHON)/hosts/installed: packager/tests/environments/hosts.txt packager/tests/environments/hosts_alone.txt $(PYTHON)/kernels_0_16_transformers/installed
	$(call say,VENV,$(@D))
	$(Q)$(call python_over,torch kernels_0_16_transformers)
	$(Q)$(call pip,$(@D)) -r $<
	$(Q)$(call pip,$(@D)) --no-deps -r $(word 2,$^)
	@touch $@
$(PYTHON)/models/installed: packager/tests/environments/models.txt $(PYTHON)/kernels_0_16_transformers/installed
	$(call say,VENV,$(@D))
	$(Q)$(call python_over,torch kernels_0_16_transformers)
	$(Q)$(call pip,$(@D)) --no-deps -r $<
	@touch $@

# For a GPU machine without compilers or network: packager/tests/on_gpu.sh and all that it runs, as a folder and as one archive of it.
# GPU_PYTHON is that machine's Python, GPU_BACKEND its variant; HUB_TRITON a folder that holds esmfold2_trimul, if that is to be timed too.
GPU_PYTHON ?= 3.12
GPU_BACKEND ?= cu130
PYTHON_KIT := $(BUILD)/python-gpu-kit
PYTHON_KIT_PLUGINS = $(foreach arch,cuda_sm90a cuda_sm80,$(call plugin_file,triangle_multiplication,$(arch)) $(PLUGINS)/tvm_ffi/triangle_multiplication-$(version.triangle_multiplication)-$(arch)-tvm_ffi.so)
.PHONY: python-gpu-kit
python-gpu-kit: $(PYTHON_KIT_PLUGINS) $(GEN)/archs.json $(BIN)/lamina $(LIB)/liblamina_xla.so  ## what packager/tests/on_gpu.sh needs, as one archive in build/
	$(call say,KIT,$(PYTHON_KIT).tar.gz)
	$(Q)rm -rf $(PYTHON_KIT) && mkdir -p $(PYTHON_KIT)/build/plugins/tvm_ffi
	$(Q)$(BIN)/lamina pack triangle_multiplication --org acme --counter 1 --only-backend $(GPU_BACKEND) --tvm-ffi --out $(PYTHON_KIT)/bundle >/dev/null
	$(Q)for file in $(PYTHON_KIT_PLUGINS); do ln -s "$$(cd $(PYTHON_KIT) && realpath --relative-to=$$(dirname $$file) bundle/build/*/$$(basename $$file))" $(PYTHON_KIT)/$$file; done
	$(Q)cp --parents packager/tests/*.py packager/tests/on_gpu.sh bench/gpu/esmfold2.py examples/data/proteins.fasta adapters/tests/*.sh adapters/tests/*.py adapters/xla/*.py \
	  layers/triangle_multiplication/contract.json layers/triangle_multiplication/hosts/*.json layers/triangle_multiplication/golden/*.safetensors $(LIB)/liblamina_xla.so $(PYTHON_KIT)/
	$(Q)$(if $(HUB_TRITON),mkdir $(PYTHON_KIT)/hub-triton && cp -r $(HUB_TRITON)/esmfold2_trimul $(PYTHON_KIT)/hub-triton/)
	$(Q)python3 -m venv $(PYTHON_KIT).venv && $(PYTHON_KIT).venv/bin/pip install --quiet --disable-pip-version-check --no-deps --only-binary :all: --python-version $(GPU_PYTHON) --implementation cp \
	  $(foreach glibc,2_28 2_27 2_24 2_17,--platform manylinux_$(glibc)_x86_64) --platform manylinux2014_x86_64 --no-compile --target $(PYTHON_KIT)/site -r packager/tests/environments/gpu.txt && \
	  rm -rf $(PYTHON_KIT).venv
	$(Q)tar -C $(PYTHON_KIT) -czf $(PYTHON_KIT).tar.gz .
