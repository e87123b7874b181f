"""Writes truth.safetensors: a second truth in NumPy float64 over the lattice of switches, also those that no host has, with gradients.

    python numpy_truth.py OUT

Written from the contract's formulas alone, apart from the reference build; gradients by complex steps (conformance/numpy_witness.py).
"""
import itertools
import pathlib
import sys

import numpy as np
from scipy.special import erf

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "conformance"))
from numpy_witness import gradients, write  # noqa: E402


def activate(activation, y):
    logistic = lambda value: 1 / (1 + np.exp(-value))
    if activation == "relu":
        return np.where(y.real > 0, y, 0)
    if activation == "gelu_erf":
        return y * (1 + erf(y / 2**0.5)) / 2
    if activation == "gelu_tanh":
        return y * (1 + np.tanh((2 / np.pi) ** 0.5 * (y + 0.044715 * y**3))) / 2
    return {"none": y, "gelu_sigmoid": y * logistic(1.702 * y), "silu": y * logistic(y)}[activation]


def main(out):
    generator = np.random.default_rng(32)
    cases = []
    lattice = itertools.product(["none", "relu", "gelu_erf", "gelu_tanh", "gelu_sigmoid", "silu"], [False, True], [1, 3])
    for index, (activation, bias, width) in enumerate(lattice):
        rows, inputs, outputs = [(5, 8, 6), (1, 12, 5), (7, 9, 8)][index % 3]
        normal = lambda *shape: generator.standard_normal(shape)
        t = {"x": width * normal(rows, inputs) + 0.2, "weight": normal(outputs, inputs) / inputs**0.5}
        if bias:
            t["bias"] = normal(outputs)
        function = lambda moved: activate(activation, moved["x"] @ moved["weight"].T + moved.get("bias", 0))
        given = list(t)
        t["out"], t["out_gradient"] = function(t), normal(rows, outputs)
        cases.append(({"activation": activation}, t | gradients(function, t, given, t["out_gradient"])))
    write(out, "linear_activation", cases)


main(sys.argv[1])
