#!/usr/bin/env python3
"""isa_report.py [--write] BUDGET CODE_OBJECT...: what the compiler made of every HIP kernel, against a committed budget.

Per kernel: vector registers (accumulation registers included), scalar registers, static LDS, waves a SIMD and what limits them, MFMA
instructions, and the innermost loop that holds any: its MFMA share of issued cycles, as if nothing overlapped.  Fails on spills, scratch,
indexed registers, anything above the budget, and kernels that the budget does not know.  --write makes the budget of what is there.

A budget's lines: `dynamic PATTERN BYTES` (LDS that the launch adds; for the waves), `ARCH KERNEL vgpr=N lds=N mfma=N share=PERCENT`: at most
so many registers and bytes, at least that many waves follow from them; exactly that many MFMAs; at least that share.
"""
import collections
import re
import subprocess
import sys

LLVM_KNOWS = ("gfx90a", "gfx942")
LISTING = "build/bin/hip_emulator-listing"
LDS = {"gfx90a": 65536, "gfx942": 65536, "gfx950": 163840}  # bytes a compute unit
REGISTERS, MOST_WAVES, SIMDS = 512, 8, 4
# Cycles an MFMA occupies its SIMD: flops over the published peak of the matrix units (MI250X 383 and 95.7, MI300X 1307 and 163.4, MI355X
# 2517 and 157 TFLOP/s in 16 bits and fp32; compute units and clocks of the same data sheets).
CYCLES = {
    "gfx90a": {"32x32x8": 64, "32x32x2": 64},
    "gfx942": {"32x32x8": 32, "32x32x2": 64},
    "gfx950": {"32x32x8": 32, "32x32x16": 32, "32x32x2": 64},
}
OTHER_CYCLES = 4  # any other instruction of a wave of 64 on 16 lanes; LDS and memory in the background
FORBIDDEN = {"scratch": r"scratch_|flat_", "indexed registers": r"s_set_gpr_idx|v_movrel"}

Kernel = collections.namedtuple("Kernel", "arch name vgpr agpr sgpr lds spills scratch threads lines")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def disassemble(code_object, arch):
    """name -> [(address, text)].  What Debian's LLVM does not know, the emulator does, in the same words."""
    found, lines = {}, None
    if arch not in LLVM_KNOWS:
        for line in run(LISTING, code_object, "--names").splitlines():
            address, _, text = line.partition(" ")
            if text:
                lines.append((int(address, 16), text))
            else:
                lines = found.setdefault(line.removesuffix(":"), [])
        return found
    for line in run("llvm-objdump-19", "-d", code_object).splitlines():
        if head := re.match(r"[0-9a-f]+ <(.+)>:", line):
            lines = found.setdefault(head[1], [])
        elif body := re.match(r"\t(\S.*?)\s*// ([0-9A-F]+):", line):
            lines.append((int(body[2], 16), body[1]))
    return found


def kernels(code_object):
    notes = run("llvm-readelf-19", "--notes", code_object)
    arch = re.search(r"amdhsa\.target:\s+\S+--(\w+)", notes)[1]
    code = disassemble(code_object, arch)
    for block in re.split(r"\n  - (?=\.agpr_count)", notes)[1:]:
        number = lambda key: int(re.search(rf"\.{key}:\s+(\d+)", block)[1])
        name = re.search(r"\n    \.name:\s+(\S+)", block)[1]
        yield Kernel(arch, name, number("vgpr_count"), number("agpr_count"), number("sgpr_count"), number("group_segment_fixed_size"),
                     number("vgpr_spill_count") + number("sgpr_spill_count"), number("private_segment_fixed_size"),
                     number("max_flat_workgroup_size"), code[name])


def mfma_cycles(arch, text):
    if not text.startswith("v_mfma"):
        return 0
    shape = re.search(r"\d+x\d+x\d+", text)[0]
    if shape not in CYCLES[arch]:
        sys.exit(f"error: isa_report.py does not know how long {text.split()[0]} takes on {arch}")
    return CYCLES[arch][shape]


def inner_loop(kernel):
    """MFMAs, other instructions and MFMA share of the cycles in the shortest loop that multiplies; the busiest of several."""
    index = {address: i for i, (address, _) in enumerate(kernel.lines)}
    loops = []
    for i, (address, text) in enumerate(kernel.lines):
        if branch := re.match(r"s_c?branch\S*\s+(\d+)", text):
            offset = int(branch[1])
            target = address + 4 + 4 * (offset - 65536 if offset > 32767 else offset)
            if target <= address and target in index:
                loops.append((index[target], i))
    best = (0, 0, 0.0)
    for begin, end in loops:
        if any(begin <= b and e <= end and (b, e) != (begin, end) and has_mfma(kernel, b, e) for b, e in loops):
            continue
        texts = [text for _, text in kernel.lines[begin:end + 1] if not text.startswith("s_nop")]
        mfma = sum(text.startswith("v_mfma") for text in texts)
        cycles = sum(mfma_cycles(kernel.arch, text) for text in texts)
        others = len(texts) - mfma
        if mfma and cycles / (cycles + OTHER_CYCLES * others) > best[2]:
            best = (mfma, others, cycles / (cycles + OTHER_CYCLES * others))
    return best


def has_mfma(kernel, begin, end):
    return any(text.startswith("v_mfma") for _, text in kernel.lines[begin:end + 1])


def waves(kernel, lds):
    by_registers = min(MOST_WAVES, REGISTERS // (-(-max(kernel.vgpr, 1) // 8) * 8))
    waves_a_group = -(-kernel.threads // 64)
    by_lds = LDS[kernel.arch] // lds * waves_a_group / SIMDS if lds else MOST_WAVES
    return min(by_registers, by_lds), "registers" if by_registers <= by_lds else "LDS"


def read_budget(path):
    dynamic, limits = [], {}
    try:
        lines = open(path).read().splitlines()
    except FileNotFoundError:
        lines = []
    for line in lines:
        words = line.split()
        if not words or words[0] == "#":
            continue
        if words[0] == "dynamic":
            dynamic.append((words[1], int(words[2])))
        else:
            limits[words[0], words[1]] = {key: float(value) for key, value in (word.split("=") for word in words[2:])}
    return [line for line in lines if line.startswith(("#", "dynamic"))], dynamic, limits


def complaints(kernel, mfma, share, limits, write):
    found = []
    if kernel.spills:
        found.append(f"spills {kernel.spills} registers")
    if kernel.scratch:
        found.append(f"uses {kernel.scratch} bytes of scratch")
    for what, pattern in FORBIDDEN.items():
        if any(re.match(pattern, text) for _, text in kernel.lines):
            found.append(f"uses {what}")
    if write:
        return found
    limit = limits.get((kernel.arch, kernel.name))
    if not limit:
        return found + ["is not in the budget"]
    for word, value in (("vgpr", kernel.vgpr), ("lds", kernel.lds)):
        if value > limit[word]:
            found.append(f"{word} {value} is above the budget's {limit[word]:g}")
    if mfma != limit["mfma"]:
        found.append(f"has {mfma} MFMAs, the budget says {limit['mfma']:g}")
    if round(100 * share) < limit["share"]:
        found.append(f"MFMA share {100 * share:.0f} % is below the budget's {limit['share']:g} %")
    return found


def main():
    arguments = sys.argv[1:]
    write = "--write" in arguments
    budget, *files = [argument for argument in arguments if argument != "--write"]
    head, dynamic, limits = read_budget(budget)
    rows, bad, seen = [], 0, set()
    print(f"{'arch':7} {'kernel':26} {'vgpr':>4} {'agpr':>4} {'sgpr':>4} {'lds':>6} {'waves':>5} {'limit':>9} {'mfma':>4} "
          f"{'loop mfma':>9} {'other':>5} {'share':>5}")
    for kernel in (kernel for file in files for kernel in kernels(file)):
        seen.add((kernel.arch, kernel.name))
        lds = kernel.lds + sum(size for pattern, size in dynamic if re.match(pattern, kernel.name))
        occupancy, limiter = waves(kernel, lds)
        mfma = sum(text.startswith("v_mfma") for _, text in kernel.lines)
        loop_mfma, others, share = inner_loop(kernel)
        print(f"{kernel.arch:7} {kernel.name:26} {kernel.vgpr:4} {kernel.agpr:4} {kernel.sgpr:4} {lds:6} {occupancy:5g} {limiter:>9} {mfma:4} "
              f"{loop_mfma:9} {others:5} {100 * share:4.0f}%")
        rows.append(f"{kernel.arch} {kernel.name} vgpr={kernel.vgpr} lds={kernel.lds} mfma={mfma} share={100 * share:.0f}")
        for complaint in complaints(kernel, mfma, share, limits, write):
            print(f"{kernel.arch} {kernel.name}: {complaint}")
            bad = 1
    for arch, name in sorted(set(limits) - seen):
        if arch in {a for a, _ in seen} and not write:
            print(f"{arch} {name}: is in the budget, but there is no such kernel")
            bad = 1
    if write and not bad:
        open(budget, "w").write("\n".join(head + sorted(rows)) + "\n")
    return bad


if __name__ == "__main__":
    sys.exit(main())
