"""Runs the real LayerNorm-and-linear steps of the hosts once, forward and backward; how and into what file says conformance/golden_hosts.py.

    python make_golden.py OUT [--megafold DIR]

DIR is a checkout at the commit that ../hosts/megafold.json names; the other hosts come from their installed packages.  Where the two steps are
no module of their own, the host's module is made and the two are taken out of it, under the names they have there.
"""
import argparse
import importlib
import math
import os
import pathlib
import sys
import types

import numpy as np
import torch
from torch import nn

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[2] / "conformance"))
from golden_hosts import Golden, StandIns, class_source  # noqa: E402

os.environ["LAYERNORM_TYPE"] = "torch"  # protenix otherwise compiles a CUDA norm at import
C, HEADS = 16, 4


def rows(name):
    return lambda generator: {name: torch.randn(2, 3, 5, C, generator=generator, dtype=torch.float64)}


class Part(nn.Module):
    """Members of a host's module, one after the other."""

    def __init__(self, module, *names):
        super().__init__()
        for name in names:
            setattr(self, name, getattr(module, name))
        self.names = names

    def forward(self, z):
        for name in self.names:
            z = getattr(self, name)(z)
        return z


def transformers_hosts(golden):
    from transformers.models.esm import modeling_esmfold
    golden.run_torch("esmfold", "EsmFoldPairToSequence", modeling_esmfold.EsmFoldPairToSequence(C, HEADS), rows("pairwise_state"))


def esmfold2(golden):
    from transformers.models.esmfold2 import modeling_esmfold2
    diffusion = types.SimpleNamespace(hidden_size=16, intermediate_size=32, num_attention_heads=HEADS, head_dim=4, attention_dropout=0.0)
    config = types.SimpleNamespace(pairwise_hidden_size=C, structure_head=types.SimpleNamespace(diffusion_module=diffusion))
    layer = modeling_esmfold2.EsmFold2DiffusionLayer(config)
    golden.run_torch("esmfold2", "pair_bias", Part(layer, "pair_norm", "pair_bias_proj"), rows("z"))


def boltz(golden):
    attention = importlib.import_module("boltz.model.layers.attention").AttentionPairBias(c_s=16, c_z=C, num_heads=HEADS)
    attention.proj_z = attention.proj_z[:2]  # without the move of the heads to the front
    golden.run_torch("boltz", "pair_bias", Part(attention, "proj_z"), rows("z"))


def protenix(golden):
    kind = importlib.import_module("protenix.model.modules.transformer").AttentionPairBias
    golden.run_torch("protenix", "pair_bias", Part(kind(n_heads=HEADS, c_a=16, c_s=16, c_z=C), "layernorm_z", "linear_nobias_z"), rows("z"))


def openfold3(golden):
    kind = importlib.import_module("openfold3.core.model.layers.attention_pair_bias").AttentionPairBias
    module = kind(c_q=16, c_k=16, c_v=16, c_s=16, c_z=C, c_hidden=4, no_heads=HEADS)
    golden.run_torch("openfold3", "pair_bias", Part(module, "layer_norm_z", "linear_z"), rows("z"))


def lucidrains(golden, path):
    from einops.layers.torch import Rearrange
    scope = {"nn": nn, "Module": nn.Module, "LinearNoBias": lambda inputs, outputs: nn.Linear(inputs, outputs, bias=False), "Rearrange": Rearrange,
             "typecheck": lambda function: function, "Attention": lambda **_: nn.Identity(), "torch": torch}
    module = class_source(path, ["AttentionPairBias"], scope)["AttentionPairBias"](heads=HEADS, dim_pairwise=C)
    module.to_attn_bias = module.to_attn_bias[:1]
    golden.run_torch("alphafold3_pytorch", "pair_bias", Part(module, "to_attn_bias_norm", "to_attn_bias"), rows("z"))


def megafold(golden, root):
    """On the path that the host itself takes where its fused kernel has no entry for the shape: that kernel exists in Triton only."""
    path = pathlib.Path(root) / "megafold/model/FusedLayernormLinear/fused_layernorm_linear.py"
    scope = {"nn": nn, "torch": torch, "math": math, "F": nn.functional, "calculate_config_layernorm_linear": lambda *_: None}
    golden.run_torch("megafold", "LayernormLinear", class_source(path, ["LayernormLinear"], scope)["LayernormLinear"](C, 2 * C), rows("X"))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=pathlib.Path)
    for name in ("openfold", "megafold", "gpu-mode", "alphafold3"):
        parser.add_argument(f"--{name}")
    arguments = parser.parse_args()
    golden = Golden(arguments.out, HERE.parent / "hosts")
    golden.attempt("transformers", transformers_hosts)
    golden.attempt("esmfold2", esmfold2)
    sys.meta_path.append(StandIns({"boltz", "openfold3", "protenix"}))
    golden.attempt("boltz", boltz)
    golden.attempt("protenix", protenix)
    golden.attempt("openfold3", openfold3)
    golden.attempt("alphafold3-pytorch", lucidrains, pathlib.Path(np.__file__).parent.parent / "alphafold3_pytorch/alphafold3.py")
    if arguments.megafold:
        golden.attempt("megafold", megafold, arguments.megafold)
    sys.exit(1 if golden.failures else 0)


main()
