"""Runs the real host modules once, forward and backward; how and into what file says conformance/golden_hosts.py.

    python make_golden.py OUT [--openfold DIR] [--megafold DIR] [--gpu-mode DIR] [--alphafold3 DIR]

The directories are checkouts at the commits that ../hosts/*.json name; hosts without a package come from there, the others from the
installed package.
"""
import argparse
import importlib
import os
import pathlib
import sys
import types

import numpy as np
import torch

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "conformance"))
from golden_hosts import Golden, StandIns, class_source, random_arrays  # noqa: E402

os.environ["LAYERNORM_TYPE"] = "torch"  # protenix otherwise compiles a CUDA norm at import


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
        run = lambda w, x: api(x=x, mask=jax.numpy.asarray(inputs["mask"]), **w, triangle_type=flow, epsilon=1e-6)
        output, back = jax.vjp(run, weights, inputs["x"])
        out_gradient = generator.standard_normal(output.shape)
        weight_gradients, x_gradient = back(out_gradient)
        golden.write("tokamax", f"triangle_multiplication_{flow}", weights, inputs, output, out_gradient,
                     {"module": weight_gradients, "forward": {"x": x_gradient}})


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
        output, back = jax.vjp(lambda weights, act: run.apply(weights, None, act=act, mask=inputs["mask"]), made, inputs["act"])
        out_gradient = generator.standard_normal(output.shape)
        weight_gradients, act_gradient = back(out_gradient)
        flat = lambda tree: {f"{scope_name.split('/', 1)[1]}/{k}": v for scope_name, part in tree.items() for k, v in part.items()}
        golden.write("alphafold3", f"TriangleMultiplication_{flow}", flat(made), inputs, output, out_gradient,
                     {"module": flat(weight_gradients), "forward": {"act": act_gradient}})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    for name in ("openfold", "megafold", "gpu-mode", "alphafold3"):
        parser.add_argument(f"--{name}")
    arguments = parser.parse_args()
    golden = Golden(arguments.out, HERE.parent / "hosts")
    attempt = golden.attempt
    both = ["TriangleMultiplicationOutgoing", "TriangleMultiplicationIncoming"]
    attempt("transformers", transformers_hosts)
    sys.meta_path.append(StandIns({"boltz", "openfold", "openfold3", "protenix", "tokamax", "alphafold3", "megafold"}))
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
    sys.exit(1 if golden.failures else 0)


main()
