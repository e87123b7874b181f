# The hub client under faults: conformance/hub/README.md.
$(BIN)/conformance-hub-forge: $(OBJ)/conformance/hub/forge.o $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libmanifest.a $(MANIFEST_LIBS)
$(BIN)/conformance-hub-loader: $(OBJ)/conformance/hub/loader.o $(LIB)/liblamina.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/liblamina.a $(LAMINA_LIBS)
HUB_CASES := $(wildcard conformance/hub/*_cases.py)
$(HUB_CASES): $(BIN)/lamina $(BIN)/conformance-hub-forge $(BIN)/conformance-hub-loader $(LIB)/faults.so
conformance/hub/live_test.sh: $(BIN)/lamina
TESTS += $(HUB_CASES) conformance/hub/live_test.sh conformance/hub/names_test.py

# Client, server, manifest, their tests and the fuzzing targets under two sanitizers, built by clang in a tree of their own.
FUZZ_TARGETS := $(patsubst conformance/hub/fuzz/%.cpp,$(BIN)/fuzz-%,$(wildcard conformance/hub/fuzz/*.cpp))
$(FUZZ_TARGETS): $(BIN)/fuzz-%: $(OBJ)/conformance/hub/fuzz/%.o $(LIB)/liblamina.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -fsanitize=fuzzer -rdynamic -o $@ $< $(LIB)/liblamina.a $(LAMINA_LIBS)
SANITIZED_TESTS = $(filter-out %committed_files_test,$(HUB_TESTS) $(MANIFEST_TESTS))
SANITIZERS := -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=undefined
# What fuzz-call calls: -rdynamic above lets their coverage count.
FUZZED_FLAGS = -std=c++20 -O1 -g -fPIC -fvisibility=hidden -fno-exceptions -fno-rtti -fno-threadsafe-statics -Wall -Wextra $(SANITIZERS)
FUZZED_BUILDS = $(foreach layer,$(LAYERS),$(call plugin_file,$(layer),reference))
.PHONY: sanitized-client
sanitized-client:
	@$(MAKE) --no-print-directory BUILD=build/fuzz SANITIZE=address,undefined CXX=clang++-19 CC=clang-19 OPTIMIZE='-O1 -Wno-deprecated-declarations $(SANITIZERS)' LDFLAGS='-fsanitize=address,undefined' \
	  PLUGIN_CXXFLAGS='$(FUZZED_FLAGS)' \
	  $(patsubst $(BUILD)/%,build/fuzz/%,$(FUZZ_TARGETS) $(FUZZED_BUILDS) $(SANITIZED_TESTS))
# Those of these tests that start threads, under the thread sanitizer, which cannot be had together with the others.
THREADED_TESTS = $(patsubst %,$(BIN)/hub_client-%_test,blob_writer c_api cache client http server)
.PHONY: thread-sanitized-client
thread-sanitized-client:
	@$(MAKE) --no-print-directory BUILD=build/thread_sanitized SANITIZE=thread CXX=clang++-19 CC=clang-19 OPTIMIZE='-O1 -Wno-deprecated-declarations -fsanitize=thread' \
	  LDFLAGS='-fsanitize=thread' $(patsubst $(BUILD)/%,build/thread_sanitized/%,$(THREADED_TESTS))
conformance/hub/fuzz_test.sh conformance/hub/sanitized_test.sh: sanitized-client
conformance/hub/sanitized_test.sh: thread-sanitized-client
SLOW_TESTS += conformance/hub/fuzz_test.sh conformance/hub/sanitized_test.sh
