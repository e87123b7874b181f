# Each example is one file.  C++ ones of the demo use libmanifest.a; the others need nothing but the headers they show.
EXAMPLE_PROGRAMS := $(BIN)/ubiquitin $(BIN)/show_pair
$(EXAMPLE_PROGRAMS): $(BIN)/%: $(OBJ)/examples/%.o $(LIB)/libmanifest.a | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $< $(LIB)/libmanifest.a $(MANIFEST_LIBS)
PROGRAMS += $(EXAMPLE_PROGRAMS)

.PHONY: demo
demo: deps ; @$(MAKE) --no-print-directory demo-now  ## the whole road on this machine: pack, sign, publish, fetch, verify, run on a protein, draw
.PHONY: demo-now
demo-now: plugins $(GEN)/archs.json $(BIN)/lamina $(BIN)/ubiquitin $(BIN)/show_pair
	@examples/demo.sh
TESTS += examples/demo.sh layers/test_new_layer.sh
