"""The page of what training.py measured.

    python3 bench/gpu/training_page.py --out docs/measurements/h200_triangle_multiplication_training PART.json...

Merges the parts into OUT.json and writes OUT.md.
"""
import argparse

import record

# Milliseconds to reach, forward and backward, bf16, captured graph, on an H200: what the project wants of itself.
WANTED = {128: {128: .11, 256: .22, 384: .42, 512: .72, 768: 1.75, 1024: 3.4}, 256: {256: .50, 384: 1.05, 512: 1.85, 768: 4.6, 1024: 9.0}}


def times_table(rows):
    lines = ["| C | N | floor | Lamina | cuEquivariance | ratio | wanted | extra memory, Lamina | cuEquivariance |", "|---|---|---|---|---|---|---|---|---|"]
    shapes = sorted({(row["C"], row["N"]) for row in rows if "microseconds" in row})
    for c, n in shapes:
        found = {row["form"]: row for row in rows if (row["C"], row["N"]) == (c, n) and "microseconds" in row}
        ours = next((row for form, row in found.items() if form.startswith("lamina")), None)
        peer = found.get("cuEquivariance")
        ms = lambda row: f"{row['microseconds'] / 1000:.3f}" if row else "-"
        memory = lambda row: f"{row['extra_bytes'] / row['unit_bytes']:.1f} U" if row else "-"
        ratio = f"{peer['microseconds'] / ours['microseconds']:.2f}" if ours and peer else "-"
        lines.append(f"| {c} | {n} | {next(iter(found.values()))['floor'] / 1000:.3f} | {ms(ours)} | {ms(peer)} | {ratio} | "
                     f"{WANTED.get(c, {}).get(n, '-')} | {memory(ours)} | {memory(peer)} |")
    return lines


def errors_table(rows):
    checked = [row for row in rows if row.get("errors")]
    names = list(checked[0]["errors"]) if checked else []
    lines = ["| gradient | " + " | ".join(f"C={row['C']} N={row['N']} {row['form'].split()[0]}" for row in checked) + " |",
             "|---" * (len(checked) + 1) + "|"]
    return lines + [f"| {name} | " + " | ".join(f"{row['errors'][name]:.2e}" for row in checked) + " |" for name in names]


def page(merged):
    lines = ["# A training step of triangle multiplication on an H200", "",
             "Forward and backward, bf16, B = 1, outgoing, mask given, every gradient wanted. Lamina: `forward_train` and `backward` with",
             "`save = nothing`, both from raw weights. Milliseconds, medians of captured CUDA graphs that take turns in one process over rotating",
             "buffers. U is the size of one pair tensor; extra memory is what a step needs beside its inputs and its gradients",
             "(cuEquivariance's holds its result, too: 1 U).  The floor counts forward and backward without computing anything again; `wanted` is the project's own aim.", ""]
    for run in merged["runs"]:
        plugins = ", ".join(f"{target} {build}" for target, build in run["plugins"].items())
        lines += [f"- {run.get('gpu')}, driver {run.get('driver')}, torch {run.get('torch')}; commit {run['commit']}, builds {plugins}; `{run['command']}`"]
    lines += ["", *times_table(merged["rows"]), "", "## Errors of the gradients", "", "Relative Frobenius, against float64 autograd of the formula.", "",
              *errors_table(merged["rows"])]
    missing = [row for row in merged["rows"] if "not_timed" in row]
    if missing:
        lines += ["", "## Not timed", "", *(f"- {row['form']}, C = {row['C']}, N = {row['N']}: {row['not_timed']}" for row in missing)]
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="+", help="what training.py wrote")
    parser.add_argument("--out", required=True, help="without .json and .md")
    options = parser.parse_args()
    merged = record.merged([record.read(part) for part in options.parts])
    record.write(options.out + ".json", merged)
    with open(options.out + ".md", "w") as file:
        file.write(page(merged))


if __name__ == "__main__":
    main()
