"""Problems and PyTorch forms of this layer for bench/gpu/rows.py."""
import torch
import torch.nn.functional as F

SHAPES = [(4096, 5120, 1280), (16384, 4096, 1024)]
PROBLEMS = [{"dims": dict(zip("MKN", shape)), "attributes": {}, "normed": normed} for shape in SHAPES for normed in (False, True)]
PACKED = ("weight", "bias", "norm_weight", "norm_bias")


def tensors(dims, attributes, random, normed=False):
    m, k, n = (dims[letter] for letter in "MKN")
    t = {"x": random(m, k), "residual": random(m, n), "weight": random(n, k, scale=k**-0.5), "bias": random(n, scale=0.5), "out": (m, n)}
    if normed:
        t |= {"norm_weight": random(n, mean=1, scale=0.25), "norm_bias": random(n, scale=0.5)}
    return t


def forms(t, attributes):
    def eager(x, residual):
        u = residual + F.linear(x, t["weight"], t["bias"])
        return F.layer_norm(u, u.shape[-1:], t["norm_weight"], t["norm_bias"], 1e-12) if "norm_weight" in t else u

    return {"eager": eager, "torch.compile": torch.compile(eager, dynamic=False), "plain product": lambda x, residual: torch.mm(x, t["weight"].t())}


def cost(dims):
    m, k, n = (dims[letter] for letter in "MKN")
    return 2 * m * k * n, 2 * (m * k + k * n + 2 * m * n)
