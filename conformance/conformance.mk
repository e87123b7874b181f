# libconformance.a and what it proves.
CONFORMANCE_SOURCES := $(wildcard conformance/*.cpp)
CONFORMANCE_OBJECTS := $(call objects,$(CONFORMANCE_SOURCES))
$(LIB)/libconformance.a: $(CONFORMANCE_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $(CONFORMANCE_OBJECTS)
