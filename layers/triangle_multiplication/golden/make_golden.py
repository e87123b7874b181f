"""Runs the real host modules once and writes what they answered as small safetensors: the reference's first outside witness.

    python make_golden.py OUT [--openfold DIR] [--megafold DIR] [--gpu-mode DIR] [--alphafold3 DIR]

The directories are checkouts at the commits that ../hosts/*.json name; hosts without a package come from there, the others from the
installed package.  Everything runs on the CPU in float64, with every parameter random: released modules start with zeros that hide errors.
Imports that a module's file makes but triangle multiplication does not use are replaced by empty stand-ins.  Where a host pins float32
(Tensor.float), the pin is widened to float64 while it runs, so that the formula is compared and not its rounding.
File: module/<parameter>, forward/<forward parameter>, output; metadata: host, class, package, version or commit, kind.
"""
import argparse
import ast
import importlib
import importlib.abc
import importlib.machinery
import json
import os
import pathlib
import struct
import sys
import types
from unittest.mock import MagicMock

import numpy as np
import torch

os.environ["LAYERNORM_TYPE"] = "torch"  # protenix otherwise compiles a CUDA norm at import
HOSTS = pathlib.Path(__file__).resolve().parent.parent / "hosts"


class StandIns(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Last finder on the path: what a host imports and no installed package provides becomes an empty module.  Other packages (scipy,
    torch) ask what is installed and behave by the answer; they get the truth."""

    hosts = {"boltz", "openfold", "openfold3", "protenix", "tokamax", "alphafold3", "megafold"}

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


class Golden:
    def __init__(self, out):
        self.out = out

    def write(self, host, class_name, module, forward, output):
        binding = json.loads((HOSTS / f"{host}.json").read_text())
        separator = binding.get("separator", ".")
        source = binding["source"]
        as_numpy = lambda value: value.detach().numpy() if isinstance(value, torch.Tensor) else np.asarray(value)
        tensors = {f"module{separator}{name}": as_numpy(value) for name, value in module.items()}
        tensors |= {f"forward/{name}": as_numpy(value) for name, value in forward.items()}
        tensors["output"] = as_numpy(output)
        assert tensors["output"].dtype == np.float64, f"{host}: output is {tensors['output'].dtype}"
        assert np.abs(tensors["output"]).max() > 0
        metadata = {"kind": "host", "host": host, "class": class_name, "layer": binding["layer"]} | source
        write_safetensors(self.out / f"{host}.{class_name}.safetensors", tensors, metadata)
        print(f"{host}.{class_name}: {source}")

    def run_torch(self, host, class_name, module, inputs):
        module = module.double().eval()
        generator = torch.Generator().manual_seed(sum(map(ord, host + class_name)))
        with torch.no_grad():
            for parameter in module.parameters():
                noise = torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
                parameter.copy_(noise / parameter.shape[-1] ** 0.5 if parameter.ndim > 1 else 0.5 + 0.5 * noise)
            inputs = inputs(generator)
            pinned, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
            try:
                output = module(**{name: value.clone() for name, value in inputs.items()})
            finally:
                torch.Tensor.float = pinned
        self.write(host, class_name, dict(module.named_parameters()), inputs, output)


def pair_inputs(pair, mask, channels, batch=2, residues=6):
    def draw(generator):
        x = torch.randn(batch, residues, residues, channels, generator=generator, dtype=torch.float64)
        m = (torch.rand(batch, residues, residues, generator=generator) < 0.8).double()
        return {pair: x, mask: m}
    return draw


def token_inputs(channels):
    def draw(generator):
        x = torch.randn(2, 6, 6, channels, generator=generator, dtype=torch.float64)
        return {"x": x, "mask": torch.tensor([[1, 1, 0, 1, 1, 1], [1, 1, 1, 1, 0, 0]], dtype=torch.bool)}
    return draw


def transformers_hosts(golden):
    from transformers.models.esmfold2 import modeling_esmfold2
    from transformers.models.esm import modeling_esmfold
    for flow in ("outgoing", "incoming"):
        config = types.SimpleNamespace(pairwise_hidden_size=16, chunk_size=4, pairwise_state_dim=16)
        module = modeling_esmfold2.EsmFold2TriangleMultiplicativeUpdate(config, outgoing=flow == "outgoing")
        golden.run_torch("esmfold2", f"EsmFold2TriangleMultiplicativeUpdate_{flow}", module, pair_inputs("pair_grid", "visibility", 16))
        module = modeling_esmfold.EsmFoldTriangleMultiplicativeUpdate(config, _outgoing=flow == "outgoing")
        golden.run_torch("esmfold", f"EsmFoldTriangleMultiplicativeUpdate_{flow}", module, pair_inputs("z", "mask", 16))


def boltz_host(golden):
    boltz = importlib.import_module("boltz.model.layers.triangular_mult")
    for direction in ("Outgoing", "Incoming"):
        name = f"TriangleMultiplication{direction}"
        golden.run_torch("boltz", name, getattr(boltz, name)(16), pair_inputs("x", "mask", 16))


def separate_hosts(golden, host, module_path, names):
    module = importlib.import_module(module_path)
    for name in names:
        golden.run_torch(host, name, getattr(module, name)(16, 24), pair_inputs("z", "mask", 16))


def lucidrains(golden, host, path, names, extra, channels=16):
    """Two relatives: alphafold3-pytorch (no input norm: that is its wrapper's) and MegaFold (norms fused into the linears)."""
    import einops
    from einops import rearrange
    from functools import partial
    from typing import Literal
    from torch import nn
    scope = {"nn": nn, "Module": nn.Module, "Sequential": nn.Sequential, "Linear": nn.Linear, "LinearNoBias": partial(nn.Linear, bias=False),
             "typecheck": lambda function: function, "exists": lambda v: v is not None, "default": lambda v, d: d if v is None else v,
             "rearrange": rearrange, "einsum": einops.einsum, "Literal": Literal, "torch": torch, "Tensor": torch.Tensor,
             "to_pairwise_mask": lambda m: m[:, :, None] & m[:, None, :], "LayerNorm": nn.LayerNorm} | extra
    scope = class_source(path, names, scope)
    for flow in ("outgoing", "incoming"):
        module = scope["TriangleMultiplication"](dim=channels, mix=flow)
        golden.run_torch(host, f"TriangleMultiplication_{flow}", module, token_inputs(channels))


class LayernormLinear(torch.nn.Module):
    """MegaFold's fused kernel exists in Triton only; this is its parameters and its formula in plain torch."""

    def __init__(self, inputs, outputs, has_linear_bias=True):
        super().__init__()
        empty = lambda *shape: torch.nn.Parameter(torch.empty(*shape))
        self.WEIGHT, self.BIAS, self.linear_weight = empty(inputs), empty(inputs), empty(inputs, outputs)
        self.linear_bias = empty(outputs) if has_linear_bias else None

    def forward(self, x):
        x = torch.nn.functional.layer_norm(x, x.shape[-1:], self.WEIGHT, self.BIAS, 1e-5) @ self.linear_weight
        return x if self.linear_bias is None else x + self.linear_bias


def random_arrays(generator, shapes):
    return {name: generator.standard_normal(shape) / (shape[0] ** 0.5 if len(shape) > 1 else 1) for name, shape in shapes.items()}


def tokamax(golden):
    """The XLA implementation of the package, jax in 64 bits."""
    import jax
    jax.config.update("jax_enable_x64", True)
    api = importlib.import_module("tokamax._src.ops.triangle_multiplication.base").TriangleMultiplication()
    for flow in ("outgoing", "incoming"):
        generator = np.random.default_rng(len(flow))
        weights = random_arrays(generator, {
            "projection_in_weights": (16, 2, 24), "gate_in_weights": (16, 2, 24), "projection_out_weights": (24, 16),
            "gate_out_weights": (16, 16), "layernorm_in_scale": (16,), "layernorm_in_offset": (16,),
            "layernorm_out_scale": (24,), "layernorm_out_offset": (24,)})
        inputs = {"x": generator.standard_normal((6, 6, 16)), "mask": generator.random((6, 6)) < 0.8}
        output = api(**{k: jax.numpy.asarray(v) for k, v in (inputs | weights).items()}, triangle_type=flow, epsilon=1e-6)
        golden.write("tokamax", f"triangle_multiplication_{flow}", weights, inputs, np.asarray(output))


def alphafold3(golden, root):
    """Haiku module of the checkout; its gated linear unit kernel is switched off, which the host says gives the same result."""
    import haiku as hk
    import jax
    jax.config.update("jax_enable_x64", True)
    sys.path.insert(0, str(pathlib.Path(root) / "src"))
    haiku_modules = importlib.import_module("alphafold3.model.components.haiku_modules")
    scope = {"hk": hk, "jnp": jax.numpy, "jax": jax, "hm": haiku_modules, "base_config": types.SimpleNamespace(BaseConfig=object)}
    module = class_source(pathlib.Path(root) / "src/alphafold3/model/network/modules.py", ["TriangleMultiplication"], scope)
    for flow, equation in (("outgoing", "ikc,jkc->ijc"), ("incoming", "kjc,kic->ijc")):
        config = types.SimpleNamespace(equation=equation, use_glu_kernel=False)
        run = hk.transform(lambda act, mask: module["TriangleMultiplication"](
            config, types.SimpleNamespace(final_init="linear"), name="m")(act, mask))
        generator = np.random.default_rng(len(flow))
        inputs = {"act": generator.standard_normal((6, 6, 16)), "mask": (generator.random((6, 6)) < 0.8).astype(np.float64)}
        made = run.init(jax.random.PRNGKey(0), **inputs)
        made = {scope_name: {k: v for k, v in random_arrays(generator, {k: v.shape for k, v in part.items()}).items()} for scope_name, part in made.items()}
        output = run.apply(made, None, **inputs)
        flat = {f"{scope_name.split('/', 1)[1]}/{k}": v for scope_name, part in made.items() for k, v in part.items()}
        golden.write("alphafold3", f"TriangleMultiplication_{flow}", flat, inputs, np.asarray(output))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    for name in ("openfold", "megafold", "gpu-mode", "alphafold3"):
        parser.add_argument(f"--{name}")
    arguments = parser.parse_args()
    golden = Golden(arguments.out)
    failures = []

    def attempt(label, function, *rest):
        try:
            function(golden, *rest)
        except Exception as error:  # each host stands alone; the exit code says that one is missing
            failures.append(label)
            print(f"{label}: NOT RUN: {type(error).__name__}: {error}", file=sys.stderr)

    both = ["TriangleMultiplicationOutgoing", "TriangleMultiplicationIncoming"]
    attempt("transformers", transformers_hosts)
    sys.meta_path.append(StandIns())
    attempt("boltz", boltz_host)
    attempt("openfold3", separate_hosts, "openfold3", "openfold3.core.model.layers.triangular_multiplicative_update", both)
    attempt("protenix", separate_hosts, "protenix", "protenix.model.triangular.triangular", both)
    package = pathlib.Path(np.__file__).parent.parent / "alphafold3_pytorch/alphafold3.py"
    no_dropout = {"Dropout": lambda *rest, **named: torch.nn.Identity()}  # evaluation: dropout is the identity
    attempt("alphafold3-pytorch", lucidrains, "alphafold3_pytorch", package, ["TriangleMultiplication"], no_dropout)
    attempt("tokamax", tokamax)
    if arguments.openfold:
        sys.path.insert(0, arguments.openfold)
        path = "openfold.model.triangular_multiplicative_update"
        attempt("openfold", separate_hosts, "openfold", path, both)
        attempt("openfold fused", separate_hosts, "openfold_fused", path, [f"Fused{name}" for name in both])
    if arguments.megafold:
        path = pathlib.Path(arguments.megafold) / "megafold/model/megafold.py"
        attempt("megafold", lucidrains, "megafold", path, ["TriangleMultiplication"], no_dropout | {"LayernormLinear": LayernormLinear})
    if arguments.gpu_mode:
        scope = {"torch": torch, "nn": torch.nn, "einsum": torch.einsum}
        path = pathlib.Path(arguments.gpu_mode) / "problems/bioml/trimul/reference.py"
        attempt("gpu_mode", lambda g: g.run_torch("gpu_mode", "TriMul", class_source(path, ["TriMul"], scope)["TriMul"](16, 24),
                                                  pair_inputs("x", "mask", 16)))
    if arguments.alphafold3:
        attempt("alphafold3", alphafold3, arguments.alphafold3)
    sys.exit(1 if failures else 0)


main()
