# The reference against the real host modules and a second truth: see conformance/tests/golden.cpp.
$(BIN)/conformance-golden: | plugins
TESTS += $(BIN)/conformance-golden

# `make golden` makes the host files again.  GOLDEN_CHECKOUTS: --openfold DIR --megafold DIR --gpu-mode DIR --alphafold3 DIR, source trees
# at the commits that the bindings name; without them those hosts' files stay as they are.
GOLDEN_VENV := $(BUILD)/golden-venv
$(GOLDEN_VENV)/done: layers/triangle_multiplication/golden/requirements.txt layers/triangle_multiplication/golden/packages.txt
	python3 -m venv $(@D)
	$(@D)/bin/pip install --quiet --extra-index-url https://download.pytorch.org/whl/cpu -r $<
	$(@D)/bin/pip install --quiet --no-deps -r $(word 2,$^)
	touch $@
.PHONY: golden
golden: $(GOLDEN_VENV)/done  ## run the real host modules (Python packages) and write layers/*/golden again
	$(GOLDEN_VENV)/bin/python layers/triangle_multiplication/golden/make_golden.py layers/triangle_multiplication/golden $(GOLDEN_CHECKOUTS)
	$(GOLDEN_VENV)/bin/python layers/triangle_multiplication/witness/numpy_truth.py layers/triangle_multiplication/witness
