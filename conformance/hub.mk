# The hub client under faults: conformance/hub/README.md.
$(BIN)/conformance-hub-forge: $(OBJ)/conformance/hub/forge.o $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libmanifest.a $(MANIFEST_LIBS)
$(BIN)/conformance-hub-loader: $(OBJ)/conformance/hub/loader.o $(LIB)/liblamina.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/liblamina.a $(LAMINA_LIBS)
HUB_CASES := $(wildcard conformance/hub/*_cases.py)
$(HUB_CASES): $(BIN)/lamina $(BIN)/conformance-hub-forge $(BIN)/conformance-hub-loader $(LIB)/faults.so
TESTS += $(HUB_CASES)
