# The hub client under faults: conformance/hub/README.md.
$(BIN)/conformance-hub-forge: $(OBJ)/conformance/hub/forge.o $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libmanifest.a $(MANIFEST_LIBS)
HUB_CASES := $(wildcard conformance/hub/*_cases.py)
$(HUB_CASES): $(BIN)/lamina $(BIN)/conformance-hub-forge $(LIB)/faults.so
TESTS += $(HUB_CASES)
