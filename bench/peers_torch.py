"""Times PyTorch's forms of a layer on the CPU and prints [{"name", "milliseconds"}] as JSON.

peers_torch.py LAYER OP DTYPE THREADS LETTER=EXTENT... ATTRIBUTE=VALUE...
Run by `lamina bench`, which sets the allocator's environment.  A layer is a function here: forms of equal maths, each of
which returns the same tensor.
"""
import json
import sys
import time

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


LAYERS = {
    ("triangle_multiplication", "forward"): triangle_multiplication,
    ("triangle_multiplication", "training"): triangle_multiplication_training,
}


def milliseconds(form, seconds=2.0, repeats=4):
    """The best of at least `repeats` calls after one that warms up."""
    form()
    best, total, calls = float("inf"), 0.0, 0
    while calls < repeats or total < seconds:
        begin = time.perf_counter()
        form()
        took = time.perf_counter() - begin
        best, total, calls = min(best, took), total + took, calls + 1
    return best * 1e3


def main(arguments):
    layer, op, dtype, threads = arguments[:4]
    values = dict(word.split("=", 1) for word in arguments[4:])
    dims = {name: int(value) for name, value in values.items() if len(name) == 1}
    attributes = {name: value for name, value in values.items() if len(name) > 1}
    if (layer, op) not in LAYERS:
        raise SystemExit(f"peers_torch.py: no PyTorch form of {layer}.{op}")
    torch.manual_seed(1)
    torch.set_num_threads(int(threads))
    with torch.inference_mode() if op != "training" else torch.enable_grad():
        forms = LAYERS[layer, op](dims, getattr(torch, dtype), attributes)
        results = [form().double() for form in forms.values()]
        for result in results[1:]:
            difference = ((result - results[0]).norm() / results[0].norm()).item()
            if not difference < 0.02:
                raise SystemExit(f"peers_torch.py: the forms differ by {difference}")
        print(json.dumps([{"name": name, "milliseconds": milliseconds(form)} for name, form in forms.items()]))


if __name__ == "__main__":
    main(sys.argv[1:])
