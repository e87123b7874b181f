# liblamina: the hub client, with manifest/ inside.  Shared for hosts in C, static for our own programs.
HUB_OBJECTS := $(call objects,$(wildcard hub_client/*.cpp))
LAMINA_LIBS = -lcurl -larchive -lzstd -lmicrohttpd $(MANIFEST_LIBS) -lpthread -ldl

.SECONDEXPANSION:
$(LIB)/liblamina.a: $(HUB_OBJECTS) $$(MANIFEST_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $^

# The C API: what lamina_hub.h declares is all that the shared library exports; it holds only the objects which that needs.
C_API_OBJECTS := $(filter $(OBJ)/hub_client/c_api%,$(HUB_OBJECTS))
$(C_API_OBJECTS) $(OBJ)/hub_client/tests/c_api_test.o: CPPFLAGS += -Iabi
$(OBJ)/hub_client/c_api.o: CXXFLAGS += -DLAMINA_VERSION='"$(LAMINA_VERSION)"'
# A sanitizer's symbols are the program's; its tests of the C API go through the shared library.
LIBLAMINA_DEFS := $(if $(SANITIZE),,,-z,defs)
$(LIB)/liblamina.so.1: $(C_API_OBJECTS) $(LIB)/liblamina.a hub_client/lamina.map
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -shared -Wl,-soname,liblamina.so.1,--version-script=hub_client/lamina.map$(LIBLAMINA_DEFS),-z,noexecstack,-z,relro,-z,now \
	  -o $@ $(C_API_OBJECTS) $(LIB)/liblamina.a -Wl,--as-needed $(LAMINA_LIBS)
	@ln -sf $(@F) $(LIB)/liblamina.so
PROGRAMS += $(LIB)/liblamina.so.1

TO_LIBRARIES = -Wl,-rpath,$(abspath $(LIB))
HUB_TESTS := $(patsubst hub_client/tests/%.cpp,$(BIN)/hub_client-%,$(wildcard hub_client/tests/*_test.cpp))
$(HUB_TESTS): $(BIN)/hub_client-%: $(OBJ)/hub_client/tests/%.o $(LIB)/liblamina.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(filter %.so.1,$^) $(LIB)/liblamina.a $(LAMINA_LIBS) $(if $(filter %.so.1,$^),$(TO_LIBRARIES))
$(if $(SANITIZE),$(eval $(BIN)/hub_client-c_api_test: $(LIB)/liblamina.so.1))
# Not -pedantic: dlsym gives functions as data.
$(LIB)/faults.so: hub_client/tests/faults.c $(BUILD)/flags | $(LIB)/
	$(call say,LINK,$@)
	$(Q)$(CC) $(filter-out -pedantic-errors,$(CFLAGS)) -shared -o $@ $< -ldl
HUB_SCRIPTS := $(addprefix hub_client/tests/,binding.sh command_line.sh kill_anywhere.sh)
$(HUB_SCRIPTS): $(BIN)/lamina $(LIB)/faults.so
TESTS += $(HUB_TESTS) $(HUB_SCRIPTS)
