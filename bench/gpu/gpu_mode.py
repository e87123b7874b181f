"""The GPU MODE problem (reference-kernels, problems/bioml/trimul): its seven benchmark shapes, its inputs, its tolerance, its way of timing.

    python3 bench/gpu/gpu_mode.py --build A.so --out FILE.json [--compute fp16,bf16] [--rival NAME=FILE.py:FUNCTION]

Tensors are float32; the attribute `compute` permits 16-bit arithmetic inside.  A submission gets (pair, mask, weights, config) and gives a
new tensor; weights are raw, so packing them is part of every call.  Two times each: the checker's (events around one call after another,
the mean of up to 100) whose geometric mean over the shapes is the score, and captured graphs taking turns over rotating inputs, as in the
other parts.  Each form must pass the checker's comparison on every shape, else there is no score.
"""
import argparse
import json
import math
import statistics
import sys
import time

import torch
import torch.nn.functional as F

import forms
import record
import timing
from plugin import Plugin
from problem import Shape
from triangle_multiplication import machine

# N, B, C, seed, mask given, distribution; hidden width 128.
CASES = [(256, 2, 128, 9371, False, "normal"), (768, 1, 128, 381, False, "cauchy"), (256, 2, 384, 2301, True, "normal"),
         (512, 1, 128, 12819, False, "normal"), (1024, 1, 128, 381, False, "cauchy"), (768, 1, 384, 481, True, "normal"),
         (1024, 1, 384, 23291, False, "normal")]
HIDDEN, TOLERANCE = 128, 2e-2  # relative and absolute
NAMES = {"norm_in_weight": "norm.weight", "norm_in_bias": "norm.bias", "a_projection_weight": "left_proj.weight",
         "b_projection_weight": "right_proj.weight", "a_gate_weight": "left_gate.weight", "b_gate_weight": "right_gate.weight",
         "out_gate_weight": "out_gate.weight", "norm_out_weight": "to_out_norm.weight", "norm_out_bias": "to_out_norm.bias",
         "out_projection_weight": "to_out.weight"}


def inputs(case, device, shift=0):
    """What the checker draws: unit normals, or a Cauchy distribution of scale 2; a mask of integers, half of them 0, or of float ones."""
    n, batch, c, seed, masked, distribution = case
    torch.manual_seed(seed + shift)
    normal = lambda *extents: torch.randn(*extents, device=device)
    extents = (batch, n, n, c)
    pair = torch.empty(extents, device=device).cauchy_(0.0, 2.0) if distribution == "cauchy" else normal(*extents)
    mask = torch.randint(0, 2, extents[:3], device=device) if masked else torch.ones(extents[:3], device=device)
    weights = {f"{name}.{kind}": normal(size) for name, size in (("norm", c), ("to_out_norm", HIDDEN)) for kind in ("weight", "bias")}
    weights |= {f"{name}.weight": normal(HIDDEN, c) / HIDDEN**0.5
                for name in ("left_proj", "right_proj", "left_gate", "right_gate", "out_gate")}
    weights["to_out.weight"] = normal(c, HIDDEN) / c**0.5
    return pair, mask, weights, {"dim": c, "hidden_dim": HIDDEN}


def reference(data):
    """The problem's formula, in the inputs' float32; the gate multiplies before the last projection."""
    pair, mask, w, config = data
    z = F.layer_norm(pair, (config["dim"],), w["norm.weight"], w["norm.bias"])
    gated = lambda side: F.linear(z, w[f"{side}_proj.weight"]) * mask[..., None] * torch.sigmoid(F.linear(z, w[f"{side}_gate.weight"]))
    o = torch.einsum("bikd,bjkd->bijd", gated("left"), gated("right"))
    o = F.layer_norm(o, (HIDDEN,), w["to_out_norm.weight"], w["to_out_norm.bias"])
    return F.linear(o * torch.sigmoid(F.linear(z, w["out_gate.weight"])), w["to_out.weight"])


def verdict(got, expected):
    """The checker's: every element within the tolerance, none that is not a number."""
    excess = (got - expected).abs() - (TOLERANCE + TOLERANCE * expected.abs())
    bad = ~(excess <= 0)
    return int(bad.sum().item()), ((got - expected).double().norm() / expected.double().norm()).item()


class Submission:
    """A plug-in as the competition would call it: one plan for each shape, everything else new at every call."""

    def __init__(self, plugin, compute):
        self.name, self.version = f"lamina {plugin.target} compute={compute}", plugin.build_id
        self.plugin, self.compute, self.plans = plugin, compute, {}

    def prepared(self, pair, mask, weights):
        key = (pair.shape, mask.dtype)
        if key not in self.plans:
            given = {ours: weights[theirs] for ours, theirs in NAMES.items()} | {"pair": pair, "pair_mask": mask, "out": torch.empty_like(pair)}
            call = self.plugin.prepare("forward", given, compute=self.compute, output_gate="before_projection")
            workspace = torch.empty(call.need.workspace_size + 256, dtype=torch.uint8, device=pair.device)
            call.use_workspace(workspace[(-workspace.data_ptr()) % 256:])
            self.plans[key] = call, workspace
        return self.plans[key][0]

    def __call__(self, data):
        pair, mask, weights, _ = data
        call = self.prepared(pair, mask, weights)
        out = torch.empty_like(pair)
        for ours, theirs in NAMES.items():
            call.point(ours, weights[theirs])
        call.point("pair", pair), call.point("pair_mask", mask), call.point("out", out)
        call.run()
        return out


class Rival:
    def __init__(self, name, function):
        self.name, self.version, self.function = name, "", function

    def __call__(self, data):
        return self.function(data)


def checker_seconds(form, data, on_gpu):
    """Mean of at most 100 calls; fewer once it is known to 0.1 %."""
    taken = []
    for _ in range(100 if on_gpu else 3):
        taken.append(seconds_of(lambda: form(data), on_gpu))
        if len(taken) > 2:
            mean, deviation = statistics.mean(taken), statistics.stdev(taken)
            if deviation / math.sqrt(len(taken)) < 1e-3 * mean:
                break
    return statistics.mean(taken), len(taken)


def seconds_of(call, on_gpu):
    """Of one call: by events on a GPU, by the host's clock on a CPU."""
    if not on_gpu:
        begin = time.perf_counter()
        call()
        return time.perf_counter() - begin
    torch.cuda.synchronize()
    begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    begin.record()
    kept = call()
    end.record()
    torch.cuda.synchronize()
    del kept
    return begin.elapsed_time(end) * 1e-3


def measure(case, candidates, options, card):
    n, batch, c, _, masked, distribution = case
    shape = Shape(n, c, HIDDEN, batch, "float32", gate_before=True)
    on_gpu = options.device == "cuda"
    sets = [inputs(case, options.device, shift) for shift in (0, 13)]
    expected, rows, turns = reference(sets[0]), [], []
    key = {"run": 0, "part": "gpu_mode", "variant": distribution + (", masked" if masked else "")} | shape.key()
    for form in candidates:
        row = key | {"form": form.name, "version": form.version}
        try:
            wrong, error = verdict(form(sets[0]), expected)
            row |= {"error": error, "wrong_elements": wrong}
            if wrong:
                raise RuntimeError(f"{wrong} of {expected.numel()} elements are outside the checker's tolerance; relative error {error:.3g}")
            seconds, calls = checker_seconds(form, sets[0], on_gpu)
            row |= {"checker_microseconds": seconds * 1e6, "checker_calls": calls, "floor": shape.floor() * 1e6, "flops": shape.flops(),
                    "bytes": shape.bytes(), "unit_bytes": shape.unit, "extra_bytes": timing.peak_extra_bytes(
                        lambda _: form(sets[0]), shape.unit, on_gpu)}
            turns.append((row, timing.Turn(lambda i, form=form: form(sets[i]), len(sets), shape.floor(), on_gpu)))
        except Exception as failure:
            row["not_timed"] = " ".join(f"{type(failure).__name__}: {failure}".split())[:300]
        rows.append(row)
    state = timing.interleave([turn for _, turn in turns], options.rounds, card)
    for row, turn in turns:
        us = [seconds * 1e6 for seconds in turn.seconds]
        row |= {"microseconds": statistics.median(us), "least": min(us), "most": max(us), "rounds": len(us)} | state
    for row in rows:
        told = row.get("not_timed") or (f"checker {row['checker_microseconds']:9.1f} us, in turns {row['microseconds']:9.1f} us, "
                                        f"floor {row['floor']:7.1f}, error {row['error']:.2e}")
        print(f"N={n:<4} B={batch} C={c:<3} {row['variant']:14} {row['form']:36} {told}", flush=True)
    return rows


def scores(rows):
    """(form, geometric mean of the checker's times, of those in turns), or why there is none."""
    for form in dict.fromkeys(row["form"] for row in rows):
        own = [row for row in rows if row["form"] == form]
        if any("not_timed" in row for row in own):
            yield form, None, None
            continue
        mean = lambda name: math.exp(statistics.mean(math.log(row[name]) for row in own))
        yield form, mean("checker_microseconds"), mean("microseconds")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="append", required=True)
    parser.add_argument("--compute", default="fp16,bf16", help="of the attribute; each is a form: %(default)s")
    parser.add_argument("--rival", action="append", default=[], metavar="NAME=FILE.py:FUNCTION", help="another submission, called with the data")
    parser.add_argument("--cases", default="0,1,2,3,4,5,6", help="which of the seven shapes")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--commit")
    parser.add_argument("--out")
    options = parser.parse_args()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    plugins = [Plugin(path) for path in options.build]
    candidates = [Submission(plugin, compute) for plugin in plugins for compute in options.compute.split(",")]
    candidates.append(Rival("PyTorch eager, float32", reference))
    for rival in options.rival:
        name, function = rival.split("=", 1)
        candidates.append(Rival(name, forms.load_function(function)))
    out, card = record.empty(), timing.Card(options.device)
    out["runs"].append(machine(options) | {"plugins": {p.target: p.build_id for p in plugins}})
    print(json.dumps(out["runs"][0]))
    try:
        with torch.no_grad():
            for index in map(int, options.cases.split(",")):
                out["rows"] += measure(CASES[index], candidates, options, card)
                if options.out:
                    record.write(options.out, out)
    finally:
        card.close()
    for form, checker, turns in scores(out["rows"]):
        print(f"{form:36} geometric mean " + (f"{checker:.0f} us by the checker's timing, {turns:.0f} us in turns" if checker else
                                              "none: a shape failed"))
    return 0


if __name__ == "__main__":
    sys.exit(main())
