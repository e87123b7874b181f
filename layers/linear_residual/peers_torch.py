"""PyTorch's forms of a linear map, a residual and a LayerNorm, for bench/peers_torch.py: each entry of LAYERS gives forms of equal maths."""
import torch
import torch.nn.functional as F


def _leaves(dims, dtype, attributes):
    k, n = dims["K"], dims["N"]
    normed = any(name.startswith("norm") for name in attributes.get("given", "").split(","))
    norm = [torch.randn(n).to(dtype) for _ in range(2)] if normed else []
    return [torch.randn(dims["M"], k).to(dtype), torch.randn(dims["M"], n).to(dtype), (torch.randn(n, k) / k**0.5).to(dtype),
            torch.randn(n).to(dtype), *norm]


def _eager(x, residual, weight, bias, norm_weight=None, norm_bias=None):
    u = F.linear(x, weight, bias) + residual
    return u if norm_weight is None else F.layer_norm(u, norm_weight.shape, norm_weight, norm_bias, 1e-12)


def forward(dims, dtype, attributes):
    leaves = _leaves(dims, dtype, attributes)
    return {"PyTorch eager": lambda: _eager(*leaves)}


def training(dims, dtype, attributes):
    """One step as a training loop takes it: forward, and autograd's gradients of both inputs and of every parameter."""
    leaves = [leaf.requires_grad_() for leaf in _leaves(dims, dtype, attributes)]
    gradient = torch.randn(dims["M"], dims["N"]).to(dtype)
    return {"PyTorch eager": lambda: torch.autograd.grad(_eager(*leaves), leaves, gradient)[0]}


LAYERS = {"forward": forward, "training": training}
