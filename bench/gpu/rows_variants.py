"""Times builds of one row layer that take turns, beside PyTorch's forms: which numbers of a kernel are best, at the shapes of the layer's cuda_bench.py.

    python3 bench/gpu/rows_variants.py --layer layers/NAME --build A.so --build B.so ... --out variants.json [--profile] [--only M=4096,...]

All builds work on the same tensors.  The first build is the base of the ratios.  Errors are against float64 on the first 4096 rows; --profile adds
what each kernel takes, by PyTorch's profiler.
"""
import argparse
import copy
import json
import os
import statistics
import sys

import torch

import plugin
import rows
import timing


def of_build(problem, build, bench, dtype):
    """The same problem, tensors and all, by another build."""
    other = copy.copy(problem)
    parameters = {name: problem.given[name] for name in bench.PACKED if name in problem.given}
    other.packed = other.pack(build, parameters, dtype)
    other.call = build.prepare("forward", dict(problem.given) | {"packed": other.packed, "out": problem.outs[0]}, **problem.attributes)
    other.workspace = torch.empty(max(1, other.call.need.workspace_size), device=problem.outs[0].device, dtype=torch.uint8)
    other.call.use_workspace(other.workspace)
    return other


def errors(problems):
    """Relative Frobenius error of each build's first rows, or how far all of them are from the base's if that is more."""
    first = next(iter(problems.values()))
    few = slice(0, 4096)
    exact = {name: tensor.double() for name, tensor in first.given.items()}
    truth = first.bench.forms(exact, first.attributes)["eager"](*[row[few].double() for row in first.rows[0]])
    found = {}
    for name, problem in problems.items():
        problem.outs[0].fill_(float("nan"))
        problem.ours(0)
        found[name] = float((problem.outs[0][few].double() - truth).norm() / truth.norm())
        base = problem.outs[0].float() if problem is first else base
        rest = float((problem.outs[0].float() - base).norm() / base.norm())  # of all rows, beside the base's
        found[name] = max(found[name], rest) if rest == rest else rest
    return found


def kernels(problem, calls=12):
    """(kernel, median seconds) of one call."""
    for i in range(3):
        problem.ours(i % problem.copies)
    torch.cuda.synchronize()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as seen:
        for i in range(calls):
            problem.ours(i % problem.copies)
        torch.cuda.synchronize()
    taken = {}
    for event in seen.events():
        if event.device_time > 0:
            taken.setdefault(event.name.split("(")[0], []).append(event.device_time * 1e-6)
    return [(name, statistics.median(times)) for name, times in taken.items()]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", action="append", required=True)
    parser.add_argument("--layer", required=True)
    parser.add_argument("--out", required=True)
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--peers", default="eager,plain product,cuBLASLt epilogue")
    parser.add_argument("--only", default="", help="M=1,N=2: problems with these extents alone")
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--most", type=int, default=0, help="no extent of a problem is larger: to try the bench itself")
    parser.add_argument("--rotated-bytes", type=float, default=rows.ROTATING_BYTES)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--profile", action="store_true")
    options = parser.parse_args()
    wanted = dict(pair.split("=") for pair in options.only.split(",") if pair)
    dtype, on_gpu = getattr(torch, options.dtype), options.device == "cuda"
    bench, card = rows.loaded(options.layer), timing.Card(options.device)
    builds = {os.path.basename(path).removesuffix(".so"): plugin.Plugin(path) for path in options.build}
    results, failed = [], False
    for described in bench.PROBLEMS:
        if any(str(described["dims"].get(letter)) != extent for letter, extent in wanted.items()):
            continue
        if options.most:
            described = described | {"dims": {letter: min(extent, options.most) for letter, extent in described["dims"].items()}}
        names = list(builds)
        base = rows.Problem(bench, described, builds[names[0]], options.device, dtype, options.rotated_bytes)
        problems = {names[0]: base} | {name: of_build(base, builds[name], bench, dtype) for name in names[1:]}
        error = errors(problems)
        floor, turns = base.turns(options.peers.split(","), on_gpu)
        turns = {name: turn for name, turn in turns.items() if name != "ours"}
        turns = {name: timing.Turn(problem.ours, base.copies, max(floor, 5e-6), on_gpu) for name, problem in problems.items()} | turns
        state = timing.interleave(list(turns.values()), options.rounds, card)
        median = {name: statistics.median(turn.seconds) for name, turn in turns.items()}
        row = {"layer": os.path.basename(os.path.normpath(options.layer)), **described, "dtype": options.dtype, "floor": floor, "error": error, "card": state,
               "seconds": {name: {"median": median[name], "least": min(turn.seconds)} for name, turn in turns.items()}}
        print(f"{row['layer']} {described['dims']} {'norm' if described.get('normed') else ''} floor {floor * 1e6:.1f} us {state}")
        for name, turn in turns.items():
            wrong = name in error and not error[name] < rows.LARGEST_ERROR[options.dtype]
            failed = failed or wrong
            of_error = f"  error {error[name]:.2e}{' WRONG' if wrong else ''}" if name in error else ""
            print(f"    {name:24s} {median[name] * 1e6:8.1f} us (least {min(turn.seconds) * 1e6:.1f})  {median[name] / median[names[0]]:.3f}{of_error}", flush=True)
        if options.profile and on_gpu:
            row["kernels"] = {name: kernels(problem) for name, problem in problems.items()}
            for name, taken in row["kernels"].items():
                print(f"    {name:24s} " + ", ".join(f"{kernel} {seconds * 1e6:.1f}" for kernel, seconds in taken), flush=True)
        results.append(row)
        with open(options.out, "w") as file:
            json.dump(results, file, indent=1)
        torch.cuda.empty_cache()
    card.close()
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
