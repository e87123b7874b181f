#!/usr/bin/env python3
"""What the HIP builds could reach at best, computed from data sheets and from isa_budget.txt: no card was asked.  Prints Markdown.

A step takes max(bytes / bandwidth, flops / (peak * share)): bytes once to or from HBM; share is the MFMA share of its inner loop's issued
cycles, as if a SIMD's waves never overlapped.  bf16, forward, packed weights, pair mask, H = C, one device: for MI250X one of its two dies.
"""
import pathlib
import re

# name: arch, compute units, clock (GHz), 16-bit matrix peak (TFLOP/s), HBM (TB/s); AMD's data sheets.  LDS: 128 bytes a cycle and unit.
CARDS = {"MI250X (one die)": ("gfx90a", 110, 1.7, 191.5, 1.638), "MI300X": ("gfx942", 304, 2.1, 1307.4, 5.3)}
CYCLES = {"gfx90a": 64, "gfx942": 32}  # of a 32x32x8 MFMA
FRAGMENT = 1024  # bytes of LDS a wave reads for 32 lines x 16 k


def shares():
    text = (pathlib.Path(__file__).parent / "isa_budget.txt").read_text()
    return {(arch, kernel): float(share) / 100 for arch, kernel, share in re.findall(r"^(\w+) (\S+) .*share=(\d+)$", text, re.M)}


def steps(N, C):
    cells, back = N * N, "back_narrow_bfloat16" if C <= 128 else "back_broad_bfloat16"
    return {
        "front_bfloat16": (cells * (2 * C + 2 * 2 * C + 2), cells * 2 * C * 4 * C),
        "contract_bfloat16": (cells * 3 * 2 * C, 2 * C * N**3),
        back: (cells * 3 * 2 * C, cells * 2 * 2 * C * C),
    }


def main():
    share = shares()
    print("| card | C | N | front | contract | back | sum (us) | bound by |")
    print("|--|--|--|--|--|--|--|--|")
    for card, (arch, _, _, peak, bandwidth) in CARDS.items():
        for C in (128, 256):
            for N in (256, 512, 768, 1024):
                times, bounds = [], []
                for kernel, (moved, flops) in steps(N, C).items():
                    memory, matrix = moved / bandwidth * 1e-6, flops / (peak * share[arch, kernel]) * 1e-6
                    times.append(max(memory, matrix))
                    bounds.append("HBM" if memory > matrix else "MFMA")
                print(f"| {card} | {C} | {N} | {times[0]:.0f} | {times[1]:.0f} | {times[2]:.0f} | **{sum(times):.0f}** | {', '.join(bounds)} |")
    print()
    print("| inner loop | LDS bytes a cycle and unit, of 128 | MFMA share, MI250X | MI300X |")
    print("|--|--|--|--|")
    # Fragments and MFMAs (of 32x32x8) of one wave in 16 k; four waves a unit.
    for kernel, fragments, mfmas in (("front_bfloat16", 2, 8), ("contract_bfloat16", 4, 8), ("back_narrow_bfloat16", 2, 4), ("back_broad_bfloat16", 2, 8)):
        rates = [f"{4 * fragments * FRAGMENT / (mfmas * CYCLES[arch]):.0f}" for arch in ("gfx90a", "gfx942")]
        print(f"| {kernel} | {rates[0]} (MI250X), {rates[1]} (MI300X) | {100 * share['gfx90a', kernel]:.0f} % | {100 * share['gfx942', kernel]:.0f} % |")


if __name__ == "__main__":
    main()
