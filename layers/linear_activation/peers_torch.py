"""PyTorch's forms of a linear map and an activation, for bench/peers_torch.py: each entry of LAYERS gives forms of equal maths."""
import torch
import torch.nn.functional as F

ACTIVATIONS = {"none": lambda y: y, "relu": F.relu, "gelu_erf": F.gelu, "gelu_tanh": lambda y: F.gelu(y, approximate="tanh"),
               "gelu_sigmoid": lambda y: y * torch.sigmoid(1.702 * y), "silu": F.silu}


def _leaves(dims, dtype, attributes):
    k, n = dims["K"], dims["N"]
    bias = [torch.randn(n).to(dtype)] if "bias" in attributes.get("given", "bias").split(",") else []
    return [torch.randn(dims["M"], k).to(dtype), (torch.randn(n, k) / k**0.5).to(dtype), *bias]


def forward(dims, dtype, attributes):
    leaves, activation = _leaves(dims, dtype, attributes), ACTIVATIONS[attributes.get("activation", "none")]
    return {"PyTorch eager": lambda: activation(F.linear(*leaves))}


def training(dims, dtype, attributes):
    """One step as a training loop takes it: forward, and autograd's gradients of x and of every parameter."""
    leaves, activation = [leaf.requires_grad_() for leaf in _leaves(dims, dtype, attributes)], ACTIVATIONS[attributes.get("activation", "none")]
    gradient = torch.randn(dims["M"], dims["N"]).to(dtype)
    return {"PyTorch eager": lambda: torch.autograd.grad(activation(F.linear(*leaves)), leaves, gradient)[0]}


LAYERS = {"forward": forward, "training": training}
