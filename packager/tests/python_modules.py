"""What the Python tests run: host modules written in plain torch, random parameters, a host's formula in float64, and the comparison with it.

LAMINA_TEST_DEVICE=cuda puts all of it on a GPU, for a bundle that holds builds for that.
"""
import contextlib
import copy
import os
from pathlib import Path

import torch
from torch import nn

DEVICE = torch.device(os.environ.get("LAMINA_TEST_DEVICE", "cpu"))


def load(folder):
    from kernels import get_local_kernel
    return get_local_kernel(Path(folder))


def draw(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE)


def draw_mask(*shape, seed=29):
    """Ones, and a fifth of zeros."""
    return (torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) > 0.2).float().to(DEVICE)


def randomise(module, seed=3):
    """Every parameter random, since released modules begin with zeros in their output; on the tests' device, in inference's mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * parameter.shape[-1]**-0.5 if parameter.dim() > 1 else 0.2 * noise + ("norm" in name and "weight" in name))
    return module.eval().to(DEVICE)


@contextlib.contextmanager
def pins_widened():
    """Where a host pins float32 (Tensor.float), the pin is float64 inside: its formula is the truth, not its rounding."""
    pinned, torch.Tensor.float = torch.Tensor.float, torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.float = pinned


def says(error, sentence, function, *arguments, **options):
    try:
        function(*arguments, **options)
    except error as raised:
        assert sentence in str(raised), f"{raised!s} does not say {sentence!r}"
        return
    raise AssertionError(f"{sentence!r} was not raised")


def host_classes():
    """Two host modules as their projects write them, in plain torch: Boltz's and ESMFold2's.  Each counts its own forward's calls."""
    class TriangleMultiplicationOutgoing(nn.Module):
        calls = 0
        flow = "outgoing"

        def __init__(self, dim):
            super().__init__()
            self.norm_in, self.norm_out = nn.LayerNorm(dim, eps=1e-5), nn.LayerNorm(dim, eps=1e-5)
            self.p_in, self.g_in = nn.Linear(dim, 2 * dim, bias=False), nn.Linear(dim, 2 * dim, bias=False)
            self.p_out, self.g_out = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)

        def forward(self, x, mask, use_kernels=False):
            type(self).calls += 1
            x = self.norm_in(x)
            x_in = x
            x = self.p_in(x) * self.g_in(x).sigmoid() * mask.unsqueeze(-1)
            wide = x.double() if x.dtype == torch.float64 else x.float()
            a, b = torch.chunk(wide, 2, dim=-1)
            x = torch.einsum("bikd,bjkd->bijd" if self.flow == "outgoing" else "bkid,bkjd->bijd", a, b).to(x.dtype)
            return self.p_out(self.norm_out(x)) * self.g_out(x_in).sigmoid()

    class TriangleMultiplicationIncoming(TriangleMultiplicationOutgoing):
        calls = 0
        flow = "incoming"

    class EsmFold2TriangleMultiplicativeUpdate(nn.Module):
        calls = 0

        def __init__(self, dim, flow):
            super().__init__()
            self.dim, self.flow = dim, flow
            self.norm_start, self.norm_mix = nn.LayerNorm(dim), nn.LayerNorm(dim)
            self.proj_bundle = nn.Linear(dim, 4 * dim, bias=False)
            self.proj_emit, self.proj_gate = nn.Linear(dim, dim, bias=False), nn.Linear(dim, dim, bias=False)

        def forward(self, pair_grid: torch.Tensor, visibility: torch.Tensor | None = None):
            type(self).calls += 1
            def norm(layer, x):  # its parameters stay float32 in a bfloat16 model
                return nn.functional.layer_norm(x.to(layer.weight.dtype), (self.dim,), layer.weight, layer.bias, layer.eps).to(x.dtype)
            n = norm(self.norm_start, pair_grid)
            s, g = self.proj_bundle(n).split(2 * self.dim, dim=-1)
            r = s * g.sigmoid()
            if visibility is not None:
                r = r * visibility.unsqueeze(-1).to(r.dtype)
            a, b = r.chunk(2, dim=-1)
            o = torch.einsum("bikd,bjkd->bijd" if self.flow == "outgoing" else "bkid,bkjd->bijd", a, b)
            return self.proj_emit(norm(self.norm_mix, o)) * self.proj_gate(n).sigmoid()

    return TriangleMultiplicationOutgoing, TriangleMultiplicationIncoming, EsmFold2TriangleMultiplicativeUpdate


def check_close(found, truth, dtype, what: str, contract: dict) -> None:
    """The contract's three measures against float64."""
    name, difference = str(dtype).removeprefix("torch."), found.double() - truth
    rows = truth.norm(dim=-1)
    assert not difference[rows == 0].any(), f"{what}: a row of zeros is none"
    measures = {"frobenius": difference.norm() / truth.norm(),
                "worst_row": (difference.norm(dim=-1) / rows)[rows > 0].max(),
                "worst_element": difference.abs().max() / truth.pow(2).mean().sqrt()}
    for measure, value in measures.items():
        limit = contract["tolerances"][measure][name]
        print(f"{what}: {name} {measure} {value:.2e} (limit {limit:.1e})")
        assert value <= limit, (what, name, measure, float(value), limit)


class Hosts:
    """A Boltz and an ESMFold2 module with the bundle's layers in the place of their forwards."""

    def __init__(self, kernel, dim=32):
        outgoing, _, esmfold2 = host_classes()
        self.kernel, self.boltz_class, self.esmfold2_class = kernel, outgoing, esmfold2
        self.boltz, self.esmfold2 = randomise(outgoing(dim)), randomise(esmfold2(dim, "incoming"))
        self.x, self.mask = draw(2, 11, 11, dim, seed=5), draw_mask(2, 11, 11)

    def patched(self, module):
        self.kernel.patch(module, hosts=["boltz", "esmfold2"])
        return module

    def truth(self, module, *arguments, **options):
        plain = copy.deepcopy(module).double()
        self.kernel.unpatch(plain)
        double = lambda value: value.double() if isinstance(value, torch.Tensor) and value.is_floating_point() else value
        with torch.no_grad():
            return plain(*map(double, arguments), **{name: double(value) for name, value in options.items()})

    def check(self, found, truth, what, scale=1):
        name = str(found.dtype).removeprefix("torch.")
        error = float((found.double() - truth).norm() / truth.norm())
        limit = scale * self.kernel._library.CONTRACT["tolerances"]["frobenius"][name]
        print(f"{what}: {name} {error:.1e} (limit {limit:.1e})")
        assert error <= limit, (what, error, limit)
