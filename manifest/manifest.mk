# libmanifest.a: what a bundle says about itself.  Position independent: also part of liblamina.so.
MANIFEST_SOURCES := $(filter-out manifest/make_table.cpp,$(wildcard manifest/*.cpp))
MANIFEST_SCHEMAS := $(sort $(wildcard manifest/schemas/*.schema.json))
MANIFEST_OBJECTS := $(call objects,$(MANIFEST_SOURCES)) $(OBJ)/$(GEN)/manifest/schemas.o
MANIFEST_LIBS = -lsodium -lcrypto

$(GEN)/manifest/schemas.cpp: $(MANIFEST_SCHEMAS) manifest/embed_schemas
	@mkdir -p $(@D)
	$(call say,EMBED,$@)
	$(Q)manifest/embed_schemas $(MANIFEST_SCHEMAS) > $@.new && mv $@.new $@

# The one user of valijson: its optimised build takes a gigabyte and gains nothing here.
$(OBJ)/manifest/schema.o: CXXFLAGS += -O0 -g0

$(LIB)/libmanifest.a: $(MANIFEST_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $(MANIFEST_OBJECTS)

MANIFEST_TESTS := $(patsubst manifest/tests/%.cpp,$(BIN)/manifest-%,$(wildcard manifest/tests/*_test.cpp))
$(MANIFEST_TESTS): $(BIN)/manifest-%: $(OBJ)/manifest/tests/%.o $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libmanifest.a $(MANIFEST_LIBS)
$(BIN)/manifest-python_formats: $(OBJ)/manifest/tests/python_formats.o $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libmanifest.a $(MANIFEST_LIBS)
manifest/tests/python_agrees: $(BIN)/manifest-python_formats
SLOW_TESTS += manifest/tests/python_agrees
TESTS += $(filter-out $(BIN)/manifest-committed_files_test,$(MANIFEST_TESTS))
CHECKS += $(BIN)/manifest-committed_files_test
