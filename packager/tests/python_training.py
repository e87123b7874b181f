"""Gradients through the generated Python package, on host modules written in plain torch.

Usage: python_training.py STEP BUNDLE.  Steps: exact and parts (BUNDLE holds the reference build, in float64), builds, operators, kernelize, refusals.
       python_training.py reference BUNDLE BUILD OUT: BUNDLE with that build alone.
"""
import copy
import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path

import torch

from python_modules import DEVICE, Hosts, draw, load, randomise, says


def reference(bundle, build, out):
    """A bundle whose only build is the reference, which no bundle carries: it takes float64."""
    shutil.copytree(bundle, out)
    variant = next(Path(out).glob("build/*"))
    for file in variant.glob("*.so"):
        file.unlink()
    shutil.copy(build, variant)

    class Library(ctypes.Structure):  # the beginning of lamina_library
        _fields_ = [("sizes", ctypes.c_uint32 * 2)] + [(name, ctypes.c_char_p) for name in ("name", "version", "target", "build_id")]

    entry = ctypes.CDLL(build).lamina_library_v1
    entry.restype = ctypes.POINTER(Library)
    library = entry().contents
    for name, change in (("manifest.json", {"builds": [{"arch": library.target.decode(), "build_id": library.build_id.decode(),
                                                        "file": Path(build).name, "rank": 0, "requires": {}}]}),
                         ("metadata.json", {"id": "_reference_cpu_0000000"})):
        content = json.loads((variant / name).read_text())
        (variant / name).write_text(json.dumps({**content, **change}))


def own_in_double(module, kernel):
    """The host's own formula in float64, to be differentiated by torch."""
    plain = copy.deepcopy(module).double()
    kernel.unpatch(plain)
    return plain


def step(module, x, mask, weight):
    """(result, gradient of x, gradients of parameters by name) of sum(result * weight)."""
    module.zero_grad()
    x = x.detach().clone().requires_grad_()
    out = module(x, mask)
    (out * weight.to(out.dtype)).sum().backward()
    return out.detach(), x.grad, {name.removeprefix("_orig_mod."): parameter.grad.clone() for name, parameter in module.named_parameters()
                                  if parameter.grad is not None}


def each_gradient(found, truth):
    yield "out", found[0], truth[0]
    yield "input", found[1], truth[1]
    assert found[2].keys() == truth[2].keys()
    for name in truth[2]:
        yield name, found[2][name], truth[2][name]


def exact(bundle):
    """gradcheck in float64; autograd's own numbers; what is frozen, saved, added to, shared."""
    kernel = load(bundle)
    hosts = Hosts(kernel, dim=8)
    x, mask = hosts.x.double()[:, :4, :4], hosts.mask.double()[:, :4, :4]
    for module in (hosts.boltz, hosts.esmfold2):
        module.double()
        truth = step(own_in_double(module, kernel), x, mask, draw(2, 4, 4, 8))
        hosts.patched(module)
        own = type(module).calls
        for what in ("nothing", "activations"):
            with kernel.saving(what):
                for name, one, other in each_gradient(step(module, x, mask, draw(2, 4, 4, 8)), truth):
                    assert one.dtype == torch.float64 and (one - other).norm() <= 1e-12 * other.norm(), (type(module), what, name)
                names = [name for name, _ in module.named_parameters()]

                def function(pair, *parameters):
                    return torch.func.functional_call(module, dict(zip(names, parameters)), (pair, mask))
                torch.autograd.gradcheck(function, (x.clone().requires_grad_(), *module.parameters()), fast_mode=True)
        # Frozen parameters and inputs: the others' gradients are the same.
        kept = [name for name in names if "out" in name or "emit" in name][:1]
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(name in kept)
        module.zero_grad()
        (module(x, mask) * draw(2, 4, 4, 8)).sum().backward()
        for name, parameter in module.named_parameters():
            assert (parameter.grad is None) == (name not in kept)
            assert parameter.grad is None or (parameter.grad - truth[2][name]).norm() <= 1e-12 * truth[2][name].norm()
        module.requires_grad_(False)
        only = x.clone().requires_grad_()
        (module(only, mask) * draw(2, 4, 4, 8)).sum().backward()
        assert (only.grad - truth[1]).norm() <= 1e-12 * truth[1].norm() and all(one.grad is None for name, one in module.named_parameters() if name not in kept)
        # A step after a change of the weights uses the new ones; gradients add up as torch's do.
        module.requires_grad_(True)
        for _ in range(2):
            with torch.no_grad():
                next(module.parameters()).mul_(1.5)
            after = step(own_in_double(module, kernel), x, mask, draw(2, 4, 4, 8))
            for name, one, other in each_gradient(step(module, x, mask, draw(2, 4, 4, 8)), after):
                assert (one - other).norm() <= 1e-12 * other.norm(), name
        assert type(module).calls == own + 2, "the host's own forward ran"
    # A function of another library: weights are arguments; one of them is a slice of a leaf, and the residual is the pair itself.
    esmfold2 = own_in_double(hosts.esmfold2, kernel)
    weights = dict(norm_in_weight=esmfold2.norm_start.weight, norm_in_bias=esmfold2.norm_start.bias, p_in_weight=esmfold2.proj_bundle.weight[:16],
                   g_in_weight=esmfold2.proj_bundle.weight[16:], norm_out_weight=esmfold2.norm_mix.weight, norm_out_bias=esmfold2.norm_mix.bias,
                   p_out_weight=esmfold2.proj_emit.weight, g_out_weight=esmfold2.proj_gate.weight)
    given, plain = x.clone().requires_grad_(), x.clone().requires_grad_()
    fused = kernel.triangle_multiplicative_update_with_residual
    (plain + esmfold2(plain, mask)).square().sum().backward()
    expected = {name: parameter.grad.clone() for name, parameter in esmfold2.named_parameters()}
    esmfold2.zero_grad()
    fused(given, "incoming", given, None, mask=mask, **weights).square().sum().backward()
    assert (given.grad - plain.grad).norm() <= 1e-12 * plain.grad.norm()
    for name, parameter in esmfold2.named_parameters():
        assert (parameter.grad - expected[name]).norm() <= 1e-12 * expected[name].norm(), name


def parts(bundle):
    """A host that no binding has yet: one parameter feeds two arguments, two parameters one, a third of one feeds nothing, one is transposed."""
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        manifest = next(Path(folder).glob("build/*/manifest.json"))
        content = json.loads(manifest.read_text())
        host = content["hosts"]["boltz"]
        host["parameters"].update({"g_in.weight": {"shape": ["H", "C"]}, "p_in.weight": {"shape": ["3*H", "C"]}, "g_out.weight": {"shape": ["C", "C"]},
                                   "p_out.weight": {"shape": ["C/2", "H"]}, "more.weight": {"shape": ["C/2", "H"]}})
        host["dims"]["H"] = {"parameter": "g_in.weight", "axis": 0}
        whole = {"parameter": "g_in.weight"}
        host["arguments"].update({"a_gate_weight": whole, "b_gate_weight": whole, "out_gate_weight": {"parameter": "g_out.weight", "transpose": True},
                                  "out_projection_weight": {"concatenate": [{"parameter": "p_out.weight"}, {"parameter": "more.weight"}], "axis": 0}})
        manifest.write_text(json.dumps(content))
        kernel = load(folder)

    nn = torch.nn

    class TriangleMultiplicationOutgoing(nn.Module):
        def __init__(self, dim):
            super().__init__()
            self.norm_in, self.norm_out = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.g_in, self.p_in, self.g_out = (nn.Linear(dim, width, bias=False) for width in (dim, 3 * dim, dim))
            self.p_out, self.more = (nn.Linear(dim, dim // 2, bias=False) for _ in range(2))

        def forward(self, x, mask, use_kernels=False):
            z = self.norm_in(x)
            gate = self.g_in(z).sigmoid() * mask.unsqueeze(-1)
            a, b, _ = (self.p_in(z).unflatten(-1, (3, -1)) * gate.unsqueeze(-2)).unbind(-2)
            o = self.norm_out(torch.einsum("bikd,bjkd->bijd", a, b))
            return torch.cat([self.p_out(o), self.more(o)], -1) * (z @ self.g_out.weight).sigmoid()

    module, x, mask = randomise(TriangleMultiplicationOutgoing(8)).double(), draw(2, 5, 5, 8).double(), torch.ones(2, 5, 5, device=DEVICE).double()
    weight = draw(2, 5, 5, 8, seed=3)
    for trainable in (None, ["more.weight"], ["g_in.weight", "g_out.weight"]):
        for name, parameter in module.named_parameters():
            parameter.requires_grad_(trainable is None or name in trainable)
        truth = step(module, x, mask, weight)
        assert kernel.patch(module, hosts=["boltz"]).swapped
        for name, one, other in each_gradient(step(module, x, mask, weight), truth):
            assert (one - other).norm() <= 1e-12 * other.norm(), (trainable, name)
        kernel.unpatch(module)
    assert truth[2].keys() == {"g_in.weight", "g_out.weight"}


def builds(bundle):
    """What the best build of this machine gives, in every dtype: within the contract's tolerance, and the same bytes each time."""
    kernel = load(bundle)
    hosts = Hosts(kernel, dim=64)
    limits = kernel._library.CONTRACT["tolerances"]["gradient"]["frobenius"]
    x, mask, weight = draw(1, 21, 21, 64, seed=1), hosts.mask.new_ones(1, 21, 21), draw(1, 21, 21, 64, seed=2)
    mask[:, 5] = 0
    for module in (hosts.boltz, hosts.esmfold2):
        for dtype, weights in ((torch.float32, torch.float32), (torch.bfloat16, torch.bfloat16), (torch.bfloat16, torch.float32), (torch.float16, torch.float16)):
            one = copy.deepcopy(module).to(weights)
            rounded, drawn = x.to(dtype), weight.to(dtype)
            truth = step(own_in_double(one, kernel), rounded.double(), mask.double(), drawn.double())
            hosts.patched(one)
            before = type(one).calls
            for what in ("nothing", "activations"):
                with kernel.saving(what):
                    found, again = step(one, rounded, mask, drawn), step(one, rounded, mask, drawn)
                for name, gradient, expected in each_gradient(found, truth):
                    error = float((gradient.double() - expected).norm() / expected.norm())
                    assert error <= limits[str(dtype)[6:]] and gradient.dtype == (dtype if name in ("out", "input") else weights), (what, name, error)
                assert all(torch.equal(a, b) for (_, a, _), (_, b, _) in zip(each_gradient(found, found), each_gradient(again, again))), what
                print(f"{type(one).__name__}, {dtype} beside {weights} weights, saving {what}: within the contract, twice the same bytes")
            assert type(one).calls == before, "the host's own forward ran"
        # Of no residues at all: zeros, also where the incoming gradient is an expanded number.
        one = hosts.patched(copy.deepcopy(module))
        empty = x[:, :0, :0].clone().requires_grad_()
        one(empty, mask[:, :0, :0]).sum().backward()
        assert empty.grad.shape == empty.shape and all(parameter.grad.abs().max() == 0 for parameter in one.parameters())
        with torch.autocast(DEVICE.type, torch.bfloat16):
            one = hosts.patched(copy.deepcopy(module))
            found = step(one, x, mask, weight)
        truth = step(own_in_double(module, kernel), x.double(), mask.double(), weight.double())
        assert found[0].dtype == torch.bfloat16 and found[1].dtype == torch.float32
        for name, gradient, expected in each_gradient(found, truth):  # input and incoming gradient are rounded too
            assert (gradient.double() - expected).norm() <= 2 * limits["bfloat16"] * expected.norm(), ("autocast", name)


def operators(bundle):
    """opcheck, torch.compile without a break, checkpoints; all of them eager's numbers."""
    kernel = load(bundle)
    hosts = Hosts(kernel, dim=32)
    module, x, mask = hosts.patched(hosts.esmfold2), hosts.x, hosts.mask
    weight = draw(*x.shape)
    binding = kernel._hosts.BINDINGS["esmfold2/EsmFold2TriangleMultiplicativeUpdate"]
    named = torch.ops.__getattr__(kernel._ops.NAMESPACE)
    words = "\n".join(binding.live_words(module))
    for what in ("nothing", "activations"):
        inputs = [x.clone().requires_grad_(), mask] + [None] * (len(kernel._hosts.INPUTS) - 2)
        parameters = [module.get_parameter(name) for name in binding.parameters]
        said = (binding.key, words, "1" * len(parameters), what)
        # What is saved is opaque bytes, some of them never written: they cannot be compared with those of another call.
        checks = {} if what == "nothing" else {"test_utils": ("test_schema", "test_autograd_registration", "test_faketensor")}
        torch.library.opcheck(named.forward_train.default, (*inputs, parameters, *said), **checks)
        with torch.no_grad():
            out, saved = named.forward_train(*inputs, parameters, *said)
            assert torch.equal(out, module(x, mask)) and (saved.numel() == 0) == (what == "nothing")
        detached = [None if one is None else one.detach() for one in inputs]
        wanted = "1" + "0" * (len(inputs) - 1) + "1" * len(parameters)
        torch.library.opcheck(named.backward.default, (weight, *detached, [one.detach() for one in parameters], saved, *said, wanted))
    eager = step(module, x, mask, weight)
    before = type(module).calls

    def same(found, what):
        for name, one, other in each_gradient(found, eager):
            assert torch.equal(one, other), (what, name)
        assert type(module).calls == before, f"{what}: the host's own forward ran"

    for what in ("nothing", "activations"):
        with kernel.saving(what):
            same(step(torch.compile(module, fullgraph=True), x, mask, weight), f"compiled, saving {what}")
        torch.compiler.reset()
    same(step(lambda_module(module, lambda *given: torch.utils.checkpoint.checkpoint(module, *given, use_reentrant=False)), x, mask, weight), "checkpoint")
    dynamic = torch.compile(module, fullgraph=True, dynamic=True)
    for size in (11, 6, 9):
        cut = x[:, :size, :size], mask[:, :size, :size], weight[:, :size, :size]
        for (name, one, _), (_, other, _) in zip(each_gradient(a := step(dynamic, *cut), a), each_gradient(b := step(module, *cut), b)):
            assert torch.equal(one, other), (size, name)
    # An optimiser's step inside one compiled function, twice: the weights of the second step are the first's.
    twin = copy.deepcopy(module)
    losses = []
    for one, forward in ((module, module), (twin, torch.compile(twin, fullgraph=True))):
        optimiser = torch.optim.SGD(one.parameters(), lr=0.01)
        for _ in range(3):
            optimiser.zero_grad()
            loss = (forward(x, mask) - weight).square().mean()
            loss.backward()
            optimiser.step()
            losses.append(loss.item())
    assert losses[:3] == losses[3:] and losses[2] < losses[1] < losses[0], losses


def lambda_module(module, forward):
    """`forward` with the parameters of `module`, for step()."""
    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            object.__setattr__(self, "held", module)

        def named_parameters(self, *arguments, **options):
            return module.named_parameters()

        def zero_grad(self, *arguments):
            module.zero_grad()

        def forward(self, *given):
            return forward(*given)
    return Wrapped()


def kernelize(bundle):
    """The hub's way in: a layer that is mapped for training, strictly."""
    from kernels import LocalLayerRepository, Mode, kernelize, replace_kernel_forward_from_hub, use_kernel_mapping

    kernel = load(bundle)
    hosts = Hosts(kernel, dim=32)
    name = "EsmFold2TriangleMultiplication"
    replace_kernel_forward_from_hub(hosts.esmfold2_class, name)
    x, mask, weight = hosts.x, hosts.mask, draw(*hosts.x.shape)
    for mode in (Mode.TRAINING, Mode.TRAINING | Mode.TORCH_COMPILE):
        with use_kernel_mapping({name: {DEVICE.type: {mode: LocalLayerRepository(repo_path=Path(bundle), layer_name=name)}}}, inherit_mapping=False):
            module = kernelize(copy.deepcopy(hosts.esmfold2).train(), mode=mode, device=DEVICE.type, use_fallback=False)
        before = hosts.esmfold2_class.calls
        found = step(torch.compile(module, fullgraph=True) if Mode.TORCH_COMPILE in mode else module, x, mask, weight)
        assert hosts.esmfold2_class.calls == before, "the host's own forward ran"
        truth = step(copy.deepcopy(hosts.esmfold2).double(), x.double(), mask.double(), weight.double())
        limit = kernel._library.CONTRACT["tolerances"]["gradient"]["frobenius"]["float32"]
        for what, one, other in each_gradient(found, truth):
            assert (one.double() - other).norm() <= limit * other.norm(), (mode, what)


def refusals(bundle):
    """What has no gradient here is the host's own, or an error; never a missing gradient."""
    kernel = load(bundle)
    hosts = Hosts(kernel, dim=32)
    module, x, mask = hosts.patched(hosts.boltz), hosts.x, hosts.mask
    says(RuntimeError, "a gradient of pair_mask is wanted", module, x, mask.clone().requires_grad_())
    given = x.clone().requires_grad_()
    gradient, = torch.autograd.grad(module(given, mask).square().sum(), given, create_graph=True)
    says(RuntimeError, "backward", gradient.sum().backward)
    says(ValueError, "'nothing' and 'activations'", kernel.saving("everything").__enter__)
    odd = hosts.patched(randomise(hosts.boltz_class(12)))
    says(RuntimeError, "the pair width C is 12", odd, x[..., :12], mask)
    # A layer without training ops: the contract decides.
    script = ("import sys, torch\nsys.path.insert(0, sys.argv[1])\nimport python_modules\nkernel = python_modules.load(sys.argv[2])\n"
              "assert {layer.has_backward for layer in kernel.layers.BY_BINDING.values()} == {False}\n"
              "hosts = python_modules.Hosts(kernel)\nmodule = hosts.patched(hosts.boltz)\n"
              "python_modules.says(RuntimeError, 'infer under torch.no_grad()', module, hosts.x, hosts.mask)\n"
              "python_modules.says(RuntimeError, 'no backward', torch.compile(module, fullgraph=True), hosts.x, hosts.mask)\n"
              "with torch.no_grad():\n    assert module(hosts.x, hosts.mask).shape == hosts.x.shape\n")
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(bundle, folder, dirs_exist_ok=True)
        manifest = next(Path(folder).glob("build/*/manifest.json"))
        content = json.loads(manifest.read_text())
        content["contract"]["ops"] = [op for op in content["contract"]["ops"] if op["kind"] in ("forward", "pack")]
        manifest.write_text(json.dumps(content))
        subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent), folder], check=True)
    says(RuntimeError, "torch.func transforms the call", torch.func.grad(lambda pair: module(pair, mask).sum()), x)
    os.environ["LAMINA_STRICT"] = "0"
    own = hosts.boltz_class.calls
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        learned = mask.clone().requires_grad_()
        module(x, learned).sum().backward()
        odd(x[..., :12], mask).sum().backward()
    assert learned.grad is not None and hosts.boltz_class.calls == own + 2 and len(seen) == 2, [str(one.message) for one in seen]
    assert all(parameter.grad is not None for parameter in odd.parameters())


if __name__ == "__main__":
    steps = (reference, exact, parts, builds, operators, kernelize, refusals)
    {one.__name__: one for one in steps}[sys.argv[1]](*sys.argv[2:])
    print(f"{sys.argv[1]}: passed")
