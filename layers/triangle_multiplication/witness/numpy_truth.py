"""Writes truth.safetensors: a second truth in NumPy float64 over the lattice of switches, also those that no host has.

    python numpy_truth.py OUT

Written from the contract's formulas alone, apart from the reference build.  Every combination of direction, operands, place of the output
gate and mask; biases, input norm, residual, dropout mask, eps and sizes (H different from C, one residue, batches) vary along with them.
Gradients of the pair and of every parameter, by complex steps, stand beside the first of each three.  The file: conformance/numpy_witness.py.
"""
import itertools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "conformance"))
from numpy_witness import gradients, write  # noqa: E402


def norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def triangle_multiplication(t, direction, operands, output_gate, eps):
    def linear(name, x):
        y = np.einsum("...c,dc->...d", x, t[f"{name}_weight"])
        return y + t[f"{name}_bias"] if f"{name}_bias" in t else y

    def gate(name, x):
        return 1 / (1 + np.exp(-linear(name, x)))

    z = norm(t["pair"], t["norm_in_weight"], t["norm_in_bias"], eps) if "norm_in_weight" in t else t["pair"]
    mask = t.get("pair_mask")
    if "token_mask" in t:
        mask = t["token_mask"][:, :, None] * t["token_mask"][:, None, :]
    a, b = (linear(f"{s}_projection", z) * gate(f"{s}_gate", z) for s in "ab")
    if mask is not None:
        a, b = a * mask[..., None], b * mask[..., None]
    left, right = (a, b) if operands == "ab" else (b, a)
    o = np.einsum("zikh,zjkh->zijh" if direction == "outgoing" else "zkih,zkjh->zijh", left, right)
    o = norm(o, t["norm_out_weight"], t["norm_out_bias"], eps)
    if output_gate == "after_projection":
        u = linear("out_projection", o) * gate("out_gate", z)
    else:
        u = linear("out_projection", o * gate("out_gate", z))
    if "dropout_mask" in t:
        u = u * t["dropout_mask"]
    return u + t["residual"] if "residual" in t else u


def draw(generator, index, output_gate, mask):
    batch, residues, channels, hidden = [(1, 5, 8, 16), (2, 4, 16, 8), (1, 1, 8, 8), (1, 7, 24, 8)][index // 3 % 4]
    gate_width = channels if output_gate == "after_projection" else hidden
    normal = lambda *shape: generator.standard_normal(shape)
    t = {"pair": normal(batch, residues, residues, channels) + 0.5}
    if mask == "pair":
        t["pair_mask"] = generator.random((batch, residues, residues))
    if mask == "token":
        t["token_mask"] = generator.random((batch, residues)).round(1)
    on = lambda bit: generator.random() < 0.5
    if on(0):
        t["residual"] = normal(*t["pair"].shape)
    if on(1):
        t["dropout_mask"] = (generator.random(t["pair"].shape) < 0.75) / 0.75
    if on(2):
        t["norm_in_weight"], t["norm_in_bias"] = 1 + 0.3 * normal(channels), normal(channels)
    t["norm_out_weight"], t["norm_out_bias"] = 1 + 0.3 * normal(hidden), normal(hidden)
    shapes = {f"{s}_{w}": (hidden, channels) for s in "ab" for w in ("projection", "gate")}
    shapes |= {"out_projection": (channels, hidden), "out_gate": (gate_width, channels)}
    for name, (rows, columns) in shapes.items():
        t[f"{name}_weight"] = normal(rows, columns) / columns**0.5
        if on(3):
            t[f"{name}_bias"] = normal(rows)
    return t


def main(out):
    generator = np.random.default_rng(2021)
    cases = []
    lattice = itertools.product(("outgoing", "incoming"), ("ab", "ba"), ("after_projection", "before_projection"), ("none", "pair", "token"), range(3))
    for index, (direction, operands, output_gate, mask, repeat) in enumerate(lattice):
        t = draw(generator, index, output_gate, mask)
        attributes = {"direction": direction, "operands": operands, "output_gate": output_gate, "eps": (1e-5, 1e-6, 0.1)[repeat]}
        arrays = dict(t) | {"out": triangle_multiplication(t, **attributes)}
        if repeat == 0:
            arrays["out_gradient"] = np.random.default_rng(index).standard_normal(t["pair"].shape)
            names = ["pair"] + [name for name in t if name.endswith(("_weight", "_bias"))]
            arrays |= gradients(lambda moved: triangle_multiplication(moved, **attributes), t, names, arrays["out_gradient"])
        cases.append((attributes, arrays))
    write(out, "triangle_multiplication", cases)


main(sys.argv[1])
