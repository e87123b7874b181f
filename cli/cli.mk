# The program `lamina`.
LAMINA_VERSION := $(shell sed -n 's/^\#\# \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -1)
CLI_VERBS := $(filter-out main,$(patsubst cli/%.cpp,%,$(wildcard cli/*.cpp)))
CLI_OBJECTS := $(call objects,$(wildcard cli/*.cpp cli/*/*.cpp))
# CLI11 and the verbs' code run once a process: -O1 halves their compile time.
$(CLI_OBJECTS): CXXFLAGS := $(filter-out $(OPTIMIZE),$(CXXFLAGS)) -O1 -DLAMINA_VERSION='"$(LAMINA_VERSION)"'
$(CLI_OBJECTS): CPPFLAGS += -I$(GEN)/cli
$(CLI_OBJECTS): $(GEN)/cli/verbs.inc

$(GEN)/cli/verbs.inc: FORCE
	@mkdir -p $(@D)
	@printf 'LAMINA_VERB(%s)\n' $(CLI_VERBS) | cmp -s - $@ || printf 'LAMINA_VERB(%s)\n' $(CLI_VERBS) > $@

# What each arch asks of a machine, for `lamina doctor`.
$(GEN)/cli/archs.inc: $(GEN)/archs.json
	@mkdir -p $(@D)
	$(Q){ printf 'R"JSON('; cat $<; printf ')JSON"\n'; } > $@.new && mv $@.new $@
$(OBJ)/cli/doctor.o: $(GEN)/cli/archs.inc

CLI_LIBRARIES := $(addprefix $(LIB)/,libconformance.a libbench.a libpackager.a liblamina.a)
$(BIN)/lamina: $(CLI_OBJECTS) $(CLI_LIBRARIES) | $(BIN)/
	$(call say,LINK,$@)
	$(Q)$(CXX) $(LDFLAGS) -o $@ $(CLI_OBJECTS) -Wl,--start-group $(CLI_LIBRARIES) -Wl,--end-group $(LAMINA_LIBS)
PROGRAMS += $(BIN)/lamina
