# libpackager.a: builds in, bundle out.
PACKAGER_OBJECTS := $(call objects,$(wildcard packager/*.cpp)) $(OBJ)/$(GEN)/packager/templates.o

PACKAGER_TEMPLATES := $(sort $(wildcard packager/templates/*.py))
# One literal a file: a compiler takes 64 KB of them at most.
$(GEN)/packager/templates.cpp: $(PACKAGER_TEMPLATES) packager/packager.mk
	@mkdir -p $(@D)
	$(call say,EMBED,$@)
	$(Q){ printf '// Generated from packager/templates; do not edit.\n#include "packager/templates.h"\n\nnamespace lamina::packager {\n\n'; \
	  printf 'const std::vector<std::pair<std::string_view, std::string_view>> python_templates = {\n'; \
	  for file in $(PACKAGER_TEMPLATES); do \
	    printf '{"_%s", R"TEMPLATE(' "$${file##*/}"; cat $$file; printf ')TEMPLATE"},\n'; done; \
	  printf '};\n\n}  // namespace lamina::packager\n'; } > $@.new && mv $@.new $@

$(LIB)/libpackager.a: $(PACKAGER_OBJECTS) | $(LIB)/
	@rm -f $@
	$(call say,AR,$@)
	$(Q)ar rcsD $@ $(PACKAGER_OBJECTS)

# They run the program on the builds of this tree: `make test` makes both first.
TESTS += $(sort $(wildcard packager/tests/*_test.sh))

SLOW_TESTS += packager/tests/python_interop.sh
# Made before the tests start, not within the time of one.
packager/tests/python_interop.sh: $(BUILD)/interop-venv/installed
$(BUILD)/interop-venv/installed: packager/tests/requirements.txt
	@rm -rf $(@D)
	$(call say,VENV,$(@D))
	$(Q)python3 -m venv $(@D)
	$(Q)$(@D)/bin/pip install --quiet --retries 1 --extra-index-url https://download.pytorch.org/whl/cpu -r $<
	@touch $@
