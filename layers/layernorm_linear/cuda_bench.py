"""Problems and PyTorch forms of this layer for bench/gpu/rows.py."""
import torch
import torch.nn.functional as F

SHAPES = [(65536, 128, 16), (147456, 128, 128), (262144, 128, 512), (1048576, 128, 128)]
PROBLEMS = [{"dims": dict(zip("MKN", shape)), "attributes": {}} for shape in SHAPES]
PACKED = ("weight", "norm_weight", "norm_bias")


def tensors(dims, attributes, random):
    m, k, n = (dims[letter] for letter in "MKN")
    return {"x": random(m, k), "weight": random(n, k, scale=k**-0.5), "norm_weight": random(k, mean=1, scale=0.25),
            "norm_bias": random(k, scale=0.5), "out": (m, n)}


def forms(t, attributes):
    def eager(x):
        return F.linear(F.layer_norm(x, x.shape[-1:], t["norm_weight"], t["norm_bias"]), t["weight"])

    return {"eager": eager, "torch.compile": torch.compile(eager, dynamic=False)}


def cost(dims):
    m, k, n = (dims[letter] for letter in "MKN")
    return 2 * m * k * n, 2 * (m * k + k * n + m * n)
