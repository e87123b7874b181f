"""PyTorch's forms of a LayerNorm and a linear map, for bench/peers_torch.py: each entry of LAYERS gives forms of equal maths."""
import torch
import torch.nn.functional as F


def _leaves(dims, dtype, attributes):
    k, n = dims["K"], dims["N"]
    norm = [torch.randn(k).to(dtype) for _ in range(2)]
    bias = [torch.randn(n).to(dtype)] if "bias" in attributes.get("given", "bias").split(",") else []
    return [torch.randn(dims["M"], k).to(dtype), *norm, (torch.randn(n, k) / k**0.5).to(dtype), *bias]


def _eager(x, norm_weight, norm_bias, weight, bias=None):
    return F.linear(F.layer_norm(x, norm_weight.shape, norm_weight, norm_bias), weight, bias)


def forward(dims, dtype, attributes):
    leaves = _leaves(dims, dtype, attributes)
    return {"PyTorch eager": lambda: _eager(*leaves)}


def training(dims, dtype, attributes):
    """One step as a training loop takes it: forward, and autograd's gradients of x and of every parameter."""
    leaves = [leaf.requires_grad_() for leaf in _leaves(dims, dtype, attributes)]
    gradient = torch.randn(dims["M"], dims["N"]).to(dtype)
    return {"PyTorch eager": lambda: torch.autograd.grad(_eager(*leaves), leaves, gradient)[0]}


LAYERS = {"forward": forward, "training": training}
