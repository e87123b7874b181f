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

# Client, server, manifest, their tests and the fuzzing targets under two sanitizers, built by clang in a tree of their own.
FUZZ_TARGETS := $(patsubst conformance/hub/fuzz/%.cpp,$(BIN)/fuzz-%,$(wildcard conformance/hub/fuzz/*.cpp))
$(FUZZ_TARGETS): $(BIN)/fuzz-%: $(OBJ)/conformance/hub/fuzz/%.o $(LIB)/liblamina.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(LIB)/liblamina.a $(LAMINA_LIBS)
SANITIZED_TESTS = $(filter-out %committed_files_test %c_api_test,$(HUB_TESTS) $(MANIFEST_TESTS))
SANITIZERS := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
.PHONY: sanitized-client
sanitized-client:
	@$(MAKE) --no-print-directory BUILD=build/fuzz CXX=clang++-19 CC=clang-19 OPTIMIZE='-O1 -Wno-deprecated-declarations $(SANITIZERS)' LDFLAGS='-fsanitize=address,undefined' \
	  $(patsubst $(BUILD)/%,build/fuzz/%,$(FUZZ_TARGETS) $(SANITIZED_TESTS))
conformance/hub/fuzz_test.sh conformance/hub/sanitized_test.sh: sanitized-client
SLOW_TESTS += conformance/hub/fuzz_test.sh conformance/hub/sanitized_test.sh
