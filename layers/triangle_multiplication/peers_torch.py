"""PyTorch's forms of triangle multiplication, for bench/peers_torch.py: each entry of LAYERS gives forms of equal maths."""
import torch
import torch.nn.functional as F


def triangle_multiplication(dims, dtype, attributes):
    """The module as hosts write it, and the fastest form that PyTorch's own operators allow."""
    if dims["B"] != 1 or dims["C"] != dims["H"] or attributes.get("output_gate", "after_projection") != "after_projection":
        raise SystemExit("peers_torch.py: only B = 1, H = C and the gate after the projection")
    incoming = attributes.get("direction", "outgoing") == "incoming"
    n, c = dims["N"], dims["C"]

    def weight(outputs):
        return (torch.randn(outputs, c) / c**0.5).to(dtype)

    pair, mask = torch.randn(n, n, c).to(dtype), (torch.rand(n, n) > 0.1).to(dtype)
    projection, gate, out_projection, out_gate = weight(2 * c), weight(2 * c), weight(c), weight(c)
    norms = [torch.randn(c).to(dtype) for _ in range(4)]

    def eager():
        z = F.layer_norm(pair, (c,), norms[0], norms[1])
        ab = F.linear(z, projection) * torch.sigmoid(F.linear(z, gate)) * mask[..., None]
        a, b = ab.chunk(2, -1)
        o = torch.einsum("kic,kjc->ijc" if incoming else "ikc,jkc->ijc", a, b)
        return F.linear(F.layer_norm(o, (c,), norms[2], norms[3]), out_projection) * torch.sigmoid(F.linear(z, out_gate))

    def channels_first():
        """Weights from the left, a batched product without permutes, in place where the maths allows."""
        z = F.layer_norm(pair, (c,), norms[0], norms[1]).view(n * n, c)
        ab = (projection @ z.t()).mul_(torch.sigmoid_(gate @ z.t())).mul_(mask.view(1, -1)).view(2 * c, n, n)
        a, b = ab[:c], ab[c:]
        o = torch.bmm(a.transpose(1, 2), b) if incoming else torch.bmm(a, b.transpose(1, 2))
        o = F.layer_norm(o.view(c, n * n).t().contiguous(), (c,), norms[2], norms[3])
        return F.linear(o, out_projection).mul_(torch.sigmoid_(F.linear(z, out_gate))).view(n, n, c)

    return {"PyTorch eager": eager, "PyTorch by hand": channels_first}


def triangle_multiplication_training(dims, dtype, attributes):
    """One step as a training loop takes it: forward, and autograd's gradients of the pair and of every parameter."""
    if dims["B"] != 1 or dims["C"] != dims["H"] or attributes.get("output_gate", "after_projection") != "after_projection":
        raise SystemExit("peers_torch.py: only B = 1, H = C and the gate after the projection")
    incoming = attributes.get("direction", "outgoing") == "incoming"
    n, c = dims["N"], dims["C"]
    pair, mask, gradient = torch.randn(n, n, c).to(dtype), (torch.rand(n, n) > 0.1).to(dtype), torch.randn(n, n, c).to(dtype)
    projection, gate, out_projection, out_gate = ((torch.randn(rows, c) / c**0.5).to(dtype) for rows in (2 * c, 2 * c, c, c))
    norms = [torch.randn(c).to(dtype) for _ in range(4)]
    leaves = [pair, projection, gate, out_projection, out_gate, *norms]
    for leaf in leaves:
        leaf.requires_grad_()

    def eager():
        z = F.layer_norm(pair, (c,), norms[0], norms[1])
        ab = F.linear(z, projection) * torch.sigmoid(F.linear(z, gate)) * mask[..., None]
        a, b = ab.chunk(2, -1)
        o = torch.einsum("kic,kjc->ijc" if incoming else "ikc,jkc->ijc", a, b)
        out = F.linear(F.layer_norm(o, (c,), norms[2], norms[3]), out_projection) * torch.sigmoid(F.linear(z, out_gate))
        return torch.autograd.grad(out, leaves, gradient)[0]

    return {"PyTorch eager": eager}


LAYERS = {"forward": triangle_multiplication, "training": triangle_multiplication_training}
