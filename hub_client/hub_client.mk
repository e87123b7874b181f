# liblamina: the hub client, with manifest/ inside.  Shared for hosts in C, static for our own programs.
HUB_OBJECTS := $(call objects,$(wildcard hub_client/*.cpp))
LAMINA_LIBS = -lcurl -larchive -lzstd -lmicrohttpd $(MANIFEST_LIBS) -lpthread -ldl

.SECONDEXPANSION:
$(LIB)/liblamina.a: $(HUB_OBJECTS) $$(MANIFEST_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $^

HUB_TESTS := $(patsubst hub_client/tests/%.cpp,$(BIN)/hub_client-%,$(wildcard hub_client/tests/*_test.cpp))
$(HUB_TESTS): $(BIN)/hub_client-%: $(OBJ)/hub_client/tests/%.o $(LIB)/liblamina.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/liblamina.a $(LAMINA_LIBS)
TESTS += $(HUB_TESTS)
