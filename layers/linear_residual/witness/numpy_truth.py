"""Writes truth.safetensors: a second truth in NumPy float64 over the lattice of switches, also those that no host has, with gradients.

    python numpy_truth.py OUT

Written from the contract's formulas alone, apart from the reference build; gradients by complex steps (conformance/numpy_witness.py).
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


def linear_residual(t, eps, scale):
    u = t.get("residual", 0) + scale * (t["x"] @ t["weight"].T + t.get("bias", 0))
    return norm(u, t["norm_weight"], t.get("norm_bias", 0), eps) if "norm_weight" in t else u


def main(out):
    generator = np.random.default_rng(33)
    cases = []
    lattice = itertools.product([False, True], [False, True], [0, 1, 2], [(1e-12, 1.0), (0.2, -0.7)])
    for index, (residual, bias, norm_kind, (eps, scale)) in enumerate(lattice):
        rows, inputs, outputs = [(5, 8, 6), (1, 12, 5), (7, 9, 8)][index % 3]
        normal = lambda *shape: generator.standard_normal(shape)
        t = {"x": normal(rows, inputs) + 0.2, "weight": normal(outputs, inputs) / inputs**0.5}
        if residual:
            t["residual"] = normal(rows, outputs)
        if bias:
            t["bias"] = normal(outputs)
        if norm_kind:
            t["norm_weight"] = 1 + 0.3 * normal(outputs)
        if norm_kind == 2:
            t["norm_bias"] = normal(outputs)
        function = lambda moved: linear_residual(moved, eps, scale)
        given = list(t)
        t["out"], t["out_gradient"] = function(t), normal(rows, outputs)
        cases.append(({"eps": eps, "scale": scale}, t | gradients(function, t, given, t["out_gradient"])))
    write(out, "linear_residual", cases)


main(sys.argv[1])
