"""What a bundle's Python package does with modules of a model: weights that change, what patch() takes and leaves, what is refused.

Usage: python_patching.py STEP BUNDLE.  Steps: changes, patching, refusals.  Where it runs says python_modules.py.
"""
import copy
import gc
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import warnings
from pathlib import Path

import torch

from python_modules import DEVICE, Hosts, load, randomise, says


def changes(bundle):
    """Weights are packed once, and again after every way of changing them; modules that die leave nothing behind."""
    kernel = load(bundle)
    hosts = Hosts(kernel)
    x, mask, store, sites = hosts.x, hosts.mask, kernel._weights._store, kernel._weights._sites
    module = hosts.patched(hosts.esmfold2)
    packs = 0
    make = kernel._weights.Weights._pack

    def counted(*arguments):
        nonlocal packs
        packs += 1
        return make(*arguments)

    kernel._weights.Weights._pack = counted
    with torch.no_grad():
        for _ in range(3):
            module(x, mask)
        assert packs == 1
        module(x[:1, :5, :5])
        assert packs == 1, "another shape needs no other packing"
        module(x.bfloat16())
        assert packs == 2, "another dtype does"
        module.proj_gate.weight.add_(0.1)
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after an in-place change")
        module.proj_gate.weight = torch.nn.Parameter(module.proj_gate.weight * 1.5)
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after a new parameter")
        module.proj_emit = randomise(torch.nn.Linear(32, 32, bias=False), seed=8)
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after a new child")
        other = randomise(hosts.esmfold2_class(32, "incoming"), seed=9)
        module.load_state_dict(other.state_dict())
        hosts.check(module(x, mask), hosts.truth(other, x, mask), "after load_state_dict")
        module.load_state_dict({name: 2 * tensor for name, tensor in other.state_dict().items()}, assign=True)
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after load_state_dict(assign=True)")
        module.flow = "outgoing"
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after a change of direction")
        module.norm_start.eps = module.norm_mix.eps = 1e-2
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after another eps")
        module.to(torch.bfloat16).float()
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after two conversions")
        module.proj_emit.weight.data.mul_(3)  # torch counts no version for this
        kernel.refresh(module)
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "after refresh()")
        second = copy.deepcopy(module)
        hosts.check(second(x, mask), hosts.truth(module, x, mask), "a copy")
        second.proj_gate.weight.zero_()
        hosts.check(module(x, mask), hosts.truth(module, x, mask), "the original, after a change of the copy")
        # What a binding does not know is never left out of the sum.
        module.proj_gate.bias = torch.nn.Parameter(torch.ones(32, device=DEVICE))
        os.environ["LAMINA_STRICT"] = "0"
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            found = module(x, mask)
        assert any("proj_gate.bias, which this binding does not know" in str(one.message) for one in seen)
        assert torch.equal(found, type(module).forward(module, x, mask))
    results = {}

    def work(at):
        with torch.no_grad():
            for round_ in range(200):
                results.setdefault(at, []).append(second(x * (at + 1), mask))

    with torch.no_grad():
        expected = [second(x * (at + 1), mask) for at in range(4)]
    sys.setswitchinterval(1e-6)  # threads meet in the middle of calls
    threads = [threading.Thread(target=work, args=(at,)) for at in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert all(torch.equal(found, expected[at]) for at in range(4) for found in results[at])
    assert store and sites
    del module, second, other, hosts, threads, found, seen
    gc.collect()
    assert not store and not sites, (len(store), len(sites))


def patching(bundle):
    kernel = load(bundle)
    hosts = Hosts(kernel)
    outgoing, esmfold2 = hosts.boltz_class, hosts.esmfold2_class

    class Kept(outgoing):  # a subclass that keeps the forward
        pass

    class Changed(outgoing):
        def forward(self, x, mask, use_kernels=False):
            return super().forward(x, mask) + 1

    class Trunk(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.kept, self.changed = randomise(outgoing(32)), randomise(Kept(32)), randomise(Changed(32))
            self.wide = randomise(esmfold2(32, "outgoing"))
            self.biased = randomise(outgoing(32))
            self.biased.p_in = torch.nn.Linear(32, 64, device=DEVICE)

        def forward(self, x, mask):
            return self.first(x, mask) + self.kept(x, mask) + self.changed(x, mask) + self.wide(x, mask) + self.biased(x, mask)

    model = Trunk()
    os.environ["LAMINA_STRICT"] = "0"
    assert repr(kernel.patch(model)).startswith("0 swapped"), "these classes do not lie in their hosts' modules"
    says(ValueError, "no host 'bolts' in this bundle; it has alphafold3_pytorch, boltz", kernel.patch, model, hosts=["bolts"])
    with torch.no_grad():
        before = model(hosts.x, hosts.mask)
        contractions = 0  # one in each host's own forward
        einsum = torch.einsum

        def counted(*arguments):
            nonlocal contractions
            contractions += 1
            return einsum(*arguments)

        with kernel.patch(model, hosts=["boltz", "esmfold2"]) as report:
            print(report)
            assert report.swapped == [("first", "boltz/TriangleMultiplicationOutgoing"), ("kept", "boltz/TriangleMultiplicationOutgoing"),
                                      ("wide", "esmfold2/EsmFold2TriangleMultiplicativeUpdate")], report.swapped
            assert [path for path, _ in report.skipped] == ["biased"] and "p_in.bias" in report.skipped[0][1], report.skipped
            torch.einsum = counted
            inside = model(hosts.x, hosts.mask)
            torch.einsum = einsum
            assert contractions == 2, "of five modules, two keep their own forward"
            again = kernel.patch(model, hosts=["boltz"])
            assert not again.swapped and ("first", "is patched already") in again.skipped
        after = model(hosts.x, hosts.mask)
    assert (inside - before).norm() < 1e-5 * before.norm() and torch.equal(before, after)
    assert not any("forward" in vars(module) for module in model.modules())
    model.first.forward = lambda x, mask: x
    report = kernel.patch(model, hosts=["boltz"])
    assert ("first", "its forward was replaced by someone else") in report.skipped
    assert kernel.unpatch(model) == 1 and "forward" in vars(model.first)
    # Another version of the host, with another signature.
    outgoing.forward = lambda self, x, mask, chunk=None: x
    Kept.forward = outgoing.forward
    report = kernel.patch(model, hosts=["boltz"])
    assert not report.swapped and "its forward takes (x, mask, chunk)" in dict(report.skipped)["kept"]
    os.environ["LAMINA_STRICT"] = "1"
    says(RuntimeError, "0 swapped", kernel.patch, model, hosts=["boltz"])


def refusals(bundle):
    """What cannot be served: one sentence, and the host's own forward; with LAMINA_STRICT=1 an error.  Importing never raises."""
    os.environ["LAMINA_STRICT"] = "1"
    kernel = load(bundle)
    hosts = Hosts(kernel)
    x, mask = hosts.x, hosts.mask
    module = hosts.patched(hosts.boltz)
    with torch.no_grad():
        says(RuntimeError, "does not take torch.float64", copy.deepcopy(module).double(), x.double(), mask.double())
        says(RuntimeError, "mask is (2, 4, 4), expected (2, 11, 11)", module, x, mask[:, :4, :4])
        says(RuntimeError, "x is (2, 11, 5, 32), expected [..., N, N, C]", module, x[:, :, :5], mask[:, :, :5])
        says(RuntimeError, "x has 2 axes", module, x[0, 0], mask)
        says(RuntimeError, "mask is None, which this host does not take", module, x, None)
        says(RuntimeError, "move the module with .to()", copy.deepcopy(module).to("meta"), x, mask)
        says(RuntimeError, "x is a Subclass, not a plain tensor", module, x.as_subclass(type("Subclass", (torch.Tensor,), {})), mask)
        odd = hosts.patched(randomise(hosts.boltz_class(12)))
        says(RuntimeError, "the pair width C is 12, supported are 8 to 768 in steps of 8", odd, x[..., :12], mask)
    os.environ["LAMINA_STRICT"] = "0"
    with warnings.catch_warnings(record=True) as seen, torch.no_grad():
        warnings.simplefilter("always")
        for _ in range(3):
            assert torch.equal(odd(x[..., :12], mask), type(odd).forward(odd, x[..., :12], mask))
    print([str(one.message) for one in seen])
    assert len(seen) == 1 and "the host's own forward runs for" in str(seen[0].message), "said once"

    # A bundle that no machine can run, and one whose build is not there: in processes of their own.
    script = ("import sys, warnings, torch\nsys.path.insert(0, sys.argv[1])\nimport python_modules\n"
              "with warnings.catch_warnings(record=True) as seen:\n    warnings.simplefilter('always')\n    kernel = python_modules.load(sys.argv[2])\n"
              "    hosts = python_modules.Hosts(kernel)\n    module = hosts.patched(hosts.boltz)\n"
              "    with torch.no_grad():\n        found = module(hosts.x, hosts.mask)\n"
              "    assert hosts.boltz_class.calls == 1 and len(seen) >= 1, (hosts.boltz_class.calls, seen)\n    print(seen[0].message)\n")
    for damage, sentence in (("requirement", "needs a_feature_of_tomorrow"), ("file", "did not load"), ("garbage", "did not load")):
        with tempfile.TemporaryDirectory() as folder:
            shutil.copytree(bundle, folder, dirs_exist_ok=True)
            variant = next(Path(folder).glob("build/*"))
            manifest = json.loads((variant / "manifest.json").read_text())
            for build in manifest["builds"]:
                if damage == "requirement":
                    build["requires"]["cpu_features"] = ["a_feature_of_tomorrow"]
                elif damage == "file":
                    (variant / build["file"]).unlink()
                else:
                    (variant / build["file"]).write_bytes(b"no ELF file")
            (variant / "manifest.json").write_text(json.dumps(manifest))
            for strict in "0", "1":
                run = subprocess.run([sys.executable, "-c", script, str(Path(__file__).parent), folder], text=True, capture_output=True,
                                     env={**os.environ, "LAMINA_STRICT": strict})
                assert (run.returncode == 0) == (strict == "0"), run.stdout + run.stderr
                assert sentence in run.stdout + run.stderr, run.stdout + run.stderr


if __name__ == "__main__":
    {step.__name__: step for step in (changes, patching, refusals)}[sys.argv[1]](sys.argv[2])
    print(f"{sys.argv[1]}: passed")
