# Plug-ins: one shared object per (layer, arch).  The folder is the registry: a layer is a folder with a contract.json, a build is a
# file (or a folder) with an arch's name.
LAYERS := $(patsubst layers/%/contract.json,%,$(wildcard layers/*/contract.json))
HOST_CPU := $(shell uname -m)

$(foreach layer,$(LAYERS),$(eval version.$(layer) := $(shell sed -n 's/^ *"version": *"\([0-9.]*\)".*/\1/p' layers/$(layer)/contract.json | head -1)))
arch_source = $(wildcard layers/$(1)/$(2).$(arch.$(2).source) layers/$(1)/$(2)/*.$(arch.$(2).source))
$(foreach layer,$(LAYERS),$(eval archs.$(layer) := $(foreach arch,$(ARCHS),$(if $(call arch_source,$(layer),$(arch)),$(arch)))))
plugin_file = $(PLUGINS)/$(1)-$(version.$(1))-$(2).so
ALL_PLUGINS := $(foreach layer,$(LAYERS),$(foreach arch,$(archs.$(layer)),$(call plugin_file,$(layer),$(arch))))

# No exceptions, no RTTI, no static constructors, no libstdc++: see docs/decisions/0001.
PLUGIN_CXXFLAGS := -std=c++20 $(OPTIMIZE) -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -fno-threadsafe-statics -fno-gnu-unique \
  -fno-math-errno -fno-asynchronous-unwind-tables -fno-unwind-tables -Wall -Wextra -Werror -ffile-prefix-map=$(CURDIR)=.
PLUGIN_STUBS := $(BUILD)/stubs/$(HOST_CPU)
PLUGIN_LIBRARIES := $(addprefix $(PLUGIN_STUBS)/,libc.so.6 libm.so.6 libdl.so.2 libpthread.so.0)
PLUGIN_LINK := $(CC) -shared -nostartfiles -nodefaultlibs -Wl,--version-script=plugin/export.map,-z,defs,-z,nodelete,-z,noexecstack,-z,relro,-z,now \
  -Wl,-Bsymbolic,--build-id=sha1,--hash-style=gnu
# `make WITHOUT=AVX512BF16 BUILD=...` makes builds that do not see this processor feature.
PLUGIN_CXXFLAGS += $(addprefix -DLAMINA_WITHOUT_,$(WITHOUT))
# Sanitizer builds replace both: they need the real C library and undefined symbols.
ifdef SANITIZE
PLUGIN_CXXFLAGS += -fsanitize=$(SANITIZE) -fno-omit-frame-pointer -g
PLUGIN_LINK := $(CXX) -shared -fsanitize=$(SANITIZE) -Wl,--version-script=plugin/export.map,-z,nodelete,-Bsymbolic
PLUGIN_LIBRARIES := -lm -ldl -lpthread
endif

$(BUILD)/stubs/%/done: plugin/glibc_%.txt plugin/make_stubs.sh
	$(call say,STUBS,$<)
	$(Q)CC=$(CC) plugin/make_stubs.sh $< $(@D)

$(BIN)/make_table: manifest/make_table.cpp | $(BIN)/
	$(call say,CXX,$<)
	$(Q)$(CXX) -std=c++20 -O0 -Wall -Wextra -Werror -o $@ $<
define contract_rule
$(GEN)/$(1)/contract.h: layers/$(1)/contract.json $(BIN)/make_table
	@mkdir -p $$(@D)
	$$(Q)$(BIN)/make_table $$< > $$@.new && mv $$@.new $$@
endef
$(foreach layer,$(LAYERS),$(eval $(call contract_rule,$(layer))))

# What every machine must have for each arch, for packager and client: kernels/archs.mk as JSON.
$(GEN)/archs.json: kernels/archs.mk layers/layers.mk | $(GEN)/
	@printf '{\n' > $@.new
	@$(foreach arch,$(ARCHS),printf '  "%s": {"rank": %d, "backend": "%s", "requires": %s}%s\n' $(arch) $(words $(filter-out none,$(before.$(arch)))) \
	  '$(arch.$(arch).backend)' '$(arch.$(arch).requires)' '$(if $(filter $(arch),$(lastword $(ARCHS))),,$(comma))' >> $@.new;)
	@printf '}\n' >> $@.new && mv $@.new $@
comma := ,
before :=
$(foreach arch,$(ARCHS),$(eval before.$(arch) := $(before))$(eval before += $(arch)))

kernel_sources.cpu := $(wildcard kernels/cpu/*.cpp)
kernel_sources.cuda := $(wildcard kernels/cuda/*.cpp)
kernel_sources.hip := $(wildcard kernels/hip/*.cpp)
family = $(firstword $(subst _, ,$(1)))

# $(1) layer, $(2) arch
define plugin_rules
$(1).$(2).objects := $(OBJ)/plugins/$(1)/$(2)
$(1).$(2).host := $$(patsubst %,$$($(1).$(2).objects)/%.o,plugin/bind.cpp plugin/plan.cpp layers/$(1)/layer.cpp $(kernel_sources.$(call family,$(2))) $(call arch_source,$(1),$(2)))

$$($(1).$(2).objects)/layers/$(1)/%.o: layers/$(1)/% $(GEN)/$(1)/contract.h $(BUILD)/flags layers/layers.mk kernels/archs.mk
	@mkdir -p $$(@D)
	$$(call say,CXX,"$$< ($(2))")
	$$(Q)$(CXX) -I. -I$(GEN)/$(1) $(if $(filter cuda,$(call family,$(2))),-isystem $$(CUDA_INCLUDE)) $(PLUGIN_CXXFLAGS) $$(if $$(findstring layer.cpp,$$<),,$(arch.$(2).flags)) \
	  -DLAMINA_ARCH='"$(2)"' -MMD -MP -c -o $$@ -x c++ $$<
$$($(1).$(2).objects)/%.cpp.o: %.cpp $(BUILD)/flags layers/layers.mk
	@mkdir -p $$(@D)
	$$(call say,CXX,"$$< ($(2))")
	$$(Q)$(CXX) -I. $(if $(filter cuda,$(call family,$(2))),-isystem $$(CUDA_INCLUDE)) $(PLUGIN_CXXFLAGS) -DLAMINA_ARCH='"$(2)"' -MMD -MP -c -o $$@ $$<
$$($(1).$(2).objects)/contract.o: plugin/contract.S layers/$(1)/contract.json layers/layers.mk
	@mkdir -p $$(@D)
	$$(Q)$(CC) -DLAMINA_CONTRACT='"layers/$(1)/contract.json"' -c -o $$@ $$<
# The build id names the code: a digest of everything that is linked.
$$($(1).$(2).objects)/build_id.o: $$($(1).$(2).host) $(call $(call family,$(2))_device_objects,$(1),$(2)) $$($(1).$(2).objects)/contract.o
	$$(Q)printf 'extern const char lamina_build_id[] __attribute__((section(".lamina.build_id"))) = "%s";' "$$$$(cat $$^ | sha256sum | cut -c1-16)" | \
	  $(CXX) $(PLUGIN_CXXFLAGS) -Wno-pedantic -xc++ -c -o $$@ -
$(call plugin_file,$(1),$(2)): $$($(1).$(2).objects)/build_id.o plugin/export.map $(if $(SANITIZE),,$(PLUGIN_STUBS)/done)
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$(PLUGIN_LINK) -o $$@.new $$($(1).$(2).host) $(call $(call family,$(2))_device_objects,$(1),$(2)) $$($(1).$(2).objects)/contract.o $$< -Wl,--as-needed $(PLUGIN_LIBRARIES)
	$$(Q)mv $$@.new $$@
endef
$(foreach layer,$(LAYERS),$(foreach arch,$(archs.$(layer)),$(eval $(call plugin_rules,$(layer),$(arch)))))

# A build whose source is gone must not linger: what is packed is what the source list names.
.PHONY: plugins
plugins: $(ALL_PLUGINS) $(GEN)/archs.json  ## build the plug-ins: every layer for every arch it has
	@for file in $(filter-out $(ALL_PLUGINS),$(wildcard $(PLUGINS)/*.so)); do echo "removing $$file: its source is gone"; rm -f "$$file"; done

.PHONY: cpu-plugins
cpu-plugins: $(foreach plugin,$(ALL_PLUGINS),$(if $(findstring -cuda_,$(plugin))$(findstring -hip_,$(plugin)),,$(plugin))) $(GEN)/archs.json

.PHONY: new-layer
new-layer:  ## make new-layer NAME=x: a working toy layer to start from
	@layers/new-layer '$(NAME)'
