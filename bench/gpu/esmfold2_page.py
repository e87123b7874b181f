"""The page of what esmfold2.py measured.

    python3 bench/gpu/esmfold2_page.py esmfold2.json --out docs/measurements/h200_esmfold2

Writes OUT.json (the same numbers) and OUT.md: time, memory and error of a block of the trunk, form by form.
"""
import argparse
import json
import re
from pathlib import Path


def table(rows, sizes, forms, cell):
    lines = ["| N | " + " | ".join(forms) + " |", "|--" * (len(forms) + 1) + "|"]
    found = {(row["N"], row["form"]): row for row in rows}
    for size in sizes:
        lines.append(f"| {size} | " + " | ".join(cell(found.get((size, form), {}), found.get((size, "host"), {})) for form in forms) + " |")
    return lines


def time_of(row, host):
    if "microseconds_per_block" not in row:
        return "-"
    ratio = host.get("microseconds_per_block", 0) / row["microseconds_per_block"]
    return f"{row['microseconds_per_block']:.0f}" + (f" ({ratio:.2f})" if ratio and row is not host else "")


def page(data):
    rows, facts = [row for row in data["rows"] if row["form"] != "overhead"], data["facts"]
    sizes, forms = sorted({row["N"] for row in rows}), list(dict.fromkeys(row["form"] for row in rows))
    unit = lambda row: row["N"] ** 2 * row["C"] * (4 if row["dtype"] == "float32" else 2)
    one, call = rows[0], next((row for row in data["rows"] if row["form"] == "overhead"), None)
    lines = [f"# transformers' ESMFold2 folding trunk on {facts['gpu']}", "",
             f"{one['blocks']} block(s), width {one['C']}, {one['dtype']}, transformers' own initialisation, the pair of a real sequence's first N residues; PyTorch {facts['torch']}, bundle",
             f"`{facts['bundle']['id']}` ({', '.join(facts['bundle']['builds'])}). Forms: `bench/gpu/esmfold2.py`; they take turns, times are medians.",
             f"Command: `{re.sub(r' --out [^ ]+', '', facts['command'])}`.", "",
             "Microseconds a block, in brackets the host's time over it:", "", *table(rows, sizes, forms, time_of), "",
             "Peak memory of one pass beside what was allocated before, in pair tensors:", "",
             *table(rows, sizes, forms, lambda row, _: f"{row['peak_extra_bytes'] / unit(row):.1f}" if "peak_extra_bytes" in row else "-"), "",
             "Relative error of the trunk's update against float64:", "",
             *table(rows, sizes, forms, lambda row, _: f"{row['error']:.1e}" if "error" in row else "-"), ""]
    if call:
        lines += [f"One eager call of the layer at N = {call['N']}: {call['microseconds']:.1f} us of the caller's time, of which the plug-in takes {call['plug_in_microseconds']:.1f} us and "
                  f"Python {call['python_microseconds']:.1f} us ({call['what']}).", ""]
    ways = sorted({f"{row['form']}: {row['what']}" for row in rows if row["what"]})
    return "\n".join(lines + [f"- {way}" for way in ways] + [f"- wrong: {sentence}" for sentence in data.get("wrong", [])]) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("measured")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    data = json.loads(Path(options.measured).read_text())
    Path(options.out + ".json").write_text(json.dumps(data, indent=1) + "\n")
    Path(options.out + ".md").write_text(page(data))
    print(f"wrote {options.out}.json and {options.out}.md")


if __name__ == "__main__":
    main()
