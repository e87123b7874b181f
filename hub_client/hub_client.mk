# liblamina: the hub client, with manifest/ inside.  Shared for hosts in C, static for our own programs.
HUB_OBJECTS := $(call objects,$(wildcard hub_client/*.cpp))
LAMINA_LIBS = -lcurl -larchive -lzstd -lmicrohttpd $(MANIFEST_LIBS) -lpthread -ldl

.SECONDEXPANSION:
$(LIB)/liblamina.a: $(HUB_OBJECTS) $$(MANIFEST_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $^
