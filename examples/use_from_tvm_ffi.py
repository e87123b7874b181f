"""Runs op "forward" of a build through tvm-ffi on seeded noise: NumPy arrays in and, where torch is installed, torch tensors too.

    pip install apache-tvm-ffi numpy
    python use_from_tvm_ffi.py triangle_multiplication-1.0.0-cpu_avx512-tvm_ffi.so
"""
import sys

import numpy as np
import tvm_ffi

B, N, C, H = 1, 40, 32, 32
ARGUMENTS = {  # those that forward cannot do without, in the order of the contract
    "pair": (B, N, N, C), "a_projection_weight": (H, C), "a_gate_weight": (H, C), "b_projection_weight": (H, C), "b_gate_weight": (H, C),
    "norm_out_weight": (H,), "norm_out_bias": (H,), "out_projection_weight": (C, H), "out_gate_weight": (C, C)}


def noise(count, start):
    """splitmix64, as every example has it: `count` floats in [-1, 1), after the `start` before them."""
    z = np.uint64(1) + (np.arange(start + 1, start + count + 1, dtype=np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((z ^ (z >> np.uint64(31))) >> np.uint64(40)).astype(np.float32) / np.float32(8388608) - np.float32(1)


def problem():
    arrays, drawn = {}, 0
    for name, shape in ARGUMENTS.items():
        scale = np.float32(1 / np.sqrt(np.float32(shape[1]))) if len(shape) == 2 else np.float32(1)
        arrays[name] = (scale * noise(int(np.prod(shape)), drawn)).reshape(shape)
        drawn += arrays[name].size
    return arrays


def main():
    module = tvm_ffi.load_module(sys.argv[1])
    arrays = problem()

    # The first argument by position, the others as pairs of a name and a value; attributes come the same way.
    pairs = [word for item in arrays.items() if item[0] != "pair" for word in item]
    out = np.empty_like(arrays["pair"])
    module.forward(arrays["pair"], *pairs, "out", out, "direction", "outgoing")

    # Packed once, the weights are read faster.  A result that is left out is allocated and returned.
    packed = module.pack(*pairs)
    again = np.from_dlpack(module.forward(arrays["pair"], *pairs, "packed", packed))
    assert np.allclose(again, out, atol=1e-4)

    try:  # refusals are Python's exceptions, in the build's own words
        module.forward(arrays["pair"], *pairs, "eps", -1)
    except ValueError as error:
        print(error)

    try:
        import torch
    except ImportError:
        torch = None
    if torch:  # the same call; on a GPU it runs on torch's current stream, with memory from torch's allocator
        tensors = [torch.from_numpy(word) if isinstance(word, np.ndarray) else word for word in pairs]
        result = module.forward(torch.from_numpy(arrays["pair"]), *tensors)
        assert isinstance(result, torch.Tensor) and np.array_equal(result.numpy(), out)

    values = out.astype(np.float64).ravel()
    weights = np.arange(values.size) * 7919 % 1013 / 1013
    print(f"checksum norm {np.sqrt((values * values).sum()):.9g} dot {(values * weights).sum():.9g}")


main()
