"""Problems and PyTorch forms of this layer for bench/gpu/rows.py."""
import torch
import torch.nn.functional as F

SHAPES = [(65536, 128, 512), (147456, 128, 512), (262144, 128, 512), (589824, 128, 512), (1048576, 128, 512), (262144, 256, 1024)]
PROBLEMS = [{"dims": dict(zip("MCI", shape)), "attributes": {"activation": "swiglu"}} for shape in SHAPES]
PACKED = ("norm_weight", "norm_bias", "gate_weight", "up_weight", "down_weight")


def tensors(dims, attributes, random):
    m, c, i = (dims[letter] for letter in "MCI")
    return {"x": random(m, c), "norm_weight": random(c, mean=1, scale=0.25), "norm_bias": random(c, scale=0.5),
            "gate_weight": random(i, c, scale=c**-0.5), "up_weight": random(i, c, scale=c**-0.5), "down_weight": random(c, i, scale=i**-0.5),
            "out": (m, c)}


def forms(t, attributes):
    def eager(x):
        z = F.layer_norm(x, x.shape[-1:], t["norm_weight"], t["norm_bias"])
        return F.linear(F.silu(F.linear(z, t["gate_weight"])) * F.linear(z, t["up_weight"]), t["down_weight"])

    return {"eager": eager, "torch.compile": torch.compile(eager, dynamic=False)}


def cost(dims):
    m, c, i = (dims[letter] for letter in "MCI")
    return 6 * m * c * i, 2 * (2 * m * c + 3 * c * i)
