"""transformers' own EsmFold2TriangleMultiplicativeUpdate with the bundle's layer, by every route that transformers and kernels offer.

Usage: python_transformers.py STEP BUNDLE.  Steps: layer, set_use_kernels.
"""
import copy
import sys
from pathlib import Path

import kernels
import torch
from kernels import LocalLayerRepository, Mode, kernelize, use_kernel_mapping
from transformers import EsmFold2Config
from transformers.models.esmfold2 import modeling_esmfold2 as esmfold2

from python_modules import DEVICE, check_close, draw, draw_mask, pins_widened, randomise

NAME = "EsmFold2TriangleMultiplication"
Update = esmfold2.EsmFold2TriangleMultiplicativeUpdate
decorated = kernels.__version__.startswith("0.16")  # transformers 5.17 does not know kernels 0.17 and leaves its classes alone
calls = 0


def count_host_calls():
    """Only the host's own forward contracts in this way."""
    contract = Update._triangular_contract

    def counted(*arguments):
        global calls
        calls += 1
        return contract(*arguments)

    Update._triangular_contract = counted


class Trunk(esmfold2.EsmFold2PreTrainedModel):
    """A few blocks of the folding trunk, under transformers' own model class."""

    def __init__(self, config):
        super().__init__(config)
        self.folding_trunk = esmfold2.EsmFold2PairUpdateStack(config, config.folding_trunk_num_hidden_layers)
        self.post_init()

    def forward(self, pair_states, mask=None):
        return self.folding_trunk(pair_states, pair_attention_mask=mask)


def own_forward(plain, x, mask):
    """The host's formula in the float64 that `plain` is in."""
    vars(plain).pop("forward", None)
    with pins_widened():
        return Update.forward(plain, x.double(), mask if mask is None else mask.double())


def repository(bundle):
    return LocalLayerRepository(repo_path=Path(bundle), layer_name=NAME)


def layer(bundle):
    if not decorated:
        kernels.replace_kernel_forward_from_hub(Update, NAME)
    contract = kernels.get_local_kernel(Path(bundle))._library.CONTRACT
    config = EsmFold2Config(pairwise_hidden_size=128, chunk_size=8)
    for outgoing in (True, False):
        for dtype in (torch.float32, torch.bfloat16):
            module = randomise(Update(config, outgoing=outgoing)).to(dtype)
            module.norm_start.float(), module.norm_mix.float()
            x, mask = draw(1, 37, 37, 128, seed=2).to(dtype), draw_mask(1, 37, 37)
            with torch.no_grad():
                for given in (mask, None):
                    truth, eager = own_forward(copy.deepcopy(module).double(), x, given), module(x, visibility=given)
                    swapped = copy.deepcopy(module)
                    with use_kernel_mapping({NAME: {DEVICE.type: {Mode.INFERENCE: repository(bundle)}}}, inherit_mapping=False):
                        swapped = kernelize(swapped, mode=Mode.INFERENCE, device=DEVICE.type, use_fallback=False)
                    before = calls
                    found = swapped(x, visibility=given)
                    assert calls == before, "the host's own forward ran"
                    assert found.dtype == eager.dtype == dtype
                    what = f"{module.flow}, {'mask' if given is not None else 'no mask'}"
                    check_close(found, truth, dtype, what, contract)
                    difference = float((found.double() - eager.double()).norm() / truth.norm())
                    assert difference <= 2 * contract["tolerances"]["frobenius"][str(dtype)[6:]], (what, difference)
                    compiled = torch.compile(swapped, fullgraph=True, backend="aot_eager")
                    assert torch.equal(compiled(x, visibility=given), found) and calls == before
    # The mode with torch.compile is served too, strictly, and training, by the bundle's own backward.
    with use_kernel_mapping({NAME: {DEVICE.type: {Mode.INFERENCE | Mode.TORCH_COMPILE: repository(bundle)}}}, inherit_mapping=False):
        kernelize(copy.deepcopy(module), mode=Mode.INFERENCE | Mode.TORCH_COMPILE, device=DEVICE.type, use_fallback=False)
    with use_kernel_mapping({NAME: {DEVICE.type: {Mode.TRAINING: repository(bundle)}}}, inherit_mapping=False):
        trained = kernelize(copy.deepcopy(module).float().train(), mode=Mode.TRAINING, device=DEVICE.type, use_fallback=False)
    wide = copy.deepcopy(module).double()
    before, x, mask = calls, x.double(), mask.double()
    trained(x.float(), visibility=mask.float()).square().sum().backward()
    assert calls == before, "the host's own forward ran"
    own_forward(wide, x, mask).square().sum().backward()
    for (name, one), other in zip(trained.named_parameters(), wide.parameters()):
        assert (one.grad - other.grad).norm() <= contract["tolerances"]["gradient"]["frobenius"]["float32"] * other.grad.norm(), name


def set_use_kernels(bundle):
    """The trunk of transformers' model, its method, its mapping; and back to the host when it trains."""
    assert decorated, "transformers 5.17 needs kernels 0.16 for this"
    from kernels import register_kernel_mapping

    register_kernel_mapping({NAME: {DEVICE.type: {Mode.INFERENCE: repository(bundle)}}}, inherit_mapping=False)
    import transformers.integrations.hub_kernels as hub_kernels

    hub_kernels.register_kernel_mapping_transformers = lambda *arguments, **options: None  # its default mapping asks the hub
    config = EsmFold2Config(pairwise_hidden_size=64, chunk_size=16, folding_trunk_num_hidden_layers=3, pair_transition_intermediate_size=128)
    model = randomise(Trunk(config))
    x, mask = draw(1, 29, 29, 64), torch.ones(1, 29, 29, device=DEVICE)
    with torch.no_grad():
        before = model(x, mask)
        assert calls == 6
        model.set_use_kernels(True)
        after = model(x, mask)
        assert calls == 6, "the host's own forward ran"
        error = float((before - after).norm() / before.norm())
        print(f"three blocks, {error:.1e} from the host's")
        assert error < 1e-5
        model.train()
        assert torch.allclose(model(x, mask), before, atol=1e-5) and calls == 12
        model.eval()
        assert torch.equal(model(x, mask), after) and calls == 12
    model(x, mask).sum().backward()
    assert calls == 12 and all(parameter.grad is not None for parameter in model.parameters())


if __name__ == "__main__":
    count_host_calls()
    {"layer": layer, "set_use_kernels": set_use_kernels}[sys.argv[1]](sys.argv[2])
    print(f"{sys.argv[1]}: passed with kernels {kernels.__version__}")
