"""What each kernel of a CUDA build achieves: its time, and the fractions of the tensor cores and of device memory.

    python3 bench/gpu/kernel_profile.py --build A.so --sizes 512,1024 --widths 128,256 --commit NAME --write FILE.md [--counters ncu]

Counters come from Nsight Compute (`ncu`, clocks left as they are) where the machine has it and lets it read them; else the file says what
it said, times come from PyTorch's profiler, and fractions from the FLOPs and bytes that a step needs at least over that time.
"""
import argparse
import csv
import io
import os
import statistics
import subprocess
import sys

from problem import BYTES_PER_SECOND, FLOPS_PER_SECOND, Shape

METRICS = {"ns": "gpu__time_duration.sum", "tensor": "sm__pipe_tensor_cycles_active.avg.pct_of_peak_sustained_elapsed",
           "dram": "dram__throughput.avg.pct_of_peak_sustained_elapsed", "dram_bytes": "dram__bytes.sum",
           "l2": "lts__throughput.avg.pct_of_peak_sustained_elapsed", "issue": "smsp__issue_active.avg.pct_of_peak_sustained_active",
           "warps": "sm__warps_active.avg.pct_of_peak_sustained_active", "clock": "sm__cycles_elapsed.avg.per_second",
           "registers": "launch__registers_per_thread", "shared": "launch__shared_mem_per_block_dynamic"}
STEPS = ("front", "contract", "back")


def run_calls(options):
    """The profiled process: three calls of each shape, one shape after another."""
    import torch
    import forms
    from plugin import Plugin
    from problem import Problem
    plugin = Plugin(options.build)
    with torch.no_grad():
        for n, c in shapes_of(options):
            form = forms.Ours(plugin, Problem(shape_of(options, n, c), "cuda"))
            for i in range(3):
                form(i % len(form.calls))
            torch.cuda.synchronize()
            del form
            torch.cuda.empty_cache()


def shapes_of(options):
    """(N, C) in the order of the page."""
    return [(n, c) for c in options.widths for n in options.sizes]


def shape_of(options, n, c):
    return Shape(n, c, batch=options.batch, dtype=options.dtype, incoming=options.incoming)


def counters(options):
    """{(N, C): [{kernel, metric: value}] of its last call}, or the reason why there are none.  One process profiles all shapes: starting it
    takes longer than they do."""
    joined = lambda numbers: ",".join(map(str, numbers))
    command = [options.counters, "--csv", "--print-units", "base", "--clock-control", "none", "--cache-control", "none", "--metrics",
               ",".join(METRICS.values()), "-k", "regex:" + "|".join(STEPS), sys.executable, os.path.abspath(__file__), "--run", *shared_options(options),
               "--sizes", joined(options.sizes), "--widths", joined(options.widths)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    except (OSError, subprocess.TimeoutExpired) as failure:
        return str(failure)[:300]
    start = done.stdout.find('"ID"')
    if done.returncode or start < 0:
        words = [line for line in (done.stdout + done.stderr).splitlines() if "==ERROR==" in line or "rror" in line]
        return (words or [f"{options.counters} ended with {done.returncode} and no table"])[0][:300]
    calls = calls_of(launches_of(done.stdout[start:]))
    shapes = shapes_of(options)
    if len(calls) != 3 * len(shapes):
        return f"{options.counters} saw {len(calls)} calls, there were {3 * len(shapes)}"
    return {shape: calls[3 * at + 2] for at, shape in enumerate(shapes)}


def launches_of(text):
    """[{kernel, metric: value}] in the order of launches, of ncu's table."""
    launches = {}
    titles = {metric: title for title, metric in METRICS.items()}
    for row in csv.DictReader(io.StringIO(text)):
        if row["Metric Name"] in titles:
            launch = launches.setdefault(int(row["ID"]), {"kernel": row["Kernel Name"].split("(")[0]})
            try:
                launch[titles[row["Metric Name"]]] = float(row["Metric Value"].replace(",", ""))
            except ValueError:
                pass  # "n/a": this chip does not count it
    return [launches[index] for index in sorted(launches)]


def calls_of(launches):
    """The launches of each call, which begins with its first step."""
    calls = []
    for launch in launches:
        if STEPS[0] in launch["kernel"] or not calls:
            calls.append([])
        calls[-1].append(launch)
    return calls


def timed(options, n, c):
    """The same with times alone, by PyTorch's profiler."""
    import torch
    import forms
    from plugin import Plugin
    from problem import Problem
    from torch.profiler import ProfilerActivity, profile
    with torch.no_grad():
        form = forms.Ours(Plugin(options.build), Problem(shape_of(options, n, c), "cuda"))
        calls = 20
        for i in range(calls):
            form(i % len(form.calls))
        torch.cuda.synchronize()
        with profile(activities=[ProfilerActivity.CUDA]) as seen:
            for i in range(calls):
                form(i % len(form.calls))
            torch.cuda.synchronize()
    times = {}
    for event in seen.events():
        if any(step in event.name for step in STEPS):
            times.setdefault(event.name.split("(")[0], []).append(event.device_time * 1e3)
    return [{"kernel": name, "ns": statistics.median(taken)} for name, taken in times.items()] or "PyTorch's profiler saw no kernels"


def shared_options(options):
    return ["--build", options.build, "--dtype", options.dtype, "--batch", str(options.batch)] + (["--incoming"] if options.incoming else [])


def step_of(kernel):
    return next((i for i, step in enumerate(STEPS) if step in kernel), None)


def binding(row, floor_flops, floor_bytes):
    """What the numbers say that a kernel waits for; the largest fraction, if it is one."""
    known = {"the tensor cores": row.get("tensor", 100 * floor_flops), "device memory": row.get("dram", 100 * floor_bytes), "the L2 cache": row.get("l2", 0),
             "issue slots": row.get("issue", 0)}
    name, most = max(known.items(), key=lambda item: item[1])
    return name if most >= 75 else f"none alone; most: {name}"


def line(n, c, row, shape):
    us = row["ns"] * 1e-3
    flops, size = shape.steps()[step_of(row["kernel"])] if step_of(row["kernel"]) is not None else (0, 0)
    of_flops, of_bytes = flops / FLOPS_PER_SECOND / (us * 1e-6), size / BYTES_PER_SECOND / (us * 1e-6)
    show = lambda name, digits=0, scale=1.0: f"{row[name] * scale:.{digits}f}" if name in row else ""
    return [str(n), str(c), row["kernel"], f"{us:.1f}", f"{100 * of_flops:.0f}", f"{100 * of_bytes:.0f}", show("tensor"), show("dram"),
            show("dram_bytes", 1, 1e-6), f"{size * 1e-6:.1f}", show("l2"), show("issue"), show("warps"), show("clock", 0, 1e-6), show("registers"),
            show("shared"), binding(row, of_flops, of_bytes)]


def page(options, gpu, version):
    head = ["N", "C", "kernel", "us", "FLOPs, % of 790 TFLOP/s", "least bytes, % of 4.3 TB/s", "tensor pipe, %", "DRAM, %", "MB moved", "least MB", "L2, %",
            "issue, %", "warps, %", "MHz", "registers", "shared", "binds"]
    lines, refused = [], {}
    counted = counters(options) if options.counters else "not asked for"
    for n, c in shapes_of(options):
        if isinstance(counted, str):
            refused.setdefault(counted, []).append(f"N = {n}, C = {c}")
        rows = timed(options, n, c) if isinstance(counted, str) else counted[n, c]
        if isinstance(rows, str):
            refused.setdefault(rows, []).append(f"N = {n}, C = {c}")
            continue
        for row in rows:
            lines.append(line(n, c, row, shape_of(options, n, c)))
            print("  ".join(lines[-1]), flush=True)
    text = f"""# What each kernel of {os.path.basename(options.build)} achieves

{gpu}; {version or 'no Nsight Compute'}; commit {options.commit}; {options.dtype}, B = {options.batch}, {'incoming' if options.incoming else 'outgoing'}.
Written by `{' '.join(['python3', *sys.argv])}`.

A kernel's last of three calls, clocks and caches as they were. FLOPs and least bytes are those that the step needs, over the time; tensor pipe,
DRAM, L2, issue slots and resident warps are the hardware's counters, in percent of their peaks (DRAM's is the datasheet's 4.8 TB/s). `binds`
names what stands at 75 % or more. Registers, spills and occupancy from the machine code: triangle_multiplication_cuda_kernels.md.

"""
    text += "\n".join(["| " + " | ".join(head) + " |", "|" + "--|" * len(head)] + ["| " + " | ".join(cells) + " |" for cells in lines]) + "\n"
    for reason, where in refused.items():
        text += f"\nNo counters for {'; '.join(where)}: {reason}. Times there are PyTorch's profiler's, fractions follow from them.\n"
    return text, len(lines)


def first_line(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().splitlines()[-1]
    except (OSError, subprocess.CalledProcessError, IndexError):
        return ""


def main():
    numbers = lambda text: [int(x) for x in text.split(",")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("--sizes", type=numbers, default=[128, 256, 384, 512, 768, 1024, 2048])
    parser.add_argument("--widths", type=numbers, default=[128, 256])
    parser.add_argument("--dtype", default="bfloat16")
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--incoming", action="store_true")
    parser.add_argument("--counters", default="ncu", help="Nsight Compute's program; '' for times alone")
    parser.add_argument("--commit", default="unknown")
    parser.add_argument("--write", metavar="FILE.md")
    parser.add_argument("--run", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return run_calls(options)
    gpu = first_line(["nvidia-smi", "--id=0", "--query-gpu=name,driver_version,clocks.max.sm,power.limit", "--format=csv,noheader"])
    text, lines = page(options, gpu, first_line([options.counters, "--version"]) if options.counters else "")
    if options.write:
        with open(options.write + ".new", "w") as file:
            file.write(text)
        os.replace(options.write + ".new", options.write)
    return 0 if lines else 1


if __name__ == "__main__":
    sys.exit(main())
