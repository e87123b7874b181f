"""Trains a small pair trunk of transformers' ESMFold2 on ubiquitin three times from one seed: as it is, with Lamina's layers in it, and as it is
in float64; writes the loss curves as JSON and as a picture.

    python3 train_pair_block.py BUNDLE... [--steps 200] [--out FOLDER]

BUNDLEs are folders that `lamina pack` or `lamina fetch` wrote.  The task: from residue types and relative positions to binned distances between
C-alpha atoms, on a random crop of the chain at each step.  float64 tells how far two float32 runs of the same training may part: by rounding.
"""
import argparse
import contextlib
import csv
import json
import math
import platform
import time
from pathlib import Path

import torch
from kernels import get_local_kernel
from torch import nn
from transformers import EsmFold2Config
from transformers.models.esmfold2.modeling_esmfold2 import EsmFold2PairUpdateStack

WIDTH, BLOCKS, CROP, BINS, FARTHEST = 64, 2, 40, 32, 22.0


def protein():
    """Residue types and the distances between C-alpha atoms, in angstrom."""
    rows = list(csv.DictReader((Path(__file__).parent / "data" / "1ubq_ca.csv").open()))
    kinds = sorted({row["name"] for row in rows})
    places = torch.tensor([[float(row[axis]) for axis in "xyz"] for row in rows], dtype=torch.float64)
    return torch.tensor([kinds.index(row["name"]) for row in rows]), torch.cdist(places, places)


class Distances(nn.Module):
    """Pair features, two blocks of triangle multiplications and a transition, logits of binned distances."""

    def __init__(self, kinds):
        super().__init__()
        self.left, self.right, self.apart = nn.Embedding(kinds, WIDTH), nn.Embedding(kinds, WIDTH), nn.Embedding(65, WIDTH)
        self.trunk = EsmFold2PairUpdateStack(EsmFold2Config(pairwise_hidden_size=WIDTH, pair_transition_intermediate_size=4 * WIDTH, chunk_size=None),
                                             num_layers=BLOCKS)
        self.logits = nn.Linear(WIDTH, BINS)

    def forward(self, residues, positions):
        relative = (positions[:, None] - positions[None]).clamp(-32, 32) + 32
        pair = (self.left(residues)[:, None] + self.right(residues)[None] + self.apart(relative))[None]
        pair = self.trunk(pair, pair_attention_mask=pair.new_ones(pair.shape[:3]))
        return self.logits(pair + pair.transpose(1, 2))[0]


@contextlib.contextmanager
def wide_norms(dtype):
    """This host pins its norms to float32 by Tensor.float(), which must mean float64 where all is float64."""
    pinned = torch.Tensor.float
    if dtype == torch.float64:
        torch.Tensor.float = torch.Tensor.double
    try:
        yield
    finally:
        torch.Tensor.float = pinned


def train(steps, bundles, dtype):
    """(losses, seconds a step, what was swapped)"""
    residues, distances = protein()
    target = (distances / FARTHEST * BINS).long().clamp(max=BINS - 1)
    torch.manual_seed(0)
    model = Distances(int(residues.max()) + 1).to(dtype).train()
    kernels = [get_local_kernel(Path(bundle)) for bundle in bundles]
    swapped = [key for kernel in kernels for _, key in kernel.patch(model).swapped]
    assert bool(swapped) == bool(bundles), "nothing in this model is bound"
    optimiser = torch.optim.AdamW(model.parameters(), lr=2e-3)
    crops, losses, times = torch.Generator().manual_seed(1), [], []
    for _ in range(steps):
        start = time.perf_counter()
        first = int(torch.randint(len(residues) - CROP + 1, (1,), generator=crops))
        seen = torch.arange(first, first + CROP)
        with wide_norms(dtype):
            logits = model(residues[seen], seen)
        loss = nn.functional.cross_entropy(logits.flatten(0, 1), target[seen][:, seen].flatten())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    return losses, sorted(times)[len(times) // 2], swapped


def apart(one, other):
    """Largest relative difference of two loss curves."""
    return max(abs(a - b) / b for a, b in zip(one, other))


def picture(runs):
    """The curves above, how far the two in float32 are from float64 below."""
    width, height, left = 640, 200, 64
    colours = {"eager": "#888888", "Lamina": "#0b6e4f", "eager, float64": "#d1495b"}
    truth = runs["eager, float64"]["losses"]
    steps = len(truth)
    across = lambda at: left + at * (width - left - 16) / max(1, steps - 1)
    highest = max(max(run["losses"]) for run in runs.values())
    linear = lambda value: 24 + (1 - value / highest) * height
    floor, ceiling = -8, 0
    decade = lambda value: 280 + (ceiling - max(floor, math.log10(max(value, 1e-300)))) / (ceiling - floor) * height
    text = lambda x, y, words, anchor="start": f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{words}</text>'
    lines = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="540" font-family="sans-serif" font-size="12" fill="#333333">',
             f'<rect width="{width}" height="540" fill="white"/>', text(left, 16, "loss, nats a pair"), text(left, 272, "relative distance of the loss from float64"),
             text(width - 16, 520, f"step (of {steps})", "end")]
    for value in range(int(highest) + 1):
        lines.append(f'<path d="M{left} {linear(value):.1f}H{width - 16}" stroke="#dddddd"/>' + text(left - 8, linear(value) + 4, value, "end"))
    for power in range(floor, ceiling + 1, 2):
        lines.append(f'<path d="M{left} {decade(10.0**power):.1f}H{width - 16}" stroke="#dddddd"/>' + text(left - 8, decade(10.0**power) + 4, f"1e{power}", "end"))
    for at, (name, run) in enumerate(runs.items()):
        dash = ' stroke-dasharray="6 5"' if name == "Lamina" else ' stroke-dasharray="2 6"' if "64" in name else ""
        curve = " ".join(f"{across(i):.1f},{linear(loss):.1f}" for i, loss in enumerate(run["losses"]))
        lines.append(f'<polyline points="{curve}" fill="none" stroke="{colours[name]}" stroke-width="2"{dash}/>')
        if name != "eager, float64":
            curve = " ".join(f"{across(i):.1f},{decade(abs(a - b) / b):.1f}" for i, (a, b) in enumerate(zip(run["losses"], truth)))
            lines.append(f'<polyline points="{curve}" fill="none" stroke="{colours[name]}" stroke-width="1.2"/>')
        lines.append(f'<rect x="{width - 190}" y="{34 + 18 * at}" width="14" height="4" fill="{colours[name]}"/>' + text(width - 170, 40 + 18 * at, name))
    return "\n".join([*lines, "</svg>", ""])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", nargs="+")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    runs = {}
    for name, bundles, dtype in (("eager", [], torch.float32), ("Lamina", options.bundle, torch.float32), ("eager, float64", [], torch.float64)):
        losses, seconds, swapped = train(options.steps, bundles, dtype)
        runs[name] = {"losses": losses, "seconds_a_step": seconds, "swapped": swapped}
        print(f"{name}: loss {losses[0]:.4f} to {losses[-1]:.4f}, {1e3 * seconds:.1f} ms a step (median), {len(swapped)} layers swapped")
    truth = runs["eager, float64"]["losses"]
    own, host = apart(runs["Lamina"]["losses"], truth), apart(runs["eager"]["losses"], truth)
    print(f"largest relative distance of the loss from float64: {own:.1e} with Lamina, {host:.1e} in eager")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        names = [Path(bundle).resolve().name for bundle in options.bundle]
        (options.out / "training_pair_block.json").write_text(json.dumps({
            "command": " ".join(["python3 examples/train_pair_block.py", *names, f"--steps {options.steps}"]), "torch": torch.__version__,
            "machine": platform.machine(), "threads": torch.get_num_threads(), "width": WIDTH, "blocks": BLOCKS, "crop": CROP,
            "largest_distance_from_float64": {"Lamina": own, "eager": host}, "runs": runs}, indent=1) + "\n")
        (options.out / "training_pair_block.svg").write_text(picture(runs))
    # Rounding grows with the steps, in both runs alike: neither is to be much worse than the other.
    return 0 if own <= 10 * host + 1e-6 and runs["Lamina"]["losses"][-1] < runs["Lamina"]["losses"][0] else 1


if __name__ == "__main__":
    raise SystemExit(main())
