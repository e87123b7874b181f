# The program `lamina`.
LAMINA_VERSION := $(shell sed -n 's/^\#\# \([0-9][0-9.]*\).*/\1/p' CHANGELOG.md | head -1)
CLI_SOURCES := $(wildcard cli/*.cpp cli/*/*.cpp)
CLI_VERBS := $(filter-out main,$(patsubst cli/%.cpp,%,$(wildcard cli/*.cpp)))
# CLI11 and the verbs' code run once a process: -O1 halves their compile time.
$(CLI_SOURCES:%.cpp=$(OBJ)/%.o): CXXFLAGS := $(filter-out $(OPTIMIZE),$(CXXFLAGS)) -O1 -DLAMINA_VERSION='"$(LAMINA_VERSION)"'
$(CLI_SOURCES:%.cpp=$(OBJ)/%.o): CPPFLAGS += -I$(GEN)/cli
$(CLI_SOURCES:%.cpp=$(OBJ)/%.o): $(GEN)/cli/verbs.inc

$(GEN)/cli/verbs.inc: FORCE
	@mkdir -p $(@D)
	@printf 'LAMINA_VERB(%s)\n' $(CLI_VERBS) | cmp -s - $@ || printf 'LAMINA_VERB(%s)\n' $(CLI_VERBS) > $@

# The libraries in the order that static linking needs; each folder's .mk names its own and what it stands on.
$(BIN)/lamina: $(CLI_SOURCES:%.cpp=$(OBJ)/%.o) $(LIB)/libconformance.a $(LIB)/libbench.a $(LIB)/libpackager.a $(LIB)/liblamina.a | $(BIN)/
	$(CXX) $(LDFLAGS) -o $@ $^ $(LAMINA_LIBRARIES)
LAMINA_LIBRARIES := -lcurl -lzstd -lcrypto -lsodium -larchive -lmicrohttpd -lpthread -ldl
PROGRAMS += $(BIN)/lamina
