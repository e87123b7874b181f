# Ways into hosts that do not speak the plug-in ABI themselves.  They see abi/ alone and know no layer: everything comes from the argument
# tables.  Like plug-ins they need nothing but glibc 2.28 (docs/decisions/0001).

# tvm-ffi: the objects of every build, linked once more with the adapter.  build/plugins/tvm_ffi/<layer>-<version>-<arch>-tvm_ffi.so
TVM_FFI_PLUGINS :=
tvm_ffi_file = $(PLUGINS)/tvm_ffi/$(1)-$(version.$(1))-$(2)-tvm_ffi.so
adapter_objects = $(patsubst adapters/%.cpp,$(OBJ)/adapters/%.o,$(wildcard adapters/common/*.cpp adapters/$(1)/*.cpp))
TVM_FFI_OBJECTS := $(filter-out %/exports.o,$(call adapter_objects,tvm_ffi))
XLA_OBJECTS := $(call adapter_objects,xla)
$(sort $(TVM_FFI_OBJECTS) $(XLA_OBJECTS)): $(OBJ)/adapters/%.o: adapters/%.cpp adapters/adapters.mk $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) -I. $(PLUGIN_CXXFLAGS) -MMD -MP -c -o $@ $<

# $(1) layer
define tvm_ffi_layer
$(GEN)/$(1)/tvm_ffi_ops.h: layers/$(1)/contract.json
	@mkdir -p $$(@D)
	$$(Q)jq -r '.ops[] | "LAMINA_OP(\(.name))"' $$< > $$@.new && mv $$@.new $$@
$(OBJ)/adapters/tvm_ffi/$(1)_exports.o: adapters/tvm_ffi/exports.cpp $(GEN)/$(1)/tvm_ffi_ops.h adapters/adapters.mk $(BUILD)/flags
	@mkdir -p $$(@D)
	$$(call say,CXX,"$$< ($(1))")
	$$(Q)$(CXX) -I. -I$(GEN)/$(1) $(PLUGIN_CXXFLAGS) -MMD -MP -c -o $$@ $$<
endef
# $(1) layer, $(2) arch.  The build id stays that of the build: the code behind the ABI is the same, and so are its packed bytes.
define tvm_ffi_plugin
TVM_FFI_PLUGINS += $(call tvm_ffi_file,$(1),$(2))
$(call tvm_ffi_file,$(1),$(2)): $$($(1).$(2).objects)/build_id.o $(OBJ)/adapters/tvm_ffi/$(1)_exports.o $(TVM_FFI_OBJECTS) adapters/tvm_ffi/export.map $(if $(SANITIZE),,$(PLUGIN_STUBS)/done)
	@mkdir -p $$(@D)
	$$(call say,LINK,$$@)
	$$(Q)$$(subst plugin/export.map,adapters/tvm_ffi/export.map,$$(PLUGIN_LINK)) -o $$@.new $$($(1).$(2).host) $(call $(call family,$(2))_device_objects,$(1),$(2)) \
	  $$($(1).$(2).objects)/contract.o $$(filter %.o,$$^) -Wl,--as-needed $(PLUGIN_LIBRARIES)
	$$(Q)mv $$@.new $$@
endef
$(foreach layer,$(LAYERS),$(eval $(call tvm_ffi_layer,$(layer))))
$(foreach layer,$(LAYERS),$(foreach arch,$(archs.$(layer)),$(eval $(call tvm_ffi_plugin,$(layer),$(arch)))))
.PHONY: tvm_ffi_plugins
tvm_ffi_plugins: $(TVM_FFI_PLUGINS)
	@for file in $(filter-out $(TVM_FFI_PLUGINS),$(wildcard $(PLUGINS)/tvm_ffi/*.so)); do echo "removing $$file: its source is gone"; rm -f "$$file"; done
PROGRAMS += tvm_ffi_plugins

# The programs of the tests; a build's weak imports are bound to the stand-in that the program exports.
$(BIN)/tvm_ffi_stand_in: $(OBJ)/adapters/tvm_ffi/tests/stand_in_test.o | $(BIN)/ tvm_ffi_plugins fake_cuda
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -rdynamic -o $@ $< -ldl -lpthread
TESTS += $(BIN)/tvm_ffi_stand_in

# XLA: one library for every plug-in.
$(LIB)/liblamina_xla.so: $(XLA_OBJECTS) adapters/xla/export.map $(if $(SANITIZE),,$(PLUGIN_STUBS)/done) | $(LIB)/
	$(call say,LINK,$@)
	$(Q)$(subst plugin/export.map,adapters/xla/export.map,$(PLUGIN_LINK)) -o $@.new $(XLA_OBJECTS) -Wl,--as-needed $(PLUGIN_LIBRARIES)
	$(Q)mv $@.new $@
PROGRAMS += $(LIB)/liblamina_xla.so
TESTS += adapters/tests/symbols_test.sh adapters/tests/variant_test.sh
$(BIN)/xla_stand_in: $(OBJ)/adapters/xla/tests/stand_in_test.o | $(BIN)/ plugins fake_cuda $(LIB)/liblamina_xla.so
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< -ldl -lpthread
TESTS += $(BIN)/xla_stand_in

# With the real hosts.  The environment is made before the tests start, not within the time of one.
SLOW_TESTS += adapters/tests/python_adapters.sh adapters/tests/sanitizers_test.sh
adapters/tests/python_adapters.sh: $(BUILD)/adapters-venv/installed
$(BUILD)/adapters-venv/installed: adapters/tests/requirements.txt
	@rm -rf $(@D)
	$(call say,VENV,$(@D))
	$(Q)python3 -m venv $(@D)
	$(Q)$(@D)/bin/pip install --quiet --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu -r $<
	@touch $@
