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


def layernorm_linear(t, eps):
    return norm(t["x"], t.get("norm_weight", 1), t.get("norm_bias", 0), eps) @ t["weight"].T + t.get("bias", 0)


def main(out):
    generator = np.random.default_rng(31)
    cases = []
    lattice = itertools.product([False, True], [False, True], [False, True], [1e-5, 0.0, 0.3])
    for index, (weight, offset, bias, eps) in enumerate(lattice):
        rows, inputs, outputs = [(5, 8, 6), (1, 12, 3), (7, 9, 8)][index % 3]
        normal = lambda *shape: generator.standard_normal(shape)
        t = {"x": 2 * normal(rows, inputs) + 0.5, "weight": normal(outputs, inputs) / inputs**0.5}
        if weight:
            t["norm_weight"] = 1 + 0.3 * normal(inputs)
        if offset:
            t["norm_bias"] = normal(inputs)
        if bias:
            t["bias"] = normal(outputs)
        function = lambda moved: layernorm_linear(moved, eps)
        given = list(t)
        t["out"], t["out_gradient"] = function(t), normal(rows, outputs)
        cases.append(({"eps": eps}, t | gradients(function, t, given, t["out_gradient"])))
    write(out, "layernorm_linear", cases)


main(sys.argv[1])
