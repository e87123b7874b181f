"""The layers of released packages, with every parameter random, against the bundle's: alone, and in the packages' own blocks by patch().

Usage: python_hosts.py TRIANGLE_MULTIPLICATION TRANSITION TABLE.  TABLE (python_hosts.json) says what became of each package; another outcome is a failure.
"""
import copy
import importlib
import importlib.metadata
import importlib.util
import json
import os
import sys
import traceback
import types
from pathlib import Path

os.environ["LAYERNORM_TYPE"] = "torch"  # protenix otherwise compiles a CUDA norm at import
os.environ["LAMINA_STRICT"] = "1"
import torch

from python_modules import check_close, draw, draw_mask, load, pins_widened, randomise
from python_stand_ins import StandIns

N, DIM = 19, 32


def pair_mask():
    return draw_mask(1, N, N)


class Check:
    def __init__(self, kernels):
        self.kernels = kernels

    def module(self, what, module, hosts=None, **masks):
        """One module by itself, in float32 and bfloat16, against itself in float64; whichever bundle binds it."""
        randomise(module)
        x = draw(1, N, N, DIM)
        for dtype in (torch.float32, torch.bfloat16):
            host, rounded = copy.deepcopy(module).to(dtype), x.to(dtype)
            wide = {name: mask.double() if mask.is_floating_point() else mask for name, mask in masks.items()}
            with torch.no_grad(), pins_widened():
                truth = copy.deepcopy(host).double()(rounded.double(), **wide)
            serving = [kernel for kernel in self.kernels if kernel.patch(host, hosts=hosts).swapped]
            assert len(serving) == 1, what
            with torch.no_grad():
                check_close(host(rounded, **masks), truth, dtype, what, serving[0]._library.CONTRACT)

    def in_place(self, what, module, mask):
        """The OpenFold family's promise: the result over the input or added to it, and the input itself returned."""
        for options in ({"inplace_safe": True}, {"inplace_safe": True, "_add_with_inplace": True}, {"_add_with_inplace": True}):
            found = []
            for ours in (False, True):
                z = draw(1, N, N, DIM)
                if ours:
                    self.kernels[0].patch(module)
                with torch.no_grad():
                    result = module(z, mask=mask, **options)
                self.kernels[0].unpatch(module)
                found.append((result, z, result.data_ptr() == z.data_ptr()))
            (host, host_z, host_same), (own, own_z, own_same) = found
            for one, other in ((host, own), (host_z, own_z)):
                assert (one - other).norm() <= 4e-6 * one.norm(), (what, options)
            assert host_same == own_same, (what, options)
            print(f"{what}: {options}: as the host, input {'overwritten' if own_same else 'kept'}")

    def block(self, what, block, call, *swapped):
        """A released block before, with and after the patch by each bundle; `swapped`: what each of them finds."""
        randomise(block)
        with torch.no_grad():
            before = call(block)
            reports = [kernel.patch(block) for kernel in self.kernels]
            assert tuple([path for path, _ in report.swapped] for report in reports) == swapped and not any(report.skipped for report in reports), reports
            inside = call(block)
            assert sum(kernel.unpatch(block) for kernel in self.kernels) == sum(map(len, swapped))
            after = call(block)
        error = float((inside - before).norm() / before.norm())
        print(f"{what}: {sum(map(len, swapped))} swapped, {error:.1e} from the host's block")
        assert error < 1e-5 and torch.equal(before, after) and not torch.equal(before, inside)


def boltz(check):
    triangular, pairformer = (importlib.import_module(f"boltz.model.layers.{name}") for name in ("triangular_mult", "pairformer"))
    for direction in ("Outgoing", "Incoming"):
        check.module(f"boltz {direction}", getattr(triangular, f"TriangleMultiplication{direction}")(DIM), mask=pair_mask())
    check.module("boltz Transition", importlib.import_module("boltz.model.layers.transition").Transition(DIM, 4 * DIM))
    block = pairformer.PairformerNoSeqLayer(DIM, pairwise_head_width=8, pairwise_num_heads=2)
    check.block("boltz PairformerNoSeqLayer", block, lambda one: one(draw(1, N, N, DIM), pair_mask()), ["tri_mul_out", "tri_mul_in"], ["transition_z"])


def openfold3(check):
    layers = importlib.import_module("openfold3.core.model.layers.triangular_multiplicative_update")
    blocks = importlib.import_module("openfold3.core.model.latent.base_blocks")
    for direction in ("Outgoing", "Incoming"):
        module = getattr(layers, f"TriangleMultiplication{direction}")(DIM, 24)
        check.module(f"openfold3 {direction}", module, mask=pair_mask())
        check.in_place(f"openfold3 {direction}", module, pair_mask())
    transitions = importlib.import_module("openfold3.core.model.layers.transition")
    for name in ("SwiGLUTransition", "ReLUTransition"):
        check.module(f"openfold3 {name}", getattr(transitions, name)(DIM, 2), mask=pair_mask())
    block = blocks.PairBlock(DIM, 24, 8, 2, "swiglu", 2, 0.25, False, 1e9)
    for in_place in (False, True):
        check.block(f"openfold3 PairBlock, inplace_safe={in_place}", block,
                    lambda one: one(draw(1, N, N, DIM), pair_mask(), inplace_safe=in_place), ["tri_mul_out", "tri_mul_in"], ["pair_transition"])


def protenix(check):
    layers = importlib.import_module("protenix.model.triangular.triangular")
    blocks = importlib.import_module("protenix.model.modules.pairformer")
    for direction in ("Outgoing", "Incoming"):
        module = getattr(layers, f"TriangleMultiplication{direction}")(DIM, 24)
        check.module(f"protenix {direction}", module, mask=pair_mask())
        check.in_place(f"protenix {direction}", module, pair_mask())
    check.module("protenix Transition", importlib.import_module("protenix.model.modules.primitives").Transition(DIM, 2))
    block = blocks.PairformerBlock(c_z=DIM, c_s=0, c_hidden_mul=24, c_hidden_pair_att=8, no_heads_pair=2)
    for in_place in (False, True):
        check.block(f"protenix PairformerBlock, inplace_safe={in_place}", block,
                    lambda one: one(None, draw(1, N, N, DIM), pair_mask(), inplace_safe=in_place)[1], ["tri_mul_out", "tri_mul_in"], ["pair_transition"])


def alphafold3_pytorch(check):
    module_of = importlib.import_module("alphafold3_pytorch.alphafold3")
    mask = torch.arange(N)[None] % 7 > 0
    for mix in ("outgoing", "incoming"):
        check.module(f"alphafold3-pytorch {mix}", module_of.TriangleMultiplication(dim=DIM, mix=mix), mask=mask)
    check.module("alphafold3-pytorch Transition", module_of.Transition(dim=DIM))
    block = module_of.PairwiseBlock(dim_pairwise=DIM, tri_attn_dim_head=8, tri_attn_heads=2)
    check.block("alphafold3-pytorch PairwiseBlock", block, lambda one: one(draw(1, N, N, DIM), mask=mask),
                ["tri_mult_outgoing.fn", "tri_mult_incoming.fn"], ["pairwise_transition.fn"])
    # In training its dropout lies inside, so the module is the host's own.
    module = module_of.TriangleMultiplication(dim=DIM, mix="outgoing", dropout=0.5, dropout_type="row").train()
    check.kernels[0].patch(module)
    try:
        with torch.no_grad():
            module(draw(1, N, N, DIM))
    except RuntimeError as error:
        assert "drops out inside" in str(error), error
    else:
        raise AssertionError("dropout inside was left out")


def transformers(check):
    """ESMFold v1; ESMFold2 has a test of its own."""
    esmfold = importlib.import_module("transformers.models.esm.modeling_esmfold")
    config = types.SimpleNamespace(pairwise_state_dim=DIM)
    for outgoing in (True, False):
        module = esmfold.EsmFoldTriangleMultiplicativeUpdate(config, _outgoing=outgoing)
        check.module(f"ESMFold v1, outgoing={outgoing}", module, mask=pair_mask())
        check.in_place(f"ESMFold v1, outgoing={outgoing}", module, pair_mask())


def uninstalled(name):
    def look(check):
        if importlib.util.find_spec(name):
            raise RuntimeError(f"{name} can be imported: give it a test here")
        raise ModuleNotFoundError(f"no {name} in this environment")
    return look


PACKAGES = {"boltz": boltz, "openfold3": openfold3, "protenix": protenix, "alphafold3-pytorch": alphafold3_pytorch, "transformers": transformers,
            "openfold": uninstalled("openfold"), "megafold": uninstalled("megafold")}


def main():
    *bundles, table = sys.argv[1:]
    check = Check([load(bundle) for bundle in bundles])
    stand_ins = StandIns()
    sys.meta_path.append(stand_ins)
    found = {}
    for package, run in PACKAGES.items():
        stand_ins.names = set()
        try:
            run(check)
            found[package] = {"state": "ran", "version": importlib.metadata.version(package), "stand_ins": sorted(stand_ins.names)}
        except ModuleNotFoundError as error:
            found[package] = {"state": f"absent: {error}"}
        except Exception as error:
            traceback.print_exc()
            found[package] = {"state": f"failed: {type(error).__name__}: {error}"}
    expected = {package: {name: value for name, value in row.items() if name != "why"} for package, row in json.loads(Path(table).read_text()).items()}
    print(json.dumps(found, indent=1))
    for package in sorted(set(found) | set(expected)):
        if found.get(package) != expected.get(package):
            sys.exit(f"{package}: {found.get(package)}, the table says {expected.get(package)}; see why, then correct {table}")
    print("hosts: passed")


main()
