"""Times triangle multiplication on one GPU: Lamina's builds and every peer that is installed, in one process, taking turns.

    python3 bench/gpu/triangle_multiplication.py --build A.so [--build B.so] --part table [--part host ...] --out FILE.json

Every form is checked against float64 first; one that is wrong, or that is not there, is a row that says so.  The parts:

    table    N by C, ours beside cuEquivariance, 15 rounds            [--sizes, --widths, --directions]
    peers    the same, ours beside eager, torch.compile, transformers' ESMFold2 module and the hub's Triton kernels, 5 rounds
    extras   the table with residual and dropout mask, which ours fuse
    in_place the update in its pair's memory, beside the one in memory of its own
    odd      N = 65, 127, 383, 1021 beside the next multiple of 8
    shapes   C = 64, also with H = 128, and C = 384 with H = 256
    batch    B = 4 at N = 128 and 256
    fp16     float16 beside bfloat16
    host     CPU time of one run                                      [--run-loop build/lib/run_loop.so]

The file is written after every problem: a run that is cut short keeps what it had.  Parts taken one by one are merged by page.py.
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

import torch

import forms
import record
import timing
from plugin import Plugin
from problem import Problem, Shape

SIZES = [128, 256, 384, 512, 768, 1024, 2048]
WRONG = {"bfloat16": 1e-2, "float16": 2e-3, "float32": 1e-3}  # a peer beyond this computes something else
CONTRACT = os.path.join(os.path.dirname(__file__), "../../layers/triangle_multiplication/contract.json")


def shapes_of(part, options):
    """(shape, forms beside ours) of each problem of a part."""
    grid = [(c, n) for c in options.widths for n in options.sizes]
    fast, slow = list(forms.FAST), list(forms.SLOW)
    if part in ("table", "extras"):
        return [(Shape(n, c, incoming=d == "incoming", extras=part == "extras"), fast) for d in options.directions for c, n in grid]
    if part == "in_place":
        return [(Shape(n, c), []) for c, n in grid]
    if part == "peers":
        return [(Shape(n, c), slow) for c, n in grid]
    if part == "odd":
        return [(Shape(n, c), []) for c in options.widths for odd in (65, 127, 383, 1021) for n in (odd, (odd + 7) // 8 * 8)]
    if part == "shapes":
        return [(Shape(n, c, h), fast) for c, h in ((64, 64), (64, 128), (384, 256)) for n in options.sizes]
    if part == "batch":
        return [(Shape(n, c, batch=4), fast) for c in options.widths for n in (128, 256)]
    if part == "fp16":
        return [(Shape(n, c, dtype=dtype), fast) for c, n in grid for dtype in ("bfloat16", "float16")]
    if part == "host":
        return [(Shape(n, c), []) for c in options.widths for n in (64, 256)]
    raise ValueError(f"there is no part {part!r}")


class Bench:
    def __init__(self, options):
        self.options, self.on_gpu = options, options.device == "cuda"
        self.plugins = [Plugin(path) for path in options.build]
        self.card = timing.Card(options.device)
        with open(CONTRACT) as file:
            self.limits = json.load(file)["tolerances"]["frobenius"]
        self.out = record.empty()
        self.out["runs"].append(machine(options) | {"plugins": {p.target: p.build_id for p in self.plugins}})

    def candidates(self, problem, beside, part):
        """(name, form or the sentence that says why there is none)."""
        for plugin in self.plugins:
            yield made(f"lamina {plugin.target}", lambda: forms.Ours(plugin, problem))
            if part == "in_place":
                yield made(f"lamina {plugin.target}, in place", lambda: forms.Ours(plugin, problem, in_place=True))
        makers = forms.FAST | forms.SLOW
        for name in beside:
            if name in self.options.peers:
                yield made(forms.TITLES[name], lambda: makers[name](problem, self.options.hub_triton))

    def checked(self, name, form, problem, part):
        """A row without times; raises where the form is wrong."""
        row = {"run": 0, "part": part, "form": form.name, "version": form.version} | problem.shape.key()
        got = form(0)
        error = problem.relative_error(got, problem.pairs[0])
        limit = (self.limits if name.startswith("lamina") else WRONG)[problem.shape.dtype]
        del got
        if not error <= limit:
            raise RuntimeError(f"wrong: relative error {error:.3g} against float64, limit {limit:g}")
        s, extra = problem.shape, getattr(form, "extra_bytes", None)
        extra = timing.peak_extra_bytes(form, s.unit, self.on_gpu) if extra is None else extra
        return row | {"error": error, "extra_bytes": extra, "unit_bytes": s.unit, "flops": s.flops(), "bytes": s.bytes(),
                      "floor": s.floor() * 1e6}

    def measure(self, part, shape, beside):
        problem = Problem(shape, self.options.device, rotated_bytes=self.options.rotated_bytes)
        rows, turns = [], []
        for name, form in self.candidates(problem, beside, part):
            try:
                if isinstance(form, str):
                    raise RuntimeError(form)
                row = self.checked(name, form, problem, part)
                if part == "host":
                    row["host_microseconds"] = timing.host_seconds(form.calls[0], self.options.run_loop) * 1e6
                turns.append(timing.Turn(form, len(problem.pairs), shape.floor(), self.on_gpu))
                rows.append(row)
            except Exception as failure:  # a peer that fails here is a line of the table, not the end of it
                reason = " ".join(str(failure).split())[:300]
                self.out["rows"].append({"run": 0, "part": part, "form": name, "not_timed": reason} | shape.key())
                print(f"{part} {describe(shape)} {name}: NOT TIMED: {reason}", flush=True)
                if name.startswith("lamina"):
                    self.failed = True
        state = timing.interleave(turns, self.options.rounds or (5 if part == "peers" else 15), self.card)
        for row, turn in zip(rows, turns):
            us = [seconds * 1e6 for seconds in turn.seconds]
            row |= {"microseconds": statistics.median(us), "least": min(us), "most": max(us), "rounds": len(us), "repeats": turn.repeats} | state
        self.out["rows"] += rows
        show(rows)

    failed = False

    def run(self):
        try:
            for part in self.options.part:
                for shape, beside in shapes_of(part, self.options):
                    self.measure(part, shape, beside)
                    if self.on_gpu:
                        torch.cuda.empty_cache()
                    if self.options.out:
                        record.write(self.options.out, self.out)
        finally:
            self.card.close()
        return 1 if self.failed else 0


def made(name, make):
    try:
        return name, make()
    except Exception as failure:
        return name, f"{type(failure).__name__}: {failure}"


def describe(shape):
    batch = f"B={shape.batch} " if shape.batch > 1 else ""
    hidden = f" H={shape.h}" if shape.h != shape.c else ""
    return f"{batch}N={shape.n:<4} C={shape.c}{hidden} {shape.dtype} {'incoming' if shape.incoming else 'outgoing'}"


def show(rows):
    ours = next((row["microseconds"] for row in rows if row["form"].startswith("lamina")), None)
    for row in rows:
        ratio = f"{row['microseconds'] / ours:6.2f}x ours" if ours else ""
        extra = "" if row["extra_bytes"] is None else f"{row['extra_bytes'] / row['unit_bytes']:6.2f} U"
        host = f" host {row['host_microseconds']:.2f} us" if "host_microseconds" in row else ""
        clock = f" {row['sm_mhz']:.0f} MHz {row['watts']:.0f} W" if "sm_mhz" in row else ""
        print(f"{row['part']:6} B={row['B']} N={row['N']:<4} C={row['C']:<3} H={row['H']:<3} {row['dtype']:8} {row['direction']:8} "
              f"{row['form']:20} {row['microseconds']:10.1f} us {100 * row['floor'] / row['microseconds']:5.1f} % of floor {ratio} "
              f"error {row['error']:.2e} {extra}{host}{clock}", flush=True)


def commit_here(given):
    if given:
        return given
    git = subprocess.run(["git", "describe", "--always", "--abbrev=12", "--dirty"], capture_output=True, text=True)
    if git.returncode:
        sys.exit("no commit is known here: give --commit NAME")
    return git.stdout.strip()


def machine(options):
    """What must be known to read the times: card, driver, clocks, libraries, commit, command."""
    facts = {"commit": commit_here(options.commit), "command": " ".join(["python3", *sys.argv]), "python": platform.python_version(),
             "torch": torch.__version__}
    try:
        import triton
        facts["triton"] = triton.__version__
    except ImportError:
        pass
    if options.device != "cuda":
        return facts | {"gpu": f"none: {options.device}"}
    query = "name,driver_version,clocks.max.sm,clocks.max.mem,power.limit"
    answer = subprocess.run(["nvidia-smi", "--id=0", f"--query-gpu={query}", "--format=csv,noheader"], capture_output=True, text=True, check=True)
    name, driver, sm, memory, power = (field.strip() for field in answer.stdout.strip().split(","))
    return facts | {"gpu": name, "driver": driver, "max_sm_clock": sm, "max_memory_clock": memory, "power_limit": power,
                    "cuda": torch.version.cuda}


def parsed():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(x) for x in text.split(",")]
    words = lambda text: text.split(",")
    parser.add_argument("--build", action="append", required=True, help="a plug-in; may be given several times")
    parser.add_argument("--part", action="append", required=True, choices="table peers extras in_place odd shapes batch fp16 host".split())
    parser.add_argument("--sizes", type=numbers, default=SIZES)
    parser.add_argument("--widths", type=numbers, default=[128, 256])
    parser.add_argument("--directions", type=words, default=["outgoing", "incoming"])
    parser.add_argument("--peers", type=words, default=[*forms.FAST, *forms.SLOW], help="those to try, of: %(default)s")
    parser.add_argument("--hub-triton", metavar="FOLDER", help="holds the package esmfold2_trimul of kernels-community")
    parser.add_argument("--run-loop", metavar="FILE", help="build/lib/run_loop.so, for part host")
    parser.add_argument("--rounds", type=int, help="instead of 15, or 5 in part peers")
    parser.add_argument("--rotated-bytes", type=float, default=4e8, help="the pairs in turn and their work cover at least this")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: CPU builds, to try the bench itself")
    parser.add_argument("--commit", help="what the builds were made from; default: git's word")
    parser.add_argument("--out", help="write all figures as JSON")
    options = parser.parse_args()
    if "host" in options.part and not options.run_loop:
        parser.error("part host needs --run-loop; `make build/lib/run_loop.so` makes it")
    return options


def main():
    options = parsed()
    begin = time.monotonic()
    with torch.no_grad():
        bench = Bench(options)
        print(json.dumps(bench.out["runs"][0]))
        code = bench.run()
    print(f"{len(bench.out['rows'])} rows in {time.monotonic() - begin:.0f} s")
    return code


if __name__ == "__main__":
    sys.exit(main())
