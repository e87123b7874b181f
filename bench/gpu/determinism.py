"""Whether a training step gives the same bits each time: results and all gradients of triangle multiplication, run again and again.

    python3 bench/gpu/determinism.py --build A.so --sizes 128,255,512 --widths 128,256 [--save nothing,activations]

The first step runs alone.  The others, each in memory of its own that holds other rubbish, run on two streams at once, so that their kernels
meet on the card in another order each time.  A line a problem; exit code 1 where one bit differs.
"""
import argparse
import contextlib
import sys

import torch

from plugin import Plugin
from problem import Problem, Shape
from training import Ours


def results_of(form):
    return {"out": form.out} | form.gradients


def step(plugin, problem, out_gradient, save, rubbish):
    """A form of its own, its outputs and its workspace filled with a byte that no other has."""
    form = Ours(plugin, problem, out_gradient, save)
    for tensor in (*results_of(form).values(), form.workspace):
        tensor.view(torch.uint8).fill_(rubbish)
    return form


def differing(plugin, shape, save, options):
    """{name: how many steps gave other bits than the first}"""
    problem = Problem(shape, options.device, rotated_bytes=0)
    generator = torch.Generator(options.device).manual_seed(2)
    out_gradient = torch.randn(problem.pairs[0].shape, generator=generator, device=options.device).to(problem.dtype)
    on_gpu = options.device == "cuda"
    synchronise = torch.cuda.synchronize if on_gpu else lambda: None
    first = step(plugin, problem, out_gradient, save, 1)
    first(0)
    synchronise()
    expected = {name: tensor.clone() for name, tensor in results_of(first).items()}
    counts = dict.fromkeys(expected, 0)
    for turn in range(options.turns):
        forms = [step(plugin, problem, out_gradient, save, 16 * turn + at + 2) for at in range(2)]
        synchronise()
        for form in forms:
            with torch.cuda.stream(torch.cuda.Stream()) if on_gpu else contextlib.nullcontext():
                for _ in range(3):
                    form(0)
        synchronise()
        for form in forms:
            for name, tensor in results_of(form).items():
                counts[name] += not torch.equal(tensor.view(torch.uint8), expected[name].view(torch.uint8))
    return {name: count for name, count in counts.items() if count}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(part) for part in text.split(",")]
    words = lambda text: text.split(",")
    parser.add_argument("--build", required=True)
    parser.add_argument("--sizes", type=numbers, default=[128, 255, 512])
    parser.add_argument("--widths", type=numbers, default=[128, 256])
    parser.add_argument("--directions", type=words, default=["outgoing", "incoming"])
    parser.add_argument("--save", type=words, default=["nothing", "activations"])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--turns", type=int, default=4, help="of two steps at once")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    options = parser.parse_args()
    plugin, failed = Plugin(options.build), False
    print(f"{torch.cuda.get_device_name() if options.device == 'cuda' else 'CPU'}, build {plugin.target} {plugin.build_id}, {options.dtype}: "
          f"{2 * options.turns} steps beside each other against one alone")
    for width in options.widths:
        for size in options.sizes:
            for direction in options.directions:
                for save in options.save:
                    found = differing(plugin, Shape(size, width, dtype=options.dtype, incoming=direction == "incoming"), save, options)
                    failed |= bool(found)
                    print(f"N = {size}, C = {width}, {direction}, save = {save}: " +
                          ("; ".join(f"{name} differs in {count}" for name, count in found.items()) or "every bit the same"), flush=True)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
