"""How the generated Python package of a bundle behaves, on host modules written in plain torch.

Usage: python_shim.py STEP BUNDLE.  One step a process: some read the environment at import.  Where it runs says python_modules.py.
"""
import copy
import inspect
import json
import os
import sys
import time
import warnings
from pathlib import Path

import torch

from python_modules import DEVICE, Hosts, draw_mask, load, randomise, says


def signatures(bundle):
    """Every layer class and function has the parameters, kinds and defaults that its binding writes down; flags are there; no other members."""
    kernel = load(bundle)
    bindings = kernel._hosts.BINDINGS
    assert set(kernel.layers.BY_BINDING) == {key for key, binding in bindings.items() if not binding.is_function}
    for key, layer in kernel.layers.BY_BINDING.items():
        rules = bindings[key].host["forward"]["parameters"]
        found = list(inspect.signature(layer.forward).parameters.values())[1:]
        assert [one.name for one in found] == [rule["name"] for rule in rules], key
        for one, rule in zip(found, rules):
            assert one.kind.name.lower() == rule.get("kind", "positional_or_keyword"), (key, one)
            assert (one.default is inspect.Parameter.empty) == ("default" not in rule), (key, one)
            assert "default" not in rule or repr(one.default).strip("'\"") == repr(eval(rule["default"])).strip("'\""), (key, one)
            assert one.annotation == rule.get("annotation", inspect.Parameter.empty), (key, one)
        trains = {"forward_train", "backward"} <= {op["kind"] for op in kernel._library.CONTRACT["ops"]}
        assert layer.can_torch_compile is True and layer.has_backward is trains
        assert {name for name in vars(layer) if not name.startswith("__")} == {"can_torch_compile", "has_backward", "forward"}
        assert "__init__" not in vars(layer)
    for name in ("EsmFold2TriangleMultiplication", "ESMFold2TriangleMultiplication"):  # the decorator's spelling and the hub's
        assert hasattr(kernel.layers, name) and name in kernel.layers.__all__
    assert not hasattr(kernel, "TriangleMultiplication"), "a name that hosts share says nothing"
    assert kernel._ops.NAMESPACE == json.loads(next(Path(bundle).glob("build/*/metadata.json")).read_text())["id"] == kernel.__name__
    print(kernel.info())
    assert kernel.info()["builds"] and kernel.info()["version"] == "1.0.0"


def opcheck(bundle):
    """torch.library.opcheck of the operators of inference; they give eager's numbers, and an error where a gradient is wanted."""
    kernel = load(bundle)
    hosts = Hosts(kernel)
    module, x, mask = hosts.patched(hosts.esmfold2), hosts.x, hosts.mask
    binding = kernel._hosts.BINDINGS["esmfold2/EsmFold2TriangleMultiplicativeUpdate"]
    parameters = [module.get_parameter(name) for name in binding.parameters]
    inputs = [x, mask] + [None] * (len(kernel._hosts.INPUTS) - 2)
    words = "\n".join(binding.live_words(module))
    operators = getattr(torch.ops, kernel._ops.NAMESPACE)
    with torch.no_grad():
        assert torch.equal(operators.forward(*inputs, parameters, binding.key, words), module(x, mask))
    for dtype in (torch.float32, torch.bfloat16):
        arguments = [None if tensor is None else tensor.detach().to(dtype) for tensor in inputs]
        frozen = [parameter.detach().to(dtype) for parameter in parameters]
        torch.library.opcheck(operators.forward.default, (*arguments, frozen, binding.key, words))
        torch.library.opcheck(operators.forward_in_place.default, (*arguments, frozen, binding.key, words, True))
        torch.library.opcheck(operators.forward_in_place.default, (*arguments, frozen, binding.key, words, False))
    # A backward that is not there is an error, never a missing gradient.
    says(RuntimeError, "", lambda: operators.forward(*inputs, parameters, binding.key, words).sum().backward())


def operators(bundle):
    """torch.compile without a break, export, vmap and fake tensors: the same numbers as eager."""
    kernel = load(bundle)
    hosts = Hosts(kernel)
    module, x, mask = hosts.patched(hosts.esmfold2), hosts.x, hosts.mask
    with torch.no_grad():
        eager = module(x, mask)
        hosts.check(eager, hosts.truth(module, x, mask), "eager")
    hosts.esmfold2_class.calls = 0
    compiled = torch.compile(module, fullgraph=True)
    with torch.no_grad():
        assert torch.equal(compiled(x, mask), eager)
        assert torch.equal(compiled(x), module(x)) and torch.equal(compiled(x, visibility=mask.bool()), eager)
        assert torch.equal(compiled(x[:, :7, :7], mask[:, :7, :7]), module(x[:, :7, :7], mask[:, :7, :7]))
        module.proj_emit.weight.mul_(2)  # packed again, not compiled again
        assert torch.equal(compiled(x, mask), module(x, mask)) and not torch.equal(compiled(x, mask), eager)
        boltz = hosts.patched(hosts.boltz)
        assert torch.equal(torch.compile(boltz, fullgraph=True, dynamic=True)(x, mask), boltz(x, mask))
        with torch.autocast(DEVICE.type, torch.bfloat16):
            assert torch.equal(torch.compile(module, fullgraph=True)(x, mask), module(x, mask))
        exported = torch.export.export(module, (x, mask)).module()
        assert torch.equal(exported(x, mask), module(x, mask))
        batches = torch.func.vmap(lambda one, seen: module(one.unsqueeze(0), seen.unsqueeze(0)).squeeze(0))(x, mask)
        assert torch.allclose(batches, module(x, mask), atol=1e-6)
        from torch._subclasses.fake_tensor import FakeTensorMode
        with FakeTensorMode(allow_non_fake_inputs=True) as mode:
            fake = module(mode.from_tensor(x), mode.from_tensor(mask))
            assert type(fake).__name__ == "FakeTensor" and fake.shape == x.shape
        assert hosts.esmfold2_class.calls == 0, "the host's own forward ran"
        # What no build takes is the host's own, compiled like the rest of the model.
        os.environ["LAMINA_STRICT"] = "0"
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            wide = copy.deepcopy(module).double()
            found = torch.compile(wide, fullgraph=True)(x.double(), mask.double())
        assert any("float64" in str(one.message) for one in seen), [str(one.message) for one in seen]
        assert (found - hosts.truth(module, x, mask)).norm() < 1e-9 * found.norm()


def dtypes(bundle):
    """The host's dtype, whatever its weights are: autocast, float32 weights beside 16-bit tensors, masks of any dtype and stride."""
    kernel = load(bundle)
    hosts = Hosts(kernel, dim=128)
    x, mask = hosts.x, hosts.mask
    module = hosts.patched(hosts.esmfold2)
    with torch.no_grad():
        truth = hosts.truth(module, x, mask)
        for dtype in (torch.bfloat16, torch.float16):
            rounded = x.to(dtype)
            half = copy.deepcopy(module).to(dtype)
            half.norm_start.float(), half.norm_mix.float()  # as transformers keeps them
            expected = hosts.truth(half, rounded, mask)
            for one in (mask, mask.to(dtype), mask.bool(), mask.long()):
                found = half(rounded, one)
                assert found.dtype == dtype
                hosts.check(found, expected, f"mask {one.dtype}")
            hosts.check(module(rounded, mask), hosts.truth(module, rounded, mask), "float32 weights beside", scale=1.25)  # they are rounded too
            try:
                with torch.autocast(DEVICE.type, dtype):
                    found, host = module(x, mask), type(module).forward(module, x, mask)
            except RuntimeError as error:  # torch's own CPU kernels may lack a dtype
                print(f"autocast {dtype}: {error}")
                continue
            assert found.dtype == host.dtype, (found.dtype, host.dtype)
            hosts.check(found, truth, f"autocast {dtype}", scale=1.5)  # the input is rounded too
        expanded = mask[:1, :1].expand(2, 11, 11)
        hosts.check(module(x, expanded), hosts.truth(module, x, expanded), "an expanded mask")
        hosts.check(module(x, mask[:1]), hosts.truth(module, x, mask[:1]), "one mask for the batch")
        three = hosts.patched(hosts.boltz)
        hosts.check(three(x[0], mask[0]), hosts.truth(three, x[:1], mask[:1])[0], "three axes")
        five = x.unflatten(0, (2, 1))
        found = hosts.patched(randomise(hosts.esmfold2_class(128, "outgoing")))(five, mask.unflatten(0, (2, 1)))
        assert found.shape == five.shape
        for strided in (x.transpose(1, 2), x.flip(1)[:, ::1], x.permute(0, 1, 3, 2).contiguous().permute(0, 1, 3, 2)):
            hosts.check(module(strided, mask), hosts.truth(module, strided, mask), f"strides {strided.stride()}")
        hosts.check(module(x[:, :1, :1].expand(2, 11, 11, 128), mask), hosts.truth(module, x[:, :1, :1].expand(2, 11, 11, 128), mask), "expanded")
        with torch.inference_mode():
            hosts.check(module(x, mask), truth, "inference mode")
            made_here = hosts.patched(randomise(hosts.esmfold2_class(128, "outgoing")))
            hosts.check(made_here(x), hosts.truth(made_here, x), "a module made in inference mode")


def functions(bundle):
    """The functions of other libraries' kernels, from their callers' side."""
    kernel = load(bundle)
    hosts = Hosts(kernel, dim=64)
    x, mask, esmfold2 = hosts.x, hosts.mask, hosts.esmfold2
    lat = 64
    weights = dict(norm_in_weight=esmfold2.norm_start.weight, norm_in_bias=esmfold2.norm_start.bias,
                   p_in_weight=esmfold2.proj_bundle.weight[: 2 * lat], g_in_weight=esmfold2.proj_bundle.weight[2 * lat:],
                   norm_out_weight=esmfold2.norm_mix.weight, norm_out_bias=esmfold2.norm_mix.bias,
                   p_out_weight=esmfold2.proj_emit.weight, g_out_weight=esmfold2.proj_gate.weight)
    weights = {name: tensor.detach() for name, tensor in weights.items()}
    residual = torch.randn_like(x)
    drop = draw_mask(2, 1, 11, 64) / 0.8
    update = hosts.truth(esmfold2, x, mask)
    fused = kernel.triangle_multiplicative_update_with_residual
    hosts.check(fused(x, "incoming", residual, drop, mask=mask, **weights), residual.double() + drop.double() * update, "with residual")
    hosts.check(fused(x, "incoming", x, None, mask=mask, **weights), x.double() + update, "residual is the pair itself")
    half = {name: tensor.bfloat16() for name, tensor in weights.items()}
    with torch.no_grad():
        rounded = copy.deepcopy(esmfold2).bfloat16()
    hosts.check(fused(x.bfloat16(), "incoming", torch.zeros_like(x).bfloat16(), None, mask=mask, **half), hosts.truth(rounded, x.bfloat16(), mask), "bfloat16")
    plain = kernel.triangle_multiplicative_update(x, "incoming", mask, **weights)
    hosts.check(plain, update, "cuEquivariance's")
    compiled = torch.compile(lambda one: kernel.triangle_multiplicative_update(one, "incoming", mask, **weights), fullgraph=True)(x)
    assert torch.equal(compiled, plain)
    says(RuntimeError, "no class of this binding fits direction='inwards'", kernel.triangle_multiplicative_update, x, "inwards", mask, **weights)
    says(RuntimeError, "p_in_weight, p_out_weight not found", kernel.triangle_multiplicative_update, x, "incoming", g_in_weight=weights["g_in_weight"])
    says(RuntimeError, "precision is given", kernel.triangle_multiplicative_update, x, precision=1, **weights)
    says(ValueError, "mask is (2, 3, 11), expected (2, 11, 11)", kernel.triangle_multiplicative_update, x, "incoming", mask[:, :3], **weights)
    says(TypeError, "x is a list", kernel.triangle_multiplicative_update, [1])

    class TriMul(torch.nn.Module):  # the competition's formula
        def __init__(self, dim, hidden):
            super().__init__()
            self.norm, self.to_out_norm = torch.nn.LayerNorm(dim), torch.nn.LayerNorm(hidden)
            for name in ("left_proj", "right_proj", "left_gate", "right_gate", "out_gate"):
                setattr(self, name, torch.nn.Linear(dim, hidden, bias=False))
            self.to_out = torch.nn.Linear(hidden, dim, bias=False)

        def forward(self, x, mask):
            x = self.norm(x)
            left = self.left_proj(x) * mask.unsqueeze(-1) * self.left_gate(x).sigmoid()
            right = self.right_proj(x) * mask.unsqueeze(-1) * self.right_gate(x).sigmoid()
            return self.to_out(self.to_out_norm(torch.einsum("bikd,bjkd->bijd", left, right)) * self.out_gate(x).sigmoid())

    trimul = randomise(TriMul(64, 48))
    data = (x, mask, {name: tensor.detach() for name, tensor in trimul.named_parameters()}, {"dim": 64, "hidden_dim": 48})
    truth = hosts.truth(trimul, x, mask)
    for name in ("kernel_global", "kernel_a100", "kernel_h100", "kernel_b200", "kernel_mi300"):
        hosts.check(getattr(kernel, name)(data), truth, name)
    hosts.check(kernel.kernel_global((x, mask.flatten().bool(), *data[2:])), truth, "a flattened mask")
    hosts.check(kernel.kernel_global((x.half(), mask, *data[2:])), hosts.truth(trimul, x.half(), mask), "float16 beside float32 weights")


def overhead(bundle):
    """What Python adds to one eager call: nothing is computed at N = 0.  The limit leaves room for a busy machine; the best is printed."""
    kernel = load(bundle)
    hosts = Hosts(kernel, dim=128)
    module, x, mask = hosts.patched(hosts.esmfold2), hosts.x[:1, :0, :0], hosts.mask[:1, :0, :0]
    best = {}
    with torch.inference_mode():
        for what, call in (("layer", lambda: module(x, mask)), ("torch.empty_like", lambda: torch.empty_like(x))):
            call()
            times = []
            for _ in range(200):
                start = time.perf_counter()
                for _ in range(50):
                    call()
                times.append((time.perf_counter() - start) / 50)
            best[what] = min(times) * 1e6
    print(", ".join(f"{what}: {microseconds:.2f} us" for what, microseconds in best.items()))
    assert best["layer"] < 40, best


if __name__ == "__main__":
    steps = (signatures, opcheck, operators, dtypes, functions, overhead)
    {step.__name__: step for step in steps}[sys.argv[1]](sys.argv[2])
    print(f"{sys.argv[1]}: passed")
