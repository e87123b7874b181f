"""What layers/*/witness/numpy_truth.py share: gradients without anyone's derivatives, and the file.

File: case_NNN/<argument>, case_NNN/out, with gradients case_NNN/out_gradient and case_NNN/<argument>_gradient; the case's attributes as JSON in
metadata case_NNN.
"""
import json
import pathlib
import struct

import numpy as np


def gradients(function, tensors, names, out_gradient):
    """{name_gradient: d sum(function(tensors) * out_gradient) / d tensors[name]} by complex steps: exact to rounding for any function that NumPy
    evaluates in complex numbers, since no difference of nearby values is taken."""
    found = {}
    for name in names:
        gradient = np.zeros_like(tensors[name])
        for index in np.ndindex(gradient.shape):
            moved = dict(tensors) | {name: tensors[name].astype(complex)}
            moved[name][index] += 1e-30j
            gradient[index] = np.sum(function(moved).imag * out_gradient) / 1e-30
        found[f"{name}_gradient"] = gradient
    return found


def write(out, layer, cases):
    """cases: [(attributes, {name: array})]"""
    tensors, metadata = {}, {"kind": "arguments", "layer": layer}
    for index, (attributes, arrays) in enumerate(cases):
        metadata[f"case_{index:03d}"] = json.dumps(attributes)
        tensors |= {f"case_{index:03d}/{name}": array for name, array in arrays.items()}
    header, blobs, at = {"__metadata__": metadata}, [], 0
    for name, array in sorted(tensors.items()):
        data = np.ascontiguousarray(array, dtype=np.float64).tobytes()
        header[name] = {"dtype": "F64", "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    (pathlib.Path(out) / "truth.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))
