"""The page of what training.py measured.

    python3 bench/gpu/training_page.py --out docs/measurements/h200_triangle_multiplication_training PART.json... [--profile FILE ...]

Merges the parts into OUT.json and writes OUT.md and, by gnuplot, OUT.svg.  --profile takes what training_profile.py printed: its tables stand at the page's end.
"""
import argparse
import os
import subprocess

import record

# Milliseconds to reach, forward and backward, bf16, captured graph, on an H200: what the project wants of itself.
WANTED = {128: {128: .11, 256: .22, 384: .42, 512: .72, 768: 1.75, 1024: 3.4}, 256: {256: .50, 384: 1.05, 512: 1.85, 768: 4.6, 1024: 9.0}}


def ours(row):
    return row["form"].startswith("lamina")


def keeps(row):
    """Ours with saved activations."""
    return ours(row) and "save =" in row["form"]


def times_table(rows):
    timed = [row for row in rows if "microseconds" in row]
    kept, lines = any(map(keeps, timed)), []
    head = ["C", "N", "floor", "Lamina", "cuEquivariance", "ratio", "wanted", "extra memory, Lamina", "cuEquivariance"]
    head += ["Lamina, save = activations", "ratio", "extra memory and saved"] if kept else []
    for c, n in sorted({(row["C"], row["N"]) for row in timed}):
        found = [row for row in timed if (row["C"], row["N"]) == (c, n)]
        first = lambda test: next(filter(test, found), None)
        least, most, peer = first(lambda row: ours(row) and not keeps(row)), first(keeps), first(lambda row: row["form"] == "cuEquivariance")
        ms = lambda row: f"{row['microseconds'] / 1000:.3f}" if row else "-"
        memory = lambda row: f"{row['extra_bytes'] / row['unit_bytes']:.1f} U" if row else "-"
        ratio = lambda row: f"{peer['microseconds'] / row['microseconds']:.2f}" if row and peer else "-"
        line = [str(c), str(n), f"{found[0]['floor'] / 1000:.3f}", ms(least), ms(peer), ratio(least), str(WANTED.get(c, {}).get(n, "-")), memory(least),
                memory(peer)]
        lines.append(line + ([ms(most), ratio(most), memory(most)] if kept else []))
    row = lambda cells: "| " + " | ".join(cells) + " |"
    return [row(head), "|---" * len(head) + "|", *map(row, lines)]


def errors_table(rows):
    checked = [row for row in rows if row.get("errors") and not keeps(row)]
    names = list(checked[0]["errors"]) if checked else []
    lines = ["| gradient | " + " | ".join(f"C={row['C']} N={row['N']} {row['form'].split()[0]}" for row in checked) + " |",
             "|---" * (len(checked) + 1) + "|"]
    return lines + [f"| {name} | " + " | ".join(f"{row['errors'][name]:.2e}" for row in checked) + " |" for name in names]


def draw(rows, path):
    """Milliseconds against N, both logarithmic, a plot for each width."""
    timed = [row for row in rows if "microseconds" in row]
    widths, sizes = sorted({row["C"] for row in timed}), sorted({row["N"] for row in timed})
    script = [f"set terminal svg noenhanced size {520 * len(widths)},520 font 'sans-serif,13' background '#ffffff'", f"set output '{path}'",
              f"set multiplot layout 1,{len(widths)}", "set logscale xy", "set xlabel 'N'", "set ylabel 'forward and backward, ms'",
              "set grid xtics ytics linecolor rgb '#cccccc'", "set key below reverse Left", f"set xrange [{0.9 * sizes[0]}:{1.1 * sizes[-1]}]",
              "set xtics (" + ", ".join(map(str, sizes)) + ")"]
    for width in widths:
        here = [row for row in timed if row["C"] == width]
        lines = {"floor": ("#888888", {row["N"]: row["floor"] for row in here})}
        for row in here:
            colour = "#e67e22" if keeps(row) else "#c0392b" if ours(row) else "#2e7d32"
            lines.setdefault(row["form"], (colour, {}))[1][row["N"]] = row["microseconds"]
        plots, data = [], []
        for title, (colour, points) in lines.items():
            kind = "lines dashtype 2" if title == "floor" else "linespoints pointtype 7 pointsize 0.5"
            plots.append(f"'-' with {kind} linewidth 2 linecolor rgb '{colour}' title '{title}'")
            data += [f"{n} {us / 1000}" for n, us in sorted(points.items())] + ["e"]
        script += [f"set title 'a training step, C = {width}'", "plot " + ", ".join(plots), *data]
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)


def tables_of(text):
    """The tables of training_profile.py with the lines that name them, without what libraries say between them."""
    return "\n".join(line for line in text.splitlines() if not line or line.startswith(("|", "N = "))).strip().split("\n")


def page(merged, picture, profiles=()):
    lines = ["# A training step of triangle multiplication on an H200", "",
             "Forward and backward, bf16, B = 1, outgoing, mask given, every gradient wanted. Lamina: `forward_train` and `backward` with",
             "`save = nothing`, both from raw weights. Milliseconds, medians of captured CUDA graphs that take turns in one process over rotating",
             "buffers. U is the size of one pair tensor; extra memory is what a step needs beside its inputs and its gradients",
             "(cuEquivariance's holds its result, too: 1 U).  The floor counts forward and backward without computing anything again; `wanted` is the project's own aim.", ""]
    for run in merged["runs"]:
        plugins = ", ".join(f"{target} {build}" for target, build in run["plugins"].items())
        lines += [f"- {run.get('gpu')}, driver {run.get('driver')}, torch {run.get('torch')}; commit {run['commit']}, builds {plugins}; `{run['command']}`"]
    lines += ["", f"![time of a step against N]({picture})", "", *times_table(merged["rows"]), "", "## Errors of the gradients", "", "Relative Frobenius, against float64 autograd of the formula.", "",
              *errors_table(merged["rows"])]
    missing = [row for row in merged["rows"] if "not_timed" in row]
    for text in profiles:
        lines += ["", "## What each kernel takes", "", *tables_of(text)]
    if missing:
        lines += ["", "## Not timed", "", *(f"- {row['form']}, C = {row['C']}, N = {row['N']}: {row['not_timed']}" for row in missing)]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", help="what training.py wrote")
    parser.add_argument("--out", required=True, help="without .json and .md")
    parser.add_argument("--profile", action="append", default=[], metavar="FILE", help="what training_profile.py printed")
    options = parser.parse_args()
    profiles = []
    for path in options.profile:
        with open(path) as file:
            profiles.append(file.read())
    merged = record.merged([record.read(part) for part in options.parts])
    record.write(options.out + ".json", merged)
    draw(merged["rows"], options.out + ".svg")
    with open(options.out + ".md", "w") as file:
        file.write(page(merged, os.path.basename(options.out) + ".svg", profiles))


if __name__ == "__main__":
    main()
