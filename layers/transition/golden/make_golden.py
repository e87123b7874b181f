"""Runs the real transitions of the hosts once, forward and backward; how and into what file says conformance/golden_hosts.py.

    python make_golden.py OUT [--openfold DIR] [--megafold DIR] [--alphafold3 DIR]

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
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "conformance"))
from golden_hosts import Golden, StandIns, class_source, random_arrays  # noqa: E402

os.environ["LAYERNORM_TYPE"] = "torch"  # protenix otherwise compiles a CUDA norm at import
C, FACTOR = 16, 2


def rows(name, mask=False, shape=(2, 3, 5)):
    def draw(generator):
        drawn = {name: torch.randn(*shape, C, generator=generator, dtype=torch.float64)}
        if mask:
            drawn["mask"] = (torch.rand(*shape, generator=generator) < 0.7).double()
        return drawn
    return draw


def transformers_hosts(golden):
    from transformers.models.esm import modeling_esmfold
    from transformers.models.esmfold2 import modeling_esmfold2
    golden.run_torch("esmfold2", "EsmFold2Transition", modeling_esmfold2.EsmFold2Transition(C, FACTOR * C, 2), rows("hidden_states"))
    golden.run_torch("esmfold", "EsmFoldResidueMLP", modeling_esmfold.EsmFoldResidueMLP(C, FACTOR * C), rows("x"))


def module_of(golden, host, path, name, draw, *sizes):
    golden.run_torch(host, name, getattr(importlib.import_module(path), name)(*sizes), draw)


def lucidrains(golden, path):
    scope = {"nn": nn, "Module": nn.Module, "Sequential": nn.Sequential, "F": nn.functional, "typecheck": lambda function: function,
             "LinearNoBias": lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False)}
    class_source(path, ["SwiGLU", "Transition"], scope)
    golden.run_torch("alphafold3_pytorch", "Transition", scope["Transition"](dim=C, expansion_factor=FACTOR), rows("x"))


class LayernormLinear(nn.Module):
    """MegaFold's fused kernel exists in Triton only; this is its parameters and its formula in plain torch."""

    def __init__(self, inputs, outputs, has_linear_bias=True, device=None, dtype=None):
        super().__init__()
        empty = lambda *shape: nn.Parameter(torch.empty(*shape))
        self.WEIGHT, self.BIAS, self.linear_weight = empty(inputs), empty(inputs), empty(inputs, outputs)
        assert not has_linear_bias

    def forward(self, x):
        return nn.functional.layer_norm(x, x.shape[-1:], self.WEIGHT, self.BIAS, 1e-5) @ self.linear_weight


class FusedSwiGLU(nn.Module):
    """As above, the formula of megafold's swiglu kernel: the second half gates the first."""

    def forward(self, x):
        value, gate = x.chunk(2, dim=-1)
        return nn.functional.silu(gate) * value


def megafold(golden, root):
    path = pathlib.Path(root) / "megafold/model/FusedTransition/fused_transition.py"
    scope = class_source(path, ["FusedTransition"], {"nn": nn, "LayernormLinear": LayernormLinear, "FusedSwiGLU": FusedSwiGLU})
    golden.run_torch("megafold", "FusedTransition", scope["FusedTransition"](C, FACTOR), rows("input"))
    golden.run_torch("megafold_without_norm", "FusedTransition", scope["FusedTransition"](C, FACTOR, include_ln=False), rows("input"))


def alphafold3(golden, root):
    """Haiku module of the checkout; its gated linear unit kernel is switched off, which the host says gives the same result."""
    import haiku as hk
    import jax
    jax.config.update("jax_enable_x64", True)
    sys.path.insert(0, str(pathlib.Path(root) / "src"))
    haiku_modules = importlib.import_module("alphafold3.model.components.haiku_modules")
    scope = {"hk": hk, "jnp": jax.numpy, "jax": jax, "hm": haiku_modules, "base_config": types.SimpleNamespace(BaseConfig=object),
             "model_config": types.SimpleNamespace(GlobalConfig=object)}
    class_source(pathlib.Path(root) / "src/alphafold3/model/network/modules.py", ["TransitionBlock"], scope)
    config = types.SimpleNamespace(num_intermediate_factor=FACTOR, use_glu_kernel=False)
    run = hk.transform(lambda act: scope["TransitionBlock"](config, types.SimpleNamespace(final_init="linear"), name="m")(act))
    generator = np.random.default_rng(3)
    act = generator.standard_normal((4, 5, C))
    made = run.init(jax.random.PRNGKey(0), act)
    made = {name: random_arrays(generator, {key: value.shape for key, value in part.items()}) for name, part in made.items()}
    output, back = jax.vjp(lambda weights, x: run.apply(weights, None, x), made, act)
    out_gradient = generator.standard_normal(output.shape)
    weight_gradients, act_gradient = back(out_gradient)
    flat = lambda tree: {f"{name.split('/', 1)[1]}/{key}": value for name, part in tree.items() for key, value in part.items()}
    golden.write("alphafold3", "TransitionBlock", flat(made), {"act": act}, np.asarray(output), out_gradient,
                 {"module": flat(weight_gradients), "forward": {"act": act_gradient}})


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    for name in ("openfold", "megafold", "gpu-mode", "alphafold3"):
        parser.add_argument(f"--{name}")
    arguments = parser.parse_args()
    golden = Golden(arguments.out, HERE.parent / "hosts")
    golden.attempt("transformers", transformers_hosts)
    sys.meta_path.append(StandIns({"boltz", "openfold", "openfold3", "protenix", "alphafold3"}))
    golden.attempt("boltz", module_of, "boltz", "boltz.model.layers.transition", "Transition", rows("x"), C, FACTOR * C)
    golden.attempt("protenix", module_of, "protenix", "protenix.model.modules.primitives", "Transition", rows("x"), C, FACTOR)
    layers = "openfold3.core.model.layers.transition"
    golden.attempt("openfold3", module_of, "openfold3", layers, "SwiGLUTransition", rows("x", mask=True), C, FACTOR)
    golden.attempt("openfold3 relu", module_of, "openfold3_relu", layers, "ReLUTransition", rows("x", mask=True), C, FACTOR)
    golden.attempt("alphafold3-pytorch", lucidrains, pathlib.Path(np.__file__).parent.parent / "alphafold3_pytorch/alphafold3.py")
    if arguments.openfold:
        sys.path.insert(0, arguments.openfold)
        golden.attempt("openfold", module_of, "openfold", "openfold.model.pair_transition", "PairTransition", rows("z", mask=True), C, FACTOR)
        golden.attempt("openfold msa", module_of, "openfold_msa", "openfold.model.evoformer", "MSATransition", rows("m", mask=True), C, FACTOR)
    if arguments.megafold:
        golden.attempt("megafold", megafold, arguments.megafold)
    if arguments.alphafold3:
        golden.attempt("alphafold3", alphafold3, arguments.alphafold3)
    sys.exit(1 if golden.failures else 0)


main()
