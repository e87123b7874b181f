"""The page of what rows.py measured of the row layers on a GPU.

    python3 bench/gpu/rows_page.py --out docs/measurements/h200_rows rows_transition.json rows_linear_residual.json ...

Merges the files into OUT.json and writes OUT.md: a table a layer and op, times, ratios of the peers, and what the project wants of itself.
"""
import argparse
import json

SCHEMA = "lamina/gpu-rows/1"
# Microseconds to reach, bf16, captured graph, on an H200.
WANTED = {("transition", "forward"): {(65536, 128, 512): 60, (147456, 128, 512): 125, (262144, 128, 512): 215, (589824, 128, 512): 470,
                                      (1048576, 128, 512): 830, (262144, 256, 1024): 800},
          ("layernorm_linear", "forward"): {(65536, 128, 16): 10, (147456, 128, 128): 26, (262144, 128, 512): 100, (1048576, 128, 128): 165},
          ("linear_activation", "forward"): {(4096, 1280, 5120): 84, (16384, 1024, 4096): 226, (128, 1280, 5120): 10},
          ("linear_residual", "forward"): {(4096, 5120, 1280): 77, (16384, 4096, 1024): 200}}
NORMED = 1.08  # a norm behind may cost so much more than none
BACKWARD_OVER_FORWARD = {"nothing": 3.2, "activations": 2.4}  # the transition's gradients: computing again what forward computed, or from what it saved


def read(path):
    """The rows of a file; of one that holds several by a name each, all of them."""
    with open(path) as file:
        data = json.load(file)
    records = [data] if "schema" in data else list(data.values())
    for record in records:
        if record.get("schema") != SCHEMA:
            raise SystemExit(f"{path}: schema is {record.get('schema')!r}, expected {SCHEMA!r}")
    return [row for record in records for row in record["rows"]]


def identity(row):
    return json.dumps([row["layer"], row["op"], row["dims"], row["attributes"], row.get("normed", False), row["dtype"]], sort_keys=True)


def wanted(row, rows):
    """Microseconds, or None where nothing is asked."""
    same = lambda other: other["layer"] == row["layer"] and other["dims"] == row["dims"] and other["dtype"] == row["dtype"]
    if (row["layer"], row["op"]) == ("transition", "backward"):
        forward = next((other for other in rows if same(other) and other["op"] == "forward"), None)
        return forward and BACKWARD_OVER_FORWARD[row["attributes"].get("save", "nothing")] * forward["seconds"]["ours"]["median"] * 1e6
    if row.get("normed"):
        plain = next((other for other in rows if same(other) and other["op"] == row["op"] == "forward" and not other["normed"]), None)
        return plain and NORMED * plain["seconds"]["ours"]["median"] * 1e6
    return WANTED.get((row["layer"], row["op"]), {}).get(tuple(row["dims"].values()))


def words(row, own):
    """Its extents, and what else tells it from the rows beside it."""
    differing = [f"{name} {value}" for name, value in row["attributes"].items() if any(other["attributes"].get(name) != value for other in own)]
    return ", ".join([*map(str, row["dims"].values()), *(["norm"] if row.get("normed") else []), *differing])


def table(own, rows):
    peers = list(dict.fromkeys(name for row in own for name in row["seconds"] if name != "ours"))
    letters = ", ".join(own[0]["dims"])
    memory = any("workspace_bytes" in row for row in own)
    head = [letters, "Lamina", "spread from", "wanted", "floor", "% of floor", *peers, "relative error", *(["workspace, MB", "saved, MB"] if memory else []),
            "MHz", "W"]
    lines = ["| " + " | ".join(head) + " |", "|--" * len(head) + "|"]
    show = lambda us: "" if us is None else f"{us:.1f}"
    for row in own:
        us = {name: values["median"] * 1e6 for name, values in row["seconds"].items()}
        cells = [words(row, own), f"**{show(us['ours'])}**",
                 show(row["seconds"]["ours"]["least"] * 1e6), show(wanted(row, rows)), show(row["floor"] * 1e6), f"{100 * row['floor'] * 1e6 / us['ours']:.0f}"]
        cells += [f"{show(us[name])} ({us[name] / us['ours']:.2f})" if name in us else "" for name in peers]
        extra = [f"{row.get(name, 0) / 1e6:.1f}" for name in ("workspace_bytes", "saved_bytes")] if memory else []
        cells += [f"{row['error']:.2e}", *extra, *(f"{row['card'][name]:.0f}" if name in row["card"] else "" for name in ("sm_mhz", "watts"))]
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def page(rows):
    first = rows[0]
    lines = [f"# Row layers on {first['machine']}", "",
             f"Driver {first['driver']}, PyTorch {first['torch']}. Medians, in microseconds, of captured CUDA graphs that take turns in one process over rotating",
             "buffers past the L2 cache; in brackets a form's time over ours. Floor: FLOPs at 790 TFLOP/s or least bytes at 4.3 TB/s, backward three times",
             "the forward's. Error: Frobenius, relative, against float64 (of backward the worst gradient's). `plain product` is the product alone, by",
             "cuBLAS; cuBLASLt's epilogue has GELU's tanh form alone. `wanted` is the project's own aim: of a norm behind 8 % above the time without",
             "it, of the transition's gradients 3.2 times its forward, 2.4 times from saved activations. Backward: every gradient, nothing saved where",
             "the row does not say otherwise.", ""]
    for layer, op in dict.fromkeys((row["layer"], row["op"]) for row in rows):
        own = [row for row in rows if (row["layer"], row["op"]) == (layer, op)]
        attributes = ", ".join(f"{name} {value}" for name, value in own[0]["attributes"].items())
        lines += [f"## {layer}, {op}" + (f", {attributes}" if attributes else ""), "", *table(own, rows), "",
                  *dict.fromkeys(f"Build {row['build']} {row['build_id']}, commit {row['commit']}: `python3 {row['command']}`" for row in own), ""]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="what rows.py wrote")
    parser.add_argument("--out", required=True, help="without .json and .md")
    options = parser.parse_args()
    rows = list({identity(row): row for path in options.files for row in read(path)}.values())
    with open(options.out + ".json", "w") as file:
        json.dump({"schema": SCHEMA, "rows": rows}, file, indent=1)
        file.write("\n")
    with open(options.out + ".md", "w") as file:
        file.write(page(rows))


if __name__ == "__main__":
    main()
