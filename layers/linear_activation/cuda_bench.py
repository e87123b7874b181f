"""Problems and PyTorch forms of this layer for bench/gpu/rows.py."""
import torch
import torch.nn.functional as F

SHAPES = [(4096, 1280, 5120), (16384, 1024, 4096), (128, 1280, 5120)]
PROBLEMS = [{"dims": dict(zip("MKN", shape)), "attributes": {"activation": "gelu_erf"}} for shape in SHAPES]
PACKED = ("weight", "bias")  # what op pack takes


def tensors(dims, attributes, random):
    m, k, n = (dims[letter] for letter in "MKN")
    return {"x": random(m, k), "weight": random(n, k, scale=k**-0.5), "bias": random(n, scale=0.5), "out": (m, n)}


def forms(t, attributes):
    """Functions of the rows that rotate; the first is the truth when called on float64 tensors."""
    approximate = "tanh" if attributes["activation"] == "gelu_tanh" else "none"

    def eager(x):
        return F.gelu(F.linear(x, t["weight"], t["bias"]), approximate=approximate)

    found = {"eager": eager, "torch.compile": torch.compile(eager, dynamic=False), "plain product": lambda x: torch.mm(x, t["weight"].t())}
    # cuBLASLt's own epilogue has the tanh form alone.
    found["cuBLASLt epilogue"] = lambda x: torch._addmm_activation(t["bias"], x, t["weight"].t(), use_gelu=True)
    return found


def cost(dims):
    m, k, n = (dims[letter] for letter in "MKN")
    return 2 * m * k * n, 2 * (m * k + k * n + m * n)
