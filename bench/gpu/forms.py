"""The forms of triangle multiplication that take turns: Lamina's builds, and every peer that this machine's Python can import.

A form is called with the index of a pair and gives the update of that pair.  One that is not there is a sentence in `absent`.
"""
import importlib.util
import inspect
import sys
import types
from importlib import metadata

import torch


class Ours:
    """A plug-in's `forward`, from packed weights (as hosts use it) or from raw ones.  in_place: the update takes its pair's memory, so that a
    call's input is an earlier call's update."""

    def __init__(self, plugin, problem, packed=True, in_place=False, **attributes):
        self.name, self.version = f"lamina {plugin.target}" + (", in place" if in_place else ""), plugin.build_id
        p, s = problem, problem.shape
        half = lambda x, i: x[i * s.h:(i + 1) * s.h]
        weights = {"norm_in_weight": p.norm_in[0], "norm_in_bias": p.norm_in[1], "norm_out_weight": p.norm_out[0],
                   "norm_out_bias": p.norm_out[1], "a_projection_weight": half(p.projection, 0), "b_projection_weight": half(p.projection, 1),
                   "a_gate_weight": half(p.gate, 0), "b_gate_weight": half(p.gate, 1), "out_projection_weight": p.out_projection,
                   "out_gate_weight": p.out_gate}
        if s.incoming:
            attributes["direction"] = "incoming"
        extra = {}
        if packed:
            given = weights | {"packed": torch.empty(0, dtype=torch.uint8, device=p.device)}
            size = plugin.prepare("pack", given, dtype=s.dtype, **attributes).need.packed_size
            extra["packed"] = torch.empty(size, dtype=torch.uint8, device=p.device)
            plugin.prepare("pack", weights | extra, dtype=s.dtype, **attributes).run()
        if s.extras:
            extra |= {"residual": p.residual, "dropout_mask": p.dropout.expand(s.batch, s.n, s.n, s.c)}
        self.outs = [pair.clone() if in_place else torch.full_like(pair, float("nan")) for pair in p.pairs]
        self.calls = [plugin.prepare("forward", weights | extra | {"pair": out if in_place else pair, "pair_mask": p.mask, "out": out}, **attributes)
                      for pair, out in zip(p.pairs, self.outs)]
        self.extra_bytes = self.calls[0].need.workspace_size
        self.workspace = torch.full((self.extra_bytes + 256,), 255, dtype=torch.uint8, device=p.device)
        for call in self.calls:
            call.use_workspace(self.workspace[(-self.workspace.data_ptr()) % 256:])

    def __call__(self, i):
        self.calls[i].run()
        return self.outs[i]


class Peer:
    def __init__(self, name, version, update, problem, fused=False):
        """update(pair): the peer's own call.  fused: it adds residual and dropout mask itself."""
        self.name, self.version, self.update, self.p, self.fused = name, version, update, problem, fused

    def __call__(self, i):
        u = self.update(self.p.pairs[i])
        return u if self.fused or not self.p.shape.extras else self.p.residual + self.p.dropout * u


def version_of(package):
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def eager(problem, _):
    return Peer(TITLES["eager"], torch.__version__, problem.formula, problem, fused=True)


def compiled(problem, _):
    torch._dynamo.reset()  # else the ninth shape silently runs eager
    return Peer(TITLES["compile"], torch.__version__, torch.compile(lambda pair: problem.formula(pair), dynamic=False), problem, fused=True)


def esmfold2(problem, _):
    """transformers' module, unchunked; its norms stay in float32, as in its model."""
    from transformers.models.esmfold2.modeling_esmfold2 import EsmFold2TriangleMultiplicativeUpdate as Module
    p, s = problem, problem.shape
    if s.h != s.c:
        raise ValueError("its hidden width is its channels")
    config = types.SimpleNamespace(pairwise_hidden_size=s.c, chunk_size=None)
    module = Module(config, outgoing=not s.incoming).to(p.device).eval()
    with torch.no_grad():
        module.norm_start.weight.copy_(p.norm_in[0]), module.norm_start.bias.copy_(p.norm_in[1])
        module.norm_mix.weight.copy_(p.norm_out[0]), module.norm_mix.bias.copy_(p.norm_out[1])
        module.proj_bundle.to(p.dtype).weight.copy_(torch.cat([p.projection, p.gate]))
        module.proj_emit.to(p.dtype).weight.copy_(p.out_projection)
        module.proj_gate.to(p.dtype).weight.copy_(p.out_gate)
    return Peer(TITLES["esmfold2"], version_of("transformers"), lambda pair: module(pair, p.mask), p)


def cuequivariance(problem, _):
    from cuequivariance_torch import triangle_multiplicative_update
    p, s = problem, problem.shape
    direction = "incoming" if s.incoming else "outgoing"
    weights = {"norm_in_weight": p.norm_in[0], "norm_in_bias": p.norm_in[1], "p_in_weight": p.projection, "g_in_weight": p.gate,
               "norm_out_weight": p.norm_out[0], "norm_out_bias": p.norm_out[1], "p_out_weight": p.out_projection, "g_out_weight": p.out_gate}
    return Peer(TITLES["cuequivariance"], version_of("cuequivariance_torch"),
                lambda pair: triangle_multiplicative_update(pair, direction=direction, mask=p.mask, **weights), p)


def hub_triton(problem, folder):
    """The hub's Triton kernels of this layer (kernels-community, esmfold2-trimul): its files, given as a folder.  It always adds a residual
    and has no mask of its own shape but the row-shared one, so a plain update gets a residual of zeros, as its own layer does."""
    if not folder:
        raise ImportError("give the folder that holds esmfold2_trimul with --hub-triton")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    from esmfold2_trimul import triangle_multiplicative_update_with_residual
    p, s = problem, problem.shape
    direction = "incoming" if s.incoming else "outgoing"
    weights = {"norm_in_weight": p.norm_in[0], "norm_in_bias": p.norm_in[1], "p_in_weight": p.projection, "g_in_weight": p.gate,
               "norm_out_weight": p.norm_out[0], "norm_out_bias": p.norm_out[1], "p_out_weight": p.out_projection, "g_out_weight": p.out_gate}

    def update(pair):
        residual = p.residual if s.extras else torch.zeros_like(pair)
        return triangle_multiplicative_update_with_residual(pair, direction, residual, p.dropout, mask=p.mask, **weights)
    return Peer(TITLES["hub-triton"], "kernels-community esmfold2-trimul", update, p, fused=True)


# Those that take turns with ours at full speed, and those so slow that the card would cool beside them.
FAST = {"cuequivariance": cuequivariance}
SLOW = {"eager": eager, "compile": compiled, "esmfold2": esmfold2, "hub-triton": hub_triton}
TITLES = {"cuequivariance": "cuEquivariance", "eager": "PyTorch eager", "compile": "torch.compile", "esmfold2": "transformers ESMFold2",
          "hub-triton": "hub Triton"}


def load_function(reference):
    """FILE.py:FUNCTION, for the last resort of a peer that is one file."""
    path, name = reference.rsplit(":", 1)
    spec = importlib.util.spec_from_file_location(inspect.getmodulename(path), path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return getattr(module, name)
