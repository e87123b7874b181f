"""Writes truth.safetensors: a second truth in NumPy float64 over the lattice of switches, also those that no host has.

    python numpy_truth.py OUT

Written from the contract's formulas alone, apart from the reference build.  Every combination of activation, norm (none, without and with
bias), residual and row mask; biases, eps and sizes vary along with them.
Gradients of the rows, the residual and every parameter, by complex steps, stand beside the first of each three.  The file: conformance/numpy_witness.py.
"""
import itertools
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "conformance"))
from numpy_witness import gradients, write  # noqa: E402


def transition(t, activation, eps):
    def linear(name, x):
        return np.einsum("mc,dc->md", x, t[f"{name}_weight"]) + t.get(f"{name}_bias", 0)

    z = t["x"]
    if "norm_weight" in t:
        centred = z - z.mean(-1, keepdims=True)
        z = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * t["norm_weight"] + t.get("norm_bias", 0)
    up = linear("up", z)
    if activation == "swiglu":
        gate = linear("gate", z)
        hidden = gate / (1 + np.exp(-gate)) * up
    else:
        hidden = np.maximum(up, 0)
    out = linear("down", hidden)
    if "row_mask" in t:
        out = out * t["row_mask"][:, None]
    return out + t["residual"] if "residual" in t else out


def draw(generator, index, activation, norm, residual, mask):
    rows, channels, hidden = [(5, 8, 16), (1, 24, 8), (9, 16, 40)][index % 3]
    normal = lambda *shape: generator.standard_normal(shape)
    t = {"x": 2 * normal(rows, channels) + 0.5}
    if residual:
        t["residual"] = normal(rows, channels)
    if mask:
        t["row_mask"] = generator.random(rows)
    if norm:
        t["norm_weight"] = 1 + 0.3 * normal(channels)
    if norm == 2:
        t["norm_bias"] = normal(channels)
    shapes = {"up": (hidden, channels), "down": (channels, hidden)}
    if activation == "swiglu":
        shapes["gate"] = (hidden, channels)
    for name, (outputs, inputs) in shapes.items():
        t[f"{name}_weight"] = normal(outputs, inputs) / inputs**0.5
        if generator.random() < 0.5:
            t[f"{name}_bias"] = normal(outputs)
    return t


def main(out):
    generator, slopes = np.random.default_rng(20), np.random.default_rng(21)
    cases = []
    lattice = itertools.product(["swiglu", "relu"], [0, 1, 2], [False, True], [False, True])
    for index, (activation, norm, residual, mask) in enumerate(lattice):
        attributes = {"activation": activation, "eps": [1e-5, 1e-3, 0.0][index % 3]}
        t = draw(generator, index, activation, norm, residual, mask)
        case = t | {"out": transition(t, **attributes)}
        if index % 3 == 0:
            case["out_gradient"] = slopes.standard_normal(case["out"].shape)
            case |= gradients(lambda moved: transition(moved, **attributes), t, [name for name in t if name != "row_mask"], case["out_gradient"])
        cases.append((attributes, case))
    write(out, "transition", cases)


main(sys.argv[1])
