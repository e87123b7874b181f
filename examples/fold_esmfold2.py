"""Folds ubiquitin with transformers' ESMFold2, as it is and with the kernel in it, and prints pLDDT and time of both.

    python3 fold_esmfold2.py BUNDLE [--checkpoint FOLDER] [--device cuda]

BUNDLE is a folder that `lamina pack` or `lamina fetch` wrote, or ORG/NAME on a hub.  Without a checkpoint the model is small and has its own random
initialisation: it folds nothing, but both runs must agree.
"""
import argparse
import time
from pathlib import Path

import torch
from kernels import get_kernel, get_local_kernel
from transformers import EsmFold2Config, EsmFold2Model

UBIQUITIN = "MQIFVKTLTGKTITLEVEPSDTIENVKAKIQDKEGIPPDQQRLIFAGKQLEDGRTLSDYNIQKESTLHLVLRLRGG"


def model_of(checkpoint, device):
    if checkpoint:
        return EsmFold2Model.from_pretrained(checkpoint, dtype=torch.bfloat16).to(device).eval()
    torch.manual_seed(0)
    language = dict(model_type="esmc", hidden_size=64, intermediate_size=128, num_hidden_layers=2, num_attention_heads=4)
    diffusion = dict(hidden_size=64, fourier_dim=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64, pair_intermediate_size=64)
    config = EsmFold2Config(pairwise_hidden_size=64, pair_transition_intermediate_size=128, folding_trunk_num_hidden_layers=3, num_loops=1,
                            esmc_config=language, structure_head=dict(diffusion_module=diffusion, inference_num_steps=4))
    model = EsmFold2Model(config).to(device).eval()
    with torch.no_grad():  # what starts at zero would hide everything behind it
        for name, parameter in model.confidence_head.named_parameters():
            if name.endswith("_weight"):
                parameter.normal_(std=0.05)
    return model


def fold(model):
    torch.manual_seed(1)  # the sampler draws noise
    start = time.perf_counter()
    output = model.infer_protein(UBIQUITIN, num_diffusion_samples=1)
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return output, time.perf_counter() - start


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--checkpoint")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    kernel = get_local_kernel(Path(options.bundle)) if Path(options.bundle).exists() else get_kernel(options.bundle, version=1, trust_remote_code=True)
    model = model_of(options.checkpoint, options.device)
    results = {}
    fold(model)  # warm
    for name in ("transformers", "with Lamina"):
        if name == "with Lamina":
            report = kernel.patch(model)
            print(f"{len(report.swapped)} layers swapped, {len(report.skipped)} skipped, builds {kernel.info(model.device)['builds']}")
            fold(model)
        results[name] = fold(model)
        output, seconds = results[name]
        print(f"{name}: pLDDT {100 * float(output.complex_plddt.mean()):.2f}, {seconds:.2f} s")
    (host, _), (ours, _) = results.values()
    distogram = float((host.distogram_logits - ours.distogram_logits).norm() / host.distogram_logits.norm())
    change = 100 * abs(float(host.complex_plddt.mean()) - float(ours.complex_plddt.mean()))
    print(f"pLDDT differs by {change:.3f}, the distogram by {distogram:.1e}")


main()
