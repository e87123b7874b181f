# Each example is one file.  Those of the demo use libmanifest.a; the others see the headers as a host sees them: <lamina/...>, as installed.
PUBLIC_INCLUDE := $(GEN)/include
LAYER_HEADERS := $(patsubst layers/%/contract.json,$(PUBLIC_INCLUDE)/lamina/%.h,$(wildcard layers/*/contract.json))
PUBLIC_HEADERS := $(addprefix $(PUBLIC_INCLUDE)/lamina/,lamina_abi.h lamina_hub.h lamina.hpp) $(LAYER_HEADERS)
vpath lamina_abi.h abi
vpath lamina_hub.h hub_client
vpath lamina.hpp examples
$(filter-out $(LAYER_HEADERS),$(PUBLIC_HEADERS)): $(PUBLIC_INCLUDE)/lamina/%: %
	@mkdir -p $(@D)
	$(Q)cp $< $@
# A layer's header is the one that `lamina pack` puts into its bundle.
$(BIN)/layer_header: $(OBJ)/examples/layer_header.o $(LIB)/libpackager.a $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $^ $(MANIFEST_LIBS)
$(LAYER_HEADERS): $(PUBLIC_INCLUDE)/lamina/%.h: layers/%/contract.json $(BIN)/layer_header
	@mkdir -p $(@D)
	$(call say,HEADER,$@)
	$(Q)$(BIN)/layer_header $< > $@.new && mv $@.new $@
PROGRAMS += $(PUBLIC_HEADERS)

EXAMPLES := $(addprefix $(BIN)/,call_abi_directly fetch_and_run bind_safetensors use_from_cpp sentence_embeddings call_abi)
EXAMPLE_LIBRARY := -L$(LIB) -llamina -Wl,-rpath,'$$ORIGIN/../lib'
$(BIN)/call_abi_directly: examples/call_abi_directly.c $(PUBLIC_HEADERS) | $(BIN)/
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -I$(PUBLIC_INCLUDE) $(LDFLAGS) -o $@ $< -ldl -lm
$(BIN)/fetch_and_run $(BIN)/bind_safetensors: $(BIN)/%: examples/%.c $(PUBLIC_HEADERS) $(LIB)/liblamina.so.1
	$(call say,CC,$<)
	$(Q)$(CC) $(CFLAGS) -I$(PUBLIC_INCLUDE) $(LDFLAGS) -o $@ $< $(EXAMPLE_LIBRARY) -lm
$(BIN)/use_from_cpp: examples/use_from_cpp.cpp $(PUBLIC_HEADERS) $(LIB)/liblamina.so.1
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CXXFLAGS) -std=c++17 -I$(PUBLIC_INCLUDE) $(LDFLAGS) -o $@ $< $(EXAMPLE_LIBRARY) -ldl
$(BIN)/sentence_embeddings: examples/sentence_embeddings.cpp $(PUBLIC_HEADERS) $(LIB)/liblamina.so.1
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CXXFLAGS) -std=c++17 -I$(PUBLIC_INCLUDE) $(LDFLAGS) -o $@ $< $(EXAMPLE_LIBRARY) -ldl
$(BIN)/call_abi: examples/call_abi.rs | $(BIN)/
	$(call say,RUSTC,$<)
	$(Q)rustc --edition 2021 -O -D warnings -o $@ $<
PROGRAMS += $(EXAMPLES)
TESTS += examples/tests/headers_test.sh examples/tests/examples_test.sh examples/tests/install_test.sh

EXAMPLE_PROGRAMS := $(BIN)/ubiquitin $(BIN)/show_pair
$(EXAMPLE_PROGRAMS): $(BIN)/%: $(OBJ)/examples/%.o $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libmanifest.a $(MANIFEST_LIBS)
PROGRAMS += $(EXAMPLE_PROGRAMS)

# One layer on this machine's processor, so that a first look takes minutes.
DEMO_FILES = $(foreach plugin,$(filter $(PLUGINS)/triangle_multiplication-%,$(ALL_PLUGINS)),$(if $(findstring -cuda_,$(plugin))$(findstring -hip_,$(plugin)),,$(plugin))) \
  $(GEN)/archs.json $(BIN)/lamina $(BIN)/ubiquitin $(BIN)/show_pair
.PHONY: demo
demo: deps  ## the whole road on this machine: pack, sign, publish, fetch, verify, run on a protein, draw
	@$(MAKE) --no-print-directory -j$$(nproc) $(DEMO_FILES)
	@examples/demo.sh
TESTS += examples/demo.sh layers/test_new_layer.sh
