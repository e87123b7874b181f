"""Runs op "forward" of a build inside jax.jit on seeded noise, then twice as many problems by vmap.

    pip install jax
    PYTHONPATH=lib/lamina/python python use_from_jax.py triangle_multiplication-1.0.0-cpu_avx512.so
"""
import sys

import jax
import lamina_jax
import numpy as np

B, N, C, H = 1, 40, 32, 32
WEIGHTS = {  # those that forward cannot do without, in the order of the contract
    "a_projection_weight": (H, C), "a_gate_weight": (H, C), "b_projection_weight": (H, C), "b_gate_weight": (H, C),
    "norm_out_weight": (H,), "norm_out_bias": (H,), "out_projection_weight": (C, H), "out_gate_weight": (C, C)}


def noise(count, start):
    """splitmix64, as every example has it: `count` floats in [-1, 1), after the `start` before them."""
    z = np.uint64(1) + (np.arange(start + 1, start + count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(8388608) - np.float32(1)


def main():
    pair = noise(B * N * N * C, 0).reshape(B, N, N, C)
    weights, drawn = {}, pair.size
    for name, shape in WEIGHTS.items():
        scale = np.float32(1 / np.sqrt(np.float32(shape[1]))) if len(shape) == 2 else np.float32(1)
        weights[name] = scale * noise(int(np.prod(shape)), drawn).reshape(shape)
        drawn += weights[name].size

    layer = lamina_jax.load(sys.argv[1])
    packed = layer.pack(**weights)  # once for a set of weights; may be left out below

    @jax.jit
    def update(pair):
        return layer.forward(pair=pair, **weights, packed=packed, direction="outgoing")

    out = np.asarray(update(pair))
    both = jax.vmap(update)(np.stack([pair, 2 * pair]))
    assert np.array_equal(both[0], out)

    try:  # refusals come while tracing, in the build's own words
        layer.forward(pair=pair[..., : C - 1], **weights)
    except ValueError as error:
        print(error)

    values = out.astype(np.float64).ravel()
    dots = np.arange(values.size) * 7919 % 1013 / 1013
    print(f"checksum norm {np.sqrt((values * values).sum()):.9g} dot {(values * dots).sum():.9g}")


main()
