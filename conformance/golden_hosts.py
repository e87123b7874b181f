"""Runs real host modules in float64 and writes what they answered as small safetensors; layers/*/golden/make_golden.py say which.

Every parameter is random: released modules start with zeros that hide errors.  Where a host pins float32 (Tensor.float), the pin is widened
to float64 while it runs, so that the formula is compared and not its rounding.  Imports that a module's file makes but the layer does not use
are replaced by empty stand-ins.
File: module/<parameter>, forward/<forward parameter>, output, and with gradients: out_gradient, gradient/module/<parameter>,
gradient/forward/<forward parameter>; metadata: kind, host, class, layer, package, version or commit.
"""
import ast
import importlib.abc
import importlib.machinery
import json
import pathlib
import struct
import sys
import types
from unittest.mock import MagicMock

import numpy as np
import torch


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last finder on the path: what a host imports and no installed package provides becomes an empty module.  Other packages (scipy,
    torch) ask what is installed and behave by the answer; they get the truth."""

    def __init__(self, hosts):
        self.hosts = set(hosts)

    def find_spec(self, name, path=None, target=None):
        frame = sys._getframe(1)
        while frame.f_globals.get("__name__", "").startswith("importlib"):
            frame = frame.f_back
        if frame.f_globals.get("__name__", "").partition(".")[0] not in self.hosts:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        module = types.ModuleType(spec.name)
        module.__path__ = []
        module.__getattr__ = lambda name: MagicMock(name=name) if not name.startswith("__") else (_ for _ in ()).throw(AttributeError(name))
        return module

    def exec_module(self, module):
        pass


def class_source(path, names, scope):
    """Executes only the named classes and functions of a file whose imports are too heavy to satisfy."""
    tree = ast.parse(pathlib.Path(path).read_text())
    tree.body = [node for node in tree.body if isinstance(node, (ast.ClassDef, ast.FunctionDef)) and node.name in names]
    missing = set(names) - {node.name for node in tree.body}
    if missing:
        raise SystemExit(f"{path}: {sorted(missing)} not found")
    exec(compile("from __future__ import annotations\n" + ast.unparse(tree), str(path), "exec"), scope)
    return scope


def write_safetensors(path, tensors, metadata):
    words = {"float64": "F64", "float32": "F32", "bool": "BOOL", "int64": "I64"}
    header, blobs, at = {"__metadata__": metadata}, [], 0
    for name, array in sorted(tensors.items(), key=lambda item: (-item[1].itemsize, item[0])):
        data = np.ascontiguousarray(array).tobytes()
        header[name] = {"dtype": words[str(array.dtype)], "shape": list(array.shape), "data_offsets": [at, at + len(data)]}
        blobs.append(data)
        at += len(data)
    text = json.dumps(header, sort_keys=True).encode()
    text += b" " * (-len(text) % 8)
    path.write_bytes(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def as_numpy(value):
    return value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)


class Golden:
    """Writes into `out`, by the bindings in `hosts`."""

    def __init__(self, out, hosts):
        self.out, self.hosts = pathlib.Path(out), pathlib.Path(hosts)
        self.failures = []

    def write(self, host, class_name, module, forward, output, out_gradient=None, gradients=None):
        """`gradients`: {"module": {...}, "forward": {...}} of sum(output * out_gradient)."""
        binding = json.loads((self.hosts / f"{host}.json").read_text())
        separator = binding.get("separator", ".")
        tensors = {f"module{separator}{name}": as_numpy(value) for name, value in module.items()}
        tensors |= {f"forward/{name}": as_numpy(value) for name, value in forward.items()}
        tensors["output"] = as_numpy(output)
        if gradients is not None:
            tensors["out_gradient"] = as_numpy(out_gradient)
            tensors |= {f"gradient/module{separator}{name}": as_numpy(value) for name, value in gradients["module"].items()}
            tensors |= {f"gradient/forward/{name}": as_numpy(value) for name, value in gradients["forward"].items()}
        assert tensors["output"].dtype == np.float64, f"{host}: output is {tensors['output'].dtype}"
        assert all(np.abs(array).max() > 0 for array in tensors.values())
        metadata = {"kind": "host", "host": host, "class": class_name, "layer": binding["layer"]} | binding["source"]
        write_safetensors(self.out / f"{host}.{class_name}.safetensors", tensors, metadata)
        print(f"{host}.{class_name}: {binding['source']}")

    def run_torch(self, host, class_name, module, draw, training=True, differentiated=()):
        """draw(generator) -> forward arguments; the first and those named in `differentiated` get gradients too."""
        module = module.double().train(training)
        generator = torch.Generator().manual_seed(sum(map(ord, host + class_name)))
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(noise / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.5 + 0.5 * noise)
                parameter.requires_grad_()
        inputs = draw(generator)
        differentiated = [next(iter(inputs)), *differentiated]
        for name in differentiated:
            inputs[name].requires_grad_()
        pinned, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
        try:
            output = module(**inputs)
        finally:
            torch.Tensor.float = pinned
        out_gradient = torch.randn(output.shape, generator=generator, dtype=torch.float64)
        output.backward(out_gradient)
        named = dict(module.named_parameters())
        self.write(host, class_name, named, inputs, output, out_gradient,
                   {"module": {name: value.grad for name, value in named.items()}, "forward": {name: inputs[name].grad for name in differentiated}})

    def attempt(self, label, function, *rest):
        """Each host stands alone; `failures` says which are missing."""
        try:
            function(self, *rest)
        except Exception as error:
            self.failures.append(label)
            print(f"{label}: NOT RUN: {type(error).__name__}: {error}", file=sys.stderr)


def random_arrays(generator, shapes):
    return {name: generator.standard_normal(shape) / (shape[0] ** 0.5 if len(shape) > 1 else 1) for name, shape in shapes.items()}
