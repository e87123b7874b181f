"""PyTorch's forms of the transition, for bench/peers_torch.py: each entry of LAYERS gives forms of equal maths."""
import torch
import torch.nn.functional as F


def _leaves(dims, dtype):
    """x, then the norm and the weights, as hosts initialise their sizes."""
    c, i = dims["C"], dims["I"]
    norm = [torch.randn(c).to(dtype) for _ in range(2)]
    gate_up, down = ((torch.randn(rows, columns) / columns**0.5).to(dtype) for rows, columns in ((2 * i, c), (c, i)))
    return torch.randn(dims["M"], c).to(dtype), *norm, gate_up, down


def _swiglu(attributes):
    if attributes.get("activation", "swiglu") != "swiglu":
        raise SystemExit("peers_torch.py: only activation swiglu")


def forward(dims, dtype, attributes):
    """As hosts write it, with one product for gate and up, and with two."""
    _swiglu(attributes)
    x, weight, bias, gate_up, down = _leaves(dims, dtype)
    gate_weight, up_weight = gate_up.chunk(2)

    def packed():
        gate, up = F.linear(F.layer_norm(x, (dims["C"],), weight, bias), gate_up).chunk(2, -1)
        return F.linear(F.silu(gate) * up, down)

    def separate():
        z = F.layer_norm(x, (dims["C"],), weight, bias)
        return F.linear(F.silu(F.linear(z, gate_weight)) * F.linear(z, up_weight), down)

    return {"PyTorch eager": packed, "PyTorch eager, two products": separate}


def training(dims, dtype, attributes):
    """One step as a training loop takes it: forward, and autograd's gradients of x and of every parameter."""
    _swiglu(attributes)
    leaves = [leaf.requires_grad_() for leaf in _leaves(dims, dtype)]
    gradient = torch.randn(dims["M"], dims["C"]).to(dtype)

    def eager():
        x, weight, bias, gate_up, down = leaves
        gate, up = F.linear(F.layer_norm(x, (dims["C"],), weight, bias), gate_up).chunk(2, -1)
        return torch.autograd.grad(F.linear(F.silu(gate) * up, down), leaves, gradient)[0]

    return {"PyTorch eager": eager}


LAYERS = {"forward": forward, "training": training}
