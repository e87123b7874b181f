"""Times a layer that works row by row beside PyTorch's forms of it, at the shapes that its own cuda_bench.py names.

    python3 bench/gpu/rows.py --build B.so --layer layers/NAME --out rows.json [--op backward [--save activations]] [--only M=4096,...] [--peers eager,torch.compile]

Forms take turns as captured graphs over rotating buffers that the L2 cache cannot hold (timing.py); errors are against float64 on the same
rows.  The file names GPU, driver, commit and command; a run adds to it or replaces what it measured again.
"""
import argparse
import functools
import importlib.util
import json
import os
import shlex
import statistics
import subprocess
import sys

import torch

import plugin
import timing

TENSOR_FLOPS, BYTES_PER_SECOND = 790e12, 4.3e12  # of an H200: docs/measurements say how they were found
ROTATING_BYTES = 400e6
ROTATING = ("x", "residual")
LARGEST_ERROR = {"float32": 1e-4, "float16": 3e-3, "bfloat16": 2e-2}  # far above rounding: this bench is no test of exactness
TRAINING_TIMES = 3  # backward's floor: two products for each of forward's, and forward's own again


def loaded(layer):
    spec = importlib.util.spec_from_file_location("cuda_bench", os.path.join(layer, "cuda_bench.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def randoms(device, dtype, seed=1):
    generator = torch.Generator(device=device).manual_seed(seed)

    def random(*shape, mean=0.0, scale=1.0):
        return (torch.randn(*shape, device=device, generator=generator) * scale + mean).to(dtype)

    return random


class Problem:
    def __init__(self, bench, problem, build, device, dtype, rotated_bytes):
        self.bench, self.dims, self.attributes = bench, problem["dims"], problem["attributes"]
        self.switches = {name: value for name, value in problem.items() if name not in ("dims", "attributes")}
        self.given = bench.tensors(self.dims, self.attributes, randoms(device, dtype), **self.switches)
        out_shape = self.given.pop("out")
        self.rotating = [name for name in ROTATING if name in self.given]
        each = 2 * (sum(self.given[name].numel() for name in self.rotating) + out_shape[0] * out_shape[1])
        self.copies = max(2, min(64, int(rotated_bytes / each) + 1))
        random = randoms(device, dtype, 2)
        self.rows = [[self.given[name] if i == 0 else random(*self.given[name].shape) for name in self.rotating] for i in range(self.copies)]
        self.outs = [torch.full(out_shape, float("nan"), device=device, dtype=dtype) for _ in range(self.copies)]
        parameters = {name: self.given[name] for name in bench.PACKED if name in self.given}
        self.packed = self.pack(build, parameters, dtype)
        call = dict(self.given) | {"packed": self.packed, "out": self.outs[0]}
        self.call = build.prepare("forward", call, **self.attributes)
        self.workspace = torch.empty(max(1, self.call.need.workspace_size), device=device, dtype=torch.uint8)
        self.call.use_workspace(self.workspace)

    def pack(self, build, parameters, dtype):
        attributes = self.attributes | {"dtype": str(dtype).removeprefix("torch.")}
        device = next(iter(parameters.values())).device
        empty = torch.empty(0, device=device, dtype=torch.uint8)
        sized = build.prepare("pack", parameters | {"packed": empty}, **attributes)
        packed = torch.empty(sized.need.packed_size, device=device, dtype=torch.uint8)
        call = build.prepare("pack", parameters | {"packed": packed}, **attributes)
        call.run()
        return packed

    def ours(self, i):
        for name, tensor in zip(self.rotating, self.rows[i]):
            self.call.point(name, tensor)
        self.call.point("out", self.outs[i])
        self.call.run()
        return self.outs[i]

    def error(self):
        """Relative Frobenius error of some of the rows against float64."""
        self.ours(0)
        few = slice(0, 4096)
        exact = {name: tensor.double() for name, tensor in self.given.items()}
        truth = self.bench.forms(exact, self.attributes)["eager"](*[row[few].double() for row in self.rows[0]])
        return float((self.outs[0][few].double() - truth).norm() / truth.norm())

    def turns(self, peers, on_gpu):
        flops, moved = self.bench.cost(self.dims)
        floor = max(flops / TENSOR_FLOPS, moved / BYTES_PER_SECOND)
        forms = {"ours": self.ours}
        for name, form in self.bench.forms(self.given, self.attributes).items():
            if name in peers:
                forms[name] = lambda i, form=form: form(*self.rows[i])
        return floor, {name: timing.Turn(form, self.copies, max(floor, 5e-6), on_gpu) for name, form in forms.items()}


class Backward(Problem):
    """All gradients: what forward computed is computed again, or with save = activations read from what op forward_train kept of the same rows."""

    def __init__(self, bench, problem, build, device, dtype, rotated_bytes, save="nothing"):
        super().__init__(bench, problem, build, device, dtype, rotated_bytes)
        random, self.forward = randoms(device, dtype, 3), self.call
        takes = build.ops["backward"].contents
        takes = {takes.args[i].name.decode() for i in range(takes.arg_count)}
        self.gradient = random(*self.outs[0].shape)
        inputs = {name: tensor for name, tensor in self.given.items() if name in takes}
        self.names = [name for name in self.given if f"{name}_gradient" in takes]
        self.results = {f"{name}_gradient": torch.full_like(self.given[name], float("nan")) for name in self.names}
        self.kept = self.keep(build, device) if save == "activations" else []
        kept, chosen = ({"saved": self.kept[0]}, {"save": save}) if self.kept else ({}, {})
        self.attributes = self.attributes | chosen
        self.call = build.prepare("backward", inputs | kept | {"out_gradient": self.gradient} | self.results, **self.attributes)
        self.rotating = [name for name in self.rotating if name in inputs]
        self.saved_bytes = self.kept[0].numel() if self.kept else 0
        self.workspace = torch.empty(max(1, self.call.need.workspace_size), device=device, dtype=torch.uint8)
        self.call.use_workspace(self.workspace)

    def keep(self, build, device):
        """What forward_train saves of each copy of the rows."""
        attributes, kept = self.attributes | {"save": "activations"}, []
        for rows, out in zip(self.rows, self.outs):
            tensors = self.given | dict(zip(self.rotating, rows)) | {"out": out}
            shape = build.shape_of("forward_train", "saved", tensors, **attributes)
            kept.append(torch.empty(shape, device=device, dtype=torch.uint8))
            call = build.prepare("forward_train", tensors | {"saved": kept[-1]}, **attributes)
            workspace = torch.empty(max(1, call.need.workspace_size), device=device, dtype=torch.uint8)
            call.use_workspace(workspace)
            call.run()
        return kept

    def ours(self, i):
        for name, tensor in zip(self.rotating, self.rows[i]):
            self.call.point(name, tensor)
        if self.kept:
            self.call.point("saved", self.kept[i])
        self.call.run()

    def autograd(self, dtype=None):
        """The gradients by PyTorch's autograd of its eager form, without the forward's time where the graph is kept."""
        given = {name: (tensor.to(dtype) if dtype else tensor).detach().requires_grad_() for name, tensor in self.given.items()}
        rows = [given[name] for name in ROTATING if name in given]
        out = self.bench.forms(given, self.attributes)["eager"](*rows)
        gradient = self.gradient.to(out.dtype)
        return lambda: torch.autograd.grad(out, [given[name] for name in self.names], gradient, retain_graph=True)

    def error(self):
        self.ours(0)
        truth = self.autograd(torch.float64 if self.given["x"].shape[0] <= 300000 else torch.float32)()
        return max(float((self.results[f"{name}_gradient"].double() - t.double()).norm() / t.double().norm()) for name, t in zip(self.names, truth))

    def turns(self, peers, on_gpu):
        flops, moved = self.bench.cost(self.dims)
        floor = max(TRAINING_TIMES * flops / TENSOR_FLOPS, TRAINING_TIMES * moved / BYTES_PER_SECOND)
        forms = {"ours": self.ours}
        return floor, {name: timing.Turn(form, self.copies, max(floor, 5e-6), on_gpu) for name, form in forms.items()}


def measured(problem, peers, rounds, card, on_gpu):
    error = problem.error()
    floor, turns = problem.turns(peers, on_gpu)
    state = timing.interleave(list(turns.values()), rounds, card)
    times = {name: {"median": statistics.median(turn.seconds), "least": min(turn.seconds)} for name, turn in turns.items()}
    return {"dims": problem.dims, "attributes": problem.attributes, **problem.switches, "floor": floor, "error": error, "seconds": times, "card": state,
            "workspace_bytes": problem.call.need.workspace_size, "saved_bytes": getattr(problem, "saved_bytes", 0)}


def identity(row):
    return json.dumps([row["layer"], row["op"], row["dims"], row["attributes"], row.get("normed", False), row["dtype"]])


def line(row):
    times = "  ".join(f"{name} {values['median'] * 1e6:.1f}" for name, values in row["seconds"].items())
    dims = " ".join(f"{letter}={extent}" for letter, extent in row["dims"].items())
    normed = " norm" if row.get("normed") else ""
    return f"{row['layer']} {row['op']} {dims}{normed} {row['dtype']}: us {times}  floor {row['floor'] * 1e6:.1f}  error {row['error']:.2e}"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--op", default="forward", choices=["forward", "backward"])
    parser.add_argument("--save", default="nothing", choices=["nothing", "activations"], help="of --op backward")
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--peers", default="eager,torch.compile,plain product,cuBLASLt epilogue")
    parser.add_argument("--only", default="", help="M=1,N=2: problems with these extents alone")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--most", type=int, default=0, help="no extent of a problem is larger: to try the bench itself")
    parser.add_argument("--rotated-bytes", type=float, default=ROTATING_BYTES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--commit", default="")
    options = parser.parse_args()
    commit = options.commit or subprocess.run(["git", "describe", "--always", "--abbrev=40", "--dirty"], capture_output=True, text=True).stdout.strip()
    on_gpu = options.device == "cuda"
    machine = torch.cuda.get_device_name() if on_gpu else "CPU"
    driver = ""
    if on_gpu:
        driver = subprocess.run(["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"], capture_output=True, text=True).stdout.strip()
    wanted = dict(pair.split("=") for pair in options.only.split(",") if pair)
    bench, build, card = loaded(options.layer), plugin.Plugin(options.build), timing.Card(options.device)
    record = {"schema": "lamina/gpu-rows/1", "rows": []}
    if os.path.exists(options.out):
        with open(options.out) as file:
            record = json.load(file)
    failed = False
    for problem in bench.PROBLEMS:
        if any(str(problem["dims"].get(letter)) != extent for letter, extent in wanted.items()):
            continue
        if options.most:
            problem = problem | {"dims": {letter: min(extent, options.most) for letter, extent in problem["dims"].items()}}
        make = functools.partial(Backward, save=options.save) if options.op == "backward" else Problem
        held = make(bench, problem, build, options.device, getattr(torch, options.dtype), options.rotated_bytes)
        row = measured(held, options.peers.split(","), options.rounds, card, on_gpu)
        del held
        row = {"layer": os.path.basename(os.path.normpath(options.layer)), "op": options.op, "dtype": options.dtype, **row, "build": build.target, "build_id": build.build_id,
               "machine": machine, "driver": driver, "torch": torch.__version__, "commit": commit, "command": shlex.join(sys.argv)}
        record["rows"] = [old for old in record["rows"] if identity(old) != identity(row)] + [row]
        with open(options.out + ".new", "w") as file:
            json.dump(record, file, indent=1)
        os.replace(options.out + ".new", options.out)
        print(line(row), flush=True)
        wrong = not row["error"] < LARGEST_ERROR[options.dtype]
        failed = failed or wrong
        if wrong:
            print("WRONG: the error is no rounding", flush=True)
        torch.cuda.empty_cache()
        if on_gpu:
            torch._dynamo.reset()
    card.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
