"""A transformers model made faster: the five lines between the marks.  python3 accelerate_transformers.py BUNDLE_FOLDER

The model here is a small ESMFold2 folding trunk of random weights, so that the example runs anywhere; any model that has such layers will do.
"""
import sys
import time
from pathlib import Path

import torch
from transformers import EsmFold2Config
from transformers.models.esmfold2.modeling_esmfold2 import EsmFold2PairUpdateStack

torch.manual_seed(0)
model = EsmFold2PairUpdateStack(EsmFold2Config(pairwise_hidden_size=128, pair_transition_intermediate_size=128), num_layers=2).eval()
pair, mask = torch.randn(1, 76, 76, 128), torch.ones(1, 76, 76)


def timed():
    with torch.inference_mode():
        model(pair, mask)
        start = time.perf_counter()
        return model(pair, mask), time.perf_counter() - start


before, slow = timed()
# ---- five lines -----------------------------------------------------------------------------------------------------
from kernels import get_local_kernel  # from a hub: get_kernel("ORG/triangle-multiplication", version=1)

kernel = get_local_kernel(Path(sys.argv[1]))
report = kernel.patch(model)
print(report)
assert report.swapped, "nothing in this model is bound"
# ---------------------------------------------------------------------------------------------------------------------
after, fast = timed()
error = float((after - before).norm() / before.norm())
print(f"{slow * 1e3:.1f} ms before, {fast * 1e3:.1f} ms after, outputs differ by {error:.1e}")
sys.exit(error > 1e-5)
