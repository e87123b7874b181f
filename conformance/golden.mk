# The reference against the real host modules and a second truth: see conformance/tests/golden.cpp.
$(BIN)/conformance-golden: | plugins
TESTS += $(BIN)/conformance-golden

# `make golden` makes the host files again.  GOLDEN_CHECKOUTS: --openfold DIR --megafold DIR --gpu-mode DIR --alphafold3 DIR, source trees
# at the commits that the bindings name; without them those hosts' files stay as they are.
# A layer's golden/requirements.txt and packages.txt (installed without what they depend on) say what its hosts need.
GOLDEN_VENV := $(BUILD)/golden-venv
GOLDEN_REQUIREMENTS := $(wildcard layers/*/golden/requirements.txt)
GOLDEN_PACKAGES := $(wildcard layers/*/golden/packages.txt)
$(GOLDEN_VENV)/done: $(GOLDEN_REQUIREMENTS) $(GOLDEN_PACKAGES)
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --extra-index-url https://download.pytorch.org/whl/cpu $(addprefix -r ,$(GOLDEN_REQUIREMENTS))
	$(@D)/bin/pip install --quiet --no-deps $(addprefix -r ,$(GOLDEN_PACKAGES))
	touch $@
.PHONY: golden
golden: $(GOLDEN_VENV)/done  ## run the real host modules (Python packages) and write layers/*/golden again
	set -e; for script in layers/*/golden/make_golden.py; do $(GOLDEN_VENV)/bin/python $$script $$(dirname $$script) $(GOLDEN_CHECKOUTS); done
	set -e; for script in layers/*/witness/numpy_truth.py; do $(GOLDEN_VENV)/bin/python $$script $$(dirname $$script); done
