"""100,000 random systems and listings: our choice of variants is that of the library kernels, in its order; its ties by name, as we document.

Usage: python_resolver.py PROGRAM
"""
import random
import subprocess
import sys

from kernels.backends import parse_backend
from kernels.variants import _resolve_variant_for_system, parse_variant
from packaging.version import Version

COUNT = 100_000
BACKENDS = ["cpu", "cu118", "cu124", "cu126", "cu128", "cu129", "cu130", "cu131", "cu132", "cu140", "rocm63", "rocm64", "rocm70", "rocm71", "rocm72",
            "xpu20251", "xpu20252", "cann81", "cann82", "neuron"]
TORCH = ["2.5", "2.6", "2.8", "2.9", "2.10", "2.11", "2.12", "2.13", "2.14", "3.0"]
CPUS, SYSTEMS = ["x86_64", "aarch64"], ["linux", "darwin", "windows"]


def frameworks(draw):
    digits = draw.choice(TORCH).replace(".", "")
    return draw.choice([f"torch-stable-abi{digits}", f"torch{digits}", f"torch{digits}-cxx11", f"torch{digits}-cxx98", draw.choice(["tvm-ffi01", "tvm-ffi02"])])


def variant(draw, backend, cpu):
    kind = draw.random()
    if kind < 0.08:
        return "torch-" + draw.choice(["cpu", "cuda", "rocm", "xpu", "npu", "universal", "metal", "neuron"])
    if kind < 0.14:  # no names of variants
        return draw.choice(["noarch", "universal", "cabi1-cpu-x86_64-linux", "torch213", "torch-stable-abi29", "torch-stable-abi210-cxx11-cpu-x86_64-linux",
                            "torch2-cpu-x86_64-linux", "torchx13-cpu-x86_64-linux", "tvm-ffi-cpu-x86_64-linux", "torch213-cu-x86_64-linux", "readme"])
    # Mostly near the system, so that much fits.
    near = backend if draw.random() < 0.5 else draw.choice([one for one in BACKENDS if one[:2] == backend[:2]] if draw.random() < 0.5 else BACKENDS)
    return f"{frameworks(draw)}-{near}-{cpu if draw.random() < 0.8 else draw.choice(CPUS)}-{'linux' if draw.random() < 0.85 else draw.choice(SYSTEMS)}"


def main():
    draw = random.Random(20)
    systems, lines = [], []
    for _ in range(COUNT):
        backend, cpu = draw.choice(BACKENDS), draw.choice(CPUS)
        system = (backend, cpu, "linux", draw.choice(TORCH), draw.random() < 0.8, draw.choice(["-", "0.1", "0.2"]))
        listing = sorted({variant(draw, backend, cpu) for _ in range(draw.randint(0, 14))})
        systems.append((system, listing))
        shuffled = draw.sample(listing, len(listing))
        lines.append(" ".join([*(str(int(word)) if isinstance(word, bool) else word for word in system), *shuffled]))
    answers = subprocess.run([sys.argv[1]], input="\n".join(lines) + "\n", text=True, capture_output=True, check=True).stdout.splitlines()
    assert len(answers) == COUNT
    parsed, chosen, longest = {}, 0, 0
    for (system, listing), answer in zip(systems, answers):
        backend, cpu, name, torch, cxx11, tvm_ffi = system
        variants = []
        for text in listing:  # by name: Python's sort is stable, so its ties come out by name
            if text not in parsed:
                try:
                    parsed[text] = parse_variant(text)
                except ValueError:
                    parsed[text] = None
            if parsed[text] is not None:
                variants.append(parsed[text])
        fits, _ = _resolve_variant_for_system(variants, parse_backend(backend), cpu, name, Version(torch), cxx11,
                                              None if tvm_ffi == "-" else Version(tvm_ffi))
        expected = [one.variant_str for one in fits]
        if answer.split() != expected:
            sys.exit(f"{system} offered {listing}: we take {answer.split()}, kernels takes {expected}")
        chosen, longest = chosen + bool(expected), max(longest, len(expected))
    print(f"{COUNT} listings agree; in {chosen} something fits, at most {longest}")
    assert chosen > COUNT / 3 and longest > 3, "the draws test nothing"


main()
