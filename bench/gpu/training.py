"""Times a training step of triangle multiplication on one GPU: forward and backward of Lamina's builds beside cuEquivariance's, in one
process, taking turns as captured CUDA graphs, and compares each gradient with float64.

    python3 bench/gpu/training.py --build A.so [--build B.so] --sizes 128,256 --widths 128 --out FILE.json

Ours runs forward_train and backward with save = nothing, both from raw weights, as weights are in training; --save activations adds the step
that keeps what the build keeps, where it keeps any.  A form whose gradients are
wrong, or that is not there, is a row that says so.  Gradients are compared where float64 autograd fits, N <= --check-up-to.
The file is written after every problem.
"""
import argparse
import statistics
import sys

import torch

import record
import timing
from forms import TITLES, version_of
from plugin import Plugin
from problem import BYTES_PER_SECOND, FLOPS_PER_SECOND, Problem, Shape
from triangle_multiplication import machine

WRONG = 3e-2  # relative Frobenius error of a gradient beyond this is another gradient
PARAMETERS = ["norm_in_weight", "norm_in_bias", "a_projection_weight", "a_gate_weight", "b_projection_weight", "b_gate_weight",
              "norm_out_weight", "norm_out_bias", "out_projection_weight", "out_gate_weight"]


def parameters_of(p):
    h = p.shape.h
    return dict(zip(PARAMETERS, [*p.norm_in, p.projection[:h], p.gate[:h], p.projection[h:], p.gate[h:], *p.norm_out, p.out_projection, p.out_gate]))


class Ours:
    """forward_train, then backward; the gradients are those of the last call."""

    def __init__(self, plugin, problem, out_gradient, save="nothing"):
        s = problem.shape
        self.name, self.version = f"lamina {plugin.target}" + (f", save = {save}" if save != "nothing" else ""), plugin.build_id
        self.problem, parameters = problem, parameters_of(problem)
        direction = "incoming" if s.incoming else "outgoing"
        inputs = {"pair": problem.pairs[0], "pair_mask": problem.mask} | parameters
        self.out, self.pair_gradient = torch.empty_like(problem.pairs[0]), torch.empty_like(problem.pairs[0])
        self.gradients = {"pair": self.pair_gradient} | {name: torch.empty_like(value) for name, value in parameters.items()}
        named = {f"{name}_gradient": value for name, value in self.gradients.items()}
        kept, attributes = {}, {"direction": direction, "save": save}
        if save != "nothing":
            shape = plugin.shape_of("forward_train", "saved", inputs | {"out": self.out}, **attributes)
            kept = {"saved": torch.empty(shape, dtype=torch.uint8, device=problem.device)}
        self.forward = plugin.prepare("forward_train", inputs | {"out": self.out} | kept, **attributes)
        self.backward = plugin.prepare("backward", inputs | {"out_gradient": out_gradient} | named | kept, **attributes)
        size = max(self.forward.need.workspace_size, self.backward.need.workspace_size)
        self.workspace = torch.empty(size, dtype=torch.uint8, device=problem.device)
        self.forward.use_workspace(self.workspace), self.backward.use_workspace(self.workspace)
        self.extra_bytes = size + sum(tensor.numel() for tensor in kept.values())

    def __call__(self, index):
        pair = self.problem.pairs[index]
        self.forward.point("pair", pair), self.backward.point("pair", pair)
        self.forward.run(), self.backward.run()


class CuEquivariance:
    def __init__(self, problem, out_gradient):
        from cuequivariance_torch import triangle_multiplicative_update
        s, p = problem.shape, problem
        self.name, self.version = TITLES["cuequivariance"], version_of("cuequivariance_torch")
        self.function, self.problem, self.out_gradient = triangle_multiplicative_update, problem, out_gradient
        self.direction = "incoming" if s.incoming else "outgoing"
        self.weights = {"norm_in_weight": p.norm_in[0], "norm_in_bias": p.norm_in[1], "p_in_weight": p.projection, "g_in_weight": p.gate,
                        "norm_out_weight": p.norm_out[0], "norm_out_bias": p.norm_out[1], "p_out_weight": p.out_projection,
                        "g_out_weight": p.out_gate}
        self.weights = {name: value.detach().clone().requires_grad_() for name, value in self.weights.items()}
        self.extra_bytes = None

    def __call__(self, index):
        pair = self.problem.pairs[index].detach().requires_grad_()
        out = self.function(pair, direction=self.direction, mask=self.problem.mask, **self.weights)
        found = torch.autograd.grad(out, [pair, *self.weights.values()], self.out_gradient)
        h, named = self.problem.shape.h, dict(zip(["pair", *self.weights], found))
        self.gradients = {"pair": named["pair"]} | dict(zip(PARAMETERS, [
            named["norm_in_weight"], named["norm_in_bias"], named["p_in_weight"][:h], named["g_in_weight"][:h], named["p_in_weight"][h:],
            named["g_in_weight"][h:], named["norm_out_weight"], named["norm_out_bias"], named["p_out_weight"], named["g_out_weight"]]))


def true_gradients(problem, out_gradient):
    """Of the formula in float64, for the first pair."""
    tensors = [problem.pairs[0], *parameters_of(problem).values()]
    wide = {id(x): x.double().requires_grad_() for x in (problem.pairs[0], problem.projection, problem.gate, *problem.norm_in, *problem.norm_out,
                                                         problem.out_projection, problem.out_gate)}
    out = problem.formula(problem.pairs[0], lambda x: wide.get(id(x), x.double() if x is problem.mask else x))
    found = dict(zip(wide, torch.autograd.grad(out, list(wide.values()), out_gradient.double())))
    h, p = problem.shape.h, problem
    both = found[id(p.projection)], found[id(p.gate)]
    named = [found[id(p.norm_in[0])], found[id(p.norm_in[1])], both[0][:h], both[1][:h], both[0][h:], both[1][h:], found[id(p.norm_out[0])],
             found[id(p.norm_out[1])], found[id(p.out_projection)], found[id(p.out_gate)]]
    return {"pair": found[id(tensors[0])]} | dict(zip(PARAMETERS, named))


def errors_of(form, truth):
    form(0)
    return {name: ((form.gradients[name].double() - true).norm() / true.norm()).item() for name, true in truth.items()}


def floor_of(shape):
    """Seconds that forward and backward need at least, the backward without computing anything again: each kernel by its FLOPs or bytes."""
    m, c, unit = shape.batch * shape.n * shape.n, shape.c, shape.unit
    backward = [(12 * m * c * c, 5 * unit), (4 * m * shape.n * c, 6 * unit), (24 * m * c * c, 5 * unit)]
    return shape.floor() + sum(max(flops / FLOPS_PER_SECOND, size / BYTES_PER_SECOND) for flops, size in backward)


class Bench:
    def __init__(self, options):
        self.options, self.card, self.failed = options, timing.Card(options.device), False
        self.plugins = [Plugin(path) for path in options.build]
        self.out = record.empty()
        self.out["runs"].append(machine(options) | {"plugins": {p.target: p.build_id for p in self.plugins}})

    def candidates(self, problem, out_gradient):
        for plugin in self.plugins:
            for save in self.options.save:
                yield f"lamina {plugin.target}, save = {save}", lambda: Ours(plugin, problem, out_gradient, save)
        if not self.options.alone:
            yield TITLES["cuequivariance"], lambda: CuEquivariance(problem, out_gradient)

    def measure(self, shape):
        problem = Problem(shape, self.options.device)
        generator = torch.Generator(self.options.device).manual_seed(2)
        out_gradient = torch.randn(problem.pairs[0].shape, generator=generator, device=self.options.device).to(problem.dtype)
        checked = shape.batch * shape.n**2 <= self.options.check_up_to**2
        truth = true_gradients(problem, out_gradient) if checked else None
        rows, turns = [], []
        for name, make in self.candidates(problem, out_gradient):
            try:
                form = make()
                errors = errors_of(form, truth) if checked else {}
                wrong = {key: value for key, value in errors.items() if not value <= WRONG}
                if wrong:
                    raise RuntimeError(f"wrong gradients: {wrong}")
                extra = form.extra_bytes
                if extra is None:
                    extra = timing.peak_extra_bytes(form, shape.unit, True)
                turns.append(timing.Turn(form, len(problem.pairs), floor_of(shape), True))
                rows.append({"run": 0, "part": "training", "form": form.name, "version": form.version, "errors": errors, "extra_bytes": extra,
                             "unit_bytes": shape.unit, "floor": floor_of(shape) * 1e6} | shape.key())
            except Exception as failure:  # a form that fails here is a line of the table, not the end of it
                reason = " ".join(str(failure).split())[:500]
                self.out["rows"].append({"run": 0, "part": "training", "form": name, "not_timed": reason} | shape.key())
                print(f"N={shape.n} C={shape.c} {name}: NOT TIMED: {reason}", flush=True)
                self.failed |= name.startswith("lamina")
        state = timing.interleave(turns, self.options.rounds, self.card)
        for row, turn in zip(rows, turns):
            us = [seconds * 1e6 for seconds in turn.seconds]
            row |= {"microseconds": statistics.median(us), "least": min(us), "most": max(us), "rounds": len(us), "repeats": turn.repeats} | state
            errors = " ".join(f"{key}={value:.2e}" for key, value in row["errors"].items())
            print(f"N={shape.n} C={shape.c} {row['direction']} {row['form']}: {row['microseconds']:.1f} us, floor {row['floor']:.1f}, "
                  f"{row['extra_bytes'] / row['unit_bytes']:.2f} U extra; {errors}", flush=True)
        self.out["rows"] += rows

    def run(self):
        try:
            for width in self.options.widths:
                for direction in self.options.directions:
                    for size in self.options.sizes:
                        self.measure(Shape(size, width, dtype=self.options.dtype, incoming=direction == "incoming"))
                        torch.cuda.empty_cache()
                        if self.options.out:
                            record.write(self.options.out, self.out)
        finally:
            self.card.close()
        return 1 if self.failed else 0


def main():
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="append", required=True, help="a plug-in; repeatable")
    parser.add_argument("--sizes", type=numbers, default=[128, 256, 384, 512, 768, 1024])
    parser.add_argument("--widths", type=numbers, default=[128, 256])
    parser.add_argument("--directions", type=lambda text: text.split(","), default=["outgoing"])
    parser.add_argument("--dtype", default="bfloat16", choices=["bfloat16", "float16", "float32"])
    parser.add_argument("--check-up-to", type=int, default=256, help="largest N whose gradients are compared with float64")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--alone", action="store_true", help="without cuEquivariance")
    parser.add_argument("--save", type=lambda text: text.split(","), default=["nothing"], help="nothing,activations: a form for each")
    parser.add_argument("--commit", help="name of the commit, where git cannot tell")
    parser.add_argument("--out", help="JSON file")
    options = parser.parse_args()
    options.device = "cuda"
    return Bench(options).run()


if __name__ == "__main__":
    sys.exit(main())
