"""Times other values of a layer's tunable numbers beside its own: what tiles.h cites.

    python3 bench/gpu/tune.py LAYER --arch cuda_sm90a [--only NAME] [--problems 'N=512 C=128'] [--build-only | --time-only] [--device cuda]

layers/LAYER/tiles.h says of each number what to try and at which problems:

    LAMINA_TUNABLE(contract_stages, 4);  // cuda_sm90a,cuda_sm80: 3 4 5 at N=512,1024 C=128

Every other value becomes a build of its own below build/tune; all builds of a number take turns in one process on the same problems, each
checked against float64 first.  --build-only makes them for another machine: carry build/tune and build/plugins there, and time with
--time-only.
"""
import argparse
import glob
import itertools
import os
import re
import shutil
import statistics
import subprocess
import sys

LINE = re.compile(r"^\s*LAMINA_TUNABLE\((\w+), (\d+)\);\s*// ([a-z0-9_,]+): ([\d ]+) at (.+?)\s*$")
BUILDS, WORK = "build/tune", "build/tune-work"


class Number:
    def __init__(self, name, value, archs, tries, problems):
        self.name, self.value, self.archs, self.problems = name, value, archs, problems
        self.tries = [value] + [other for other in tries if other != value]

    def folder(self, arch, value):
        return f"{BUILDS}/{arch}-{self.name}-{value}"


def problems_of(words):
    """'N=512,1024 C=128' is two problems."""
    axes = [[(key, value) for value in values.split(",")] for key, values in (word.split("=", 1) for word in words.split())]
    return [dict(choice) for choice in itertools.product(*axes)]


def numbers_of(layer):
    path, found = f"layers/{layer}/tiles.h", []
    with open(path) as file:
        for count, line in enumerate(file, 1):
            if not line.lstrip().startswith("LAMINA_TUNABLE("):
                continue
            match = LINE.match(line)
            if not match:
                sys.exit(f"{path}:{count}: expected 'LAMINA_TUNABLE(name, value);  // ARCH,ARCH: VALUES at N=.. C=..'")
            name, value, archs, tries, words = match.groups()
            found.append(Number(name, int(value), archs.split(","), [int(word) for word in tries.split()], problems_of(words)))
    if not found:
        sys.exit(f"{path} has no LAMINA_TUNABLE")
    return found


def plugin_in(folder, layer, arch):
    found = glob.glob(f"{folder}/{layer}-*-{arch}.so")
    return found[0] if found else None


def build(layer, number, arch, options):
    """One plug-in a value; a value that does not compile is said to, and left out."""
    version = re.search(r"-([\d.]+)-", os.path.basename(plugin_in("build/plugins", layer, arch)))[1]
    for value in number.tries[1:]:
        folder = number.folder(arch, value)
        work = f"{WORK}/{os.path.basename(folder)}"
        made = f"{work}/plugins/{layer}-{version}-{arch}.so"
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(work, exist_ok=True)
        with open(f"{work}/tuned.h", "w") as file:  # included by both compilers before all else, so that no rule of make has to know
            file.write(f"#define LAMINA_TUNE_{number.name} 0, {value}\n")
        command = ["make", "--no-print-directory", f"BUILD={work}", f"CXX=g++ -include {work}/tuned.h",
                   f"NVCC=$(CUDA_HOME)/bin/nvcc -include {work}/tuned.h",
                   *([f"CUDA_HOME={options.cuda_home}"] if options.cuda_home else []), made]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            reason = next((line for line in (done.stdout + done.stderr).splitlines() if "error" in line), "make failed")
            print(f"{number.name} = {value} does not build: {reason}", flush=True)
            continue
        os.makedirs(folder)
        shutil.copy(made, folder)


def time_one(layer, number, arch, problem, options):
    """{value: (median, least) microseconds or a reason} with all values taking turns."""
    import torch
    import forms
    import timing
    from plugin import Plugin
    from problem import Problem, Shape
    shape = Shape(int(problem["N"]), int(problem["C"]), int(problem.get("H", problem["C"])), int(problem.get("B", 1)),
                  problem.get("dtype", "bfloat16"), problem.get("direction") == "incoming", "extras" in problem)
    with torch.no_grad():
        held, turns, results = Problem(shape, options.device), {}, {}
        for value in number.tries:
            path = plugin_in("build/plugins" if value == number.value else number.folder(arch, value), layer, arch)
            try:
                if not path:
                    raise RuntimeError("there is no build of it")
                form = forms.Ours(Plugin(path), held)
                error = held.relative_error(form(0), held.pairs[0])
                if not error < 1e-2:
                    raise RuntimeError(f"wrong: relative error {error:.3g}")
                turns[value] = timing.Turn(form, len(held.pairs), shape.floor(), options.device == "cuda")
            except Exception as failure:  # a value that cannot run is a line of the table
                results[value] = " ".join(str(failure).split())[:120]
        timing.interleave(list(turns.values()), options.rounds, timing.Card("none"))
    return results | {value: (statistics.median(turn.seconds) * 1e6, min(turn.seconds) * 1e6) for value, turn in turns.items()}


def show(number, arch, results, on_gpu):
    """results: [(problem, {value: times})].  A CPU has neighbours, so there the least counts; a GPU is alone and at its power limit."""
    counts = 0 if on_gpu else 1
    print(f"\n{number.name} on {arch}: now {number.value}; microseconds, median (least), and the {('median', 'least')[counts]} over that of "
          f"{number.value}\n")
    titles = [" ".join(f"{key}={value}" for key, value in problem.items()) for problem, _ in results]
    print("| value | " + " | ".join(titles) + " |\n|--|" + "--|" * len(titles))
    for value in number.tries:
        cells = []
        for _, times in results:
            mine, now = times[value], times[number.value]
            if isinstance(mine, str):
                cells.append(mine)
            else:
                ratio = "" if isinstance(now, str) or value == number.value else f" {mine[counts] / now[counts]:.3f}"
                cells.append(f"{mine[0]:.1f} ({mine[1]:.1f}){ratio}")
        print(f"| {value} | " + " | ".join(cells) + " |", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("layer")
    parser.add_argument("--arch", required=True)
    parser.add_argument("--only", help="one number")
    parser.add_argument("--problems", type=problems_of, help="instead of those of tiles.h")
    parser.add_argument("--build-only", action="store_true")
    parser.add_argument("--time-only", action="store_true")
    parser.add_argument("--cuda-home", help="for make")
    parser.add_argument("--device", choices=("cuda", "cpu"), help="default: by the arch")
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    options.device = options.device or ("cuda" if options.arch.startswith("cuda") else "cpu")
    numbers = [n for n in numbers_of(options.layer) if options.arch in n.archs and options.only in (None, n.name)]
    if not numbers:
        sys.exit(f"layers/{options.layer}/tiles.h has no number for {options.arch}" + (f" called {options.only}" if options.only else ""))
    if not plugin_in("build/plugins", options.layer, options.arch):
        sys.exit(f"build/plugins has no {options.arch} build of {options.layer}; run: make plugins")
    for number in numbers:
        if not options.time_only:
            build(options.layer, number, options.arch, options)
        if not options.build_only:
            problems = options.problems or number.problems
            show(number, options.arch, [(problem, time_one(options.layer, number, options.arch, problem, options)) for problem in problems],
                 options.device == "cuda")


if __name__ == "__main__":
    main()
