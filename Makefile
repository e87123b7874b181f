# Lamina.  `make help` prints the targets.
#
# Folders bring their own rules in <folder>/<folder>.mk, included below.  Words they share:
#   CXX CC CXXFLAGS CPPFLAGS LDFLAGS     host-side code: C++20 with exceptions; -I. is the only include path of our own
#   $(OBJ) $(LIB) $(BIN) $(PLUGINS) $(GEN)   build/obj, build/lib, build/bin, build/plugins, build/gen
#   $(call objects,FOLDER,SOURCES)       build/obj/... of C++ sources; compiled by the pattern rule below, with dependencies
#   TESTS SLOW_TESTS CHECKS              commands-by-target: each is a file (program or script) that exits 0 when it passes
#   PROGRAMS                             what `make` builds beside plug-ins
#   $(call say,WORD,FILE) and $(Q)       short output: a line a file; `make V=1` shows the commands
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules

BUILD := build
OBJ := $(BUILD)/obj
LIB := $(BUILD)/lib
BIN := $(BUILD)/bin
GEN := $(BUILD)/gen
PLUGINS := $(BUILD)/plugins

CC := gcc
CXX := g++
CPPFLAGS := -I.
OPTIMIZE := -O2
CXXFLAGS := -std=c++20 $(OPTIMIZE) -g -fPIC -Wall -Wextra -Wpedantic -Werror -ffile-prefix-map=$(CURDIR)=.
CFLAGS := -std=c99 $(OPTIMIZE) -g -fPIC -Wall -Wextra -pedantic-errors -Werror -ffile-prefix-map=$(CURDIR)=.
LDFLAGS :=
objects = $(patsubst %.cpp,$(OBJ)/%.o,$(1))

# `make V=1` shows whole commands.
Q := $(if $(V),,@)
say = $(if $(V),,@printf '  %-6s %s\n' $(1) $(2))

TESTS :=
SLOW_TESTS :=
CHECKS := .ci/check-format
PROGRAMS :=

.PHONY: all
all: everything

include kernels/archs.mk
# adapters/ links what layers/ lists.
include install.mk $(filter-out adapters/%,$(sort $(wildcard */*.mk) $(filter-out kernels/archs.mk,$(wildcard kernels/*/*.mk)))) adapters/adapters.mk

# A change of flags rebuilds what they made.  Taken here, not in the recipe: there it would be the flags of whichever target came first.
flags := $(CXX) $(CXXFLAGS) $(CC) $(CFLAGS) $(CPPFLAGS)
$(BUILD)/flags: FORCE | $(BUILD)/
	@echo '$(flags)' | cmp -s - $@ || echo '$(flags)' > $@
.PHONY: FORCE
FORCE:

$(OBJ)/%.o: %.cpp $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CXX,$<)
	$(Q)$(CXX) $(CPPFLAGS) $(CXXFLAGS) -MMD -MP -c -o $@ $<
$(OBJ)/%.o: %.c $(BUILD)/flags
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c -o $@ $<
$(BUILD)/ $(GEN)/ $(PLUGINS)/ $(BIN)/ $(LIB)/:
	@mkdir -p $@
-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

# A script of tests is always to be made: `make` then makes what it asks for, which for a file that exists it would not (.SECONDARY).
.PHONY: $(filter-out $(BIN)/%,$(CHECKS) $(TESTS) $(SLOW_TESTS))

.PHONY: everything
everything: plugins $(PROGRAMS)  ## build every plug-in and program (the default)

.PHONY: help
help:  ## this list
	@echo 'Lamina: fused neural-network layers as plug-ins.  Targets:'
	@grep -hE '^[a-z][a-z0-9_-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z0-9_-]+):.*## (.*)/  \1|\2/' | sort -u | column -t -s '|'

.PHONY: list
list:  ## layers and the archs each is built for
	@$(foreach layer,$(LAYERS),printf '%s %s:' $(layer) $(version.$(layer)); printf ' %s' $(archs.$(layer)); echo;)

.PHONY: deps
deps:  ## install the Debian packages that packages.txt names
	@.ci/install-packages packages.txt

.PHONY: check
check: $(CHECKS)  ## format, include arrows, exported symbols, ABI layout, contracts: under a minute, no GPU
	@.ci/run-tests check $(CHECKS)

.PHONY: test
test: deps ; @$(MAKE) --no-print-directory -j$$(nproc) test-now  ## everything a change must pass: at most 25 minutes on 2 cores
.PHONY: test-now
test-now: everything $(CHECKS) $(TESTS)
	@.ci/run-tests test $(CHECKS) $(TESTS)

.PHONY: test-all
test-all: deps ; @$(MAKE) --no-print-directory -j$$(nproc) test-all-now  ## make test, and the slow ones: sanitizers, Python environments
.PHONY: test-all-now
test-all-now: everything $(CHECKS) $(TESTS) $(SLOW_TESTS)
	@.ci/run-tests test-all $(CHECKS) $(TESTS) $(SLOW_TESTS)

.PHONY: format
format:  ## put every C, C++ and CUDA file into shape
	@.ci/check-format --fix

.PHONY: clean
clean:  ## remove build/
	rm -rf $(BUILD)
