"""What each kernel of a training step takes beside what it needs at least: an account of the step.

    python3 bench/gpu/training_profile.py --build A.so --sizes 512,1024 --widths 128,256 [--save activations]

Times are medians by PyTorch's profiler, kernel after kernel of forward_train and backward.  Floors: FLOPs at the rate of a dense product,
bytes at that of a copy, as problem.py has them; a kernel's are what it computes and moves itself, each tensor counted once, so what two kernels compute
both is in both floors.  Weights and partial sums are left out.
"""
import argparse
import statistics
import sys

import torch
from torch.profiler import ProfilerActivity, profile

from plugin import Plugin
from problem import BYTES_PER_SECOND, FLOPS_PER_SECOND, Problem, Shape
from training import Ours

# By the begin of a kernel's name, the longest that fits: products of C x C a position, tensors moved.  A contraction has one of N a channel.
ACCOUNT = {"hopper_front_128": (4, 3), "hopper_front_256": (4, 3), "hopper_contract": (0, 3), "hopper_back": (2, 3),
           "hopper_output_backward": (6, 5), "hopper_front_weights": (8, 3), "hopper_front_backward": (8, 5),
           "hopper_output_256": (2, 5), "hopper_weights_of_o_256": (1, 2), "hopper_norm_256": (1, 3), "hopper_front_gradients_256": (4, 7),
           "hopper_weights_of_pair_256": (5, 6), "hopper_input_256": (5, 7)}


def floors(kernel, shape):
    """(seconds of the FLOPs, seconds of the bytes), zeros for kernels that move no tensors."""
    known = [name for name in ACCOUNT if kernel.startswith(name)]
    if not known:
        return 0.0, 0.0
    products, tensors = ACCOUNT[max(known, key=len)]
    m = shape.batch * shape.n**2
    flops = 2 * m * shape.c * (products * shape.c or shape.n)
    return flops / FLOPS_PER_SECOND, tensors * shape.unit / BYTES_PER_SECOND


def launches_of(form, problem, calls):
    """[[kernel, seconds] of a step] of each call, in the order of time."""
    for i in range(3):
        form(i % len(problem.pairs))
    torch.cuda.synchronize()
    with profile(activities=[ProfilerActivity.CUDA]) as seen:
        for i in range(calls):
            form(i % len(problem.pairs))
        torch.cuda.synchronize()
    events = sorted((e for e in seen.events() if e.device_time > 0 and not e.name.startswith("Mem")), key=lambda e: e.time_range.start)
    if not events or len(events) % calls:
        raise RuntimeError(f"PyTorch's profiler saw {len(events)} kernels of {calls} calls")
    step = len(events) // calls
    return [[(e.name.split("(")[0], e.device_time * 1e-6) for e in events[call * step:(call + 1) * step]] for call in range(calls)]


def account(plugin, shape, save, calls):
    problem = Problem(shape, "cuda")
    out_gradient = torch.randn_like(problem.pairs[0])
    steps = launches_of(Ours(plugin, problem, out_gradient, save), problem, calls)
    print(f"\nN = {shape.n}, C = {shape.c}, {shape.dtype}, save = {save}\n\n| kernel | us | FLOPs' floor | bytes' floor | of the larger, % |\n|--|--|--|--|--|")
    total = least = 0.0
    for at, (kernel, _) in enumerate(steps[0]):
        taken = statistics.median(step[at][1] for step in steps)
        flops, size = floors(kernel, shape)
        total, least = total + taken, least + max(flops, size)
        share = f"{100 * max(flops, size) / taken:.0f}" if size else ""
        print(f"| {kernel} | {taken * 1e6:.1f} | {flops * 1e6:.1f} | {size * 1e6:.1f} | {share} |")
    print(f"| all | {total * 1e6:.1f} | | {least * 1e6:.1f} | {100 * least / total:.0f} |", flush=True)


def main():
    numbers = lambda text: [int(part) for part in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--sizes", type=numbers, default=[128, 256, 512, 1024])
    parser.add_argument("--widths", type=numbers, default=[128, 256])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--save", default="nothing", choices=["nothing", "activations"])
    parser.add_argument("--calls", type=int, default=10)
    options = parser.parse_args()
    plugin = Plugin(options.build)
    for width in options.widths:
        for size in options.sizes:
            account(plugin, Shape(size, width, dtype=options.dtype), options.save, options.calls)
            torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
