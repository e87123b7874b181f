"""Writes the page, the picture and the README's section from a file of measurements: no number in them is typed.

    python3 bench/gpu/page.py docs/measurements/h200_triangle_multiplication.json [--add PART.json ...] [--readme layers/.../README.md] [--check]

--add merges what a bench has written on a GPU machine into the file first.  Beside FILE.json come FILE.md and FILE.svg (by gnuplot).
--check writes nothing and fails where page or README are not what the file says.
"""
import argparse
import os
import shutil
import subprocess
import sys
import tempfile

import record

BEGIN, END = "<!-- bench:gpu begin -->", "<!-- bench:gpu end -->"
TITLES = {
    "table": "Forward, bf16, B = 1, mask given, packed weights",
    "peers": "Beside eager PyTorch, torch.compile, transformers' module and the hub's Triton kernels",
    "extras": "With residual and dropout mask",
    "in_place": "In the pair's own memory",
    "odd": "Sizes that are no multiple of 8, beside the next one that is",
    "shapes": "Other widths",
    "batch": "Batches",
    "fp16": "float16 beside bfloat16",
    "host": "The host's share: CPU time of one `run`",
}
NOTES = {
    "extras": "Ours fuse both into the last kernel; so does the hub's Triton kernel. Others multiply and add afterwards.",
    "odd": "`over` is the time above that of the next multiple of 8, of the same build in the same run.",
    "fp16": "`over bf16` is the time above bfloat16's, of the same form in the same run.",
    "host": "A C loop of 64 runs on one stream, the thread's CPU clock; all launches of a run together.",
}


def ours(row):
    return row["form"].startswith("lamina")


def number(value, digits=None):
    if value is None:
        return ""
    if digits is None:
        digits = 1 if value < 1000 else 0
    return f"{value:.{digits}f}"


def table(head, lines):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "--|" * len(head)] + ["| " + " | ".join(line) + " |" for line in lines]) + "\n"


class Measurements:
    def __init__(self, data):
        self.data = data
        self.rows = [row for row in data["rows"] if "not_timed" not in row]

    def part(self, name):
        return [row for row in self.rows if row["part"] == name]

    def find(self, part, like, form=None, **other):
        """The row of the same part and shape, of a form or of the fastest of ours."""
        names = [name for name in record.IDENTITY if name not in ("part", "form") and name not in other]
        found = [row for row in self.part(part) if all(row.get(n) == like.get(n) for n in names) and
                 all(row.get(n) == value for n, value in other.items()) and (row["form"] == form if form else ours(row))]
        return min(found, key=lambda row: row["microseconds"]) if found else None


def shape_words(row):
    hidden = f", H = {row['H']}" if row["H"] != row["C"] else ""
    batch = f", B = {row['B']}" if row["B"] != 1 else ""
    return f"{row['N']}", f"{row['C']}{hidden}{batch}"


def detail(measurements, part):
    """One line a form and problem."""
    rows = measurements.part(part)
    clocks = any("sm_mhz" in row for row in rows)
    head = ["N", "C", *(["direction"] if len({row["direction"] for row in rows}) > 1 else []), *(["dtype"] if part == "fp16" else []), "form",
            "us", "spread", "% of floor", "TFLOP/s", "GB/s", "its time / ours", "error", "extra memory, U"]
    head += {"odd": ["over"], "fp16": ["over bf16"], "host": ["host us"]}.get(part, []) + (["MHz", "W"] if clocks else [])
    lines = []
    for row in sorted(rows, key=lambda r: (r["direction"] != "outgoing", r["C"], r["H"], r["B"], r["N"], r["dtype"], not ours(r))):
        us, best = row["microseconds"], measurements.find(part, row)
        line = [*shape_words(row), *([row["direction"]] if "direction" in head else []), *([row["dtype"]] if part == "fp16" else []),
                row["form"], number(us), f"{number(row['least'])}..{number(row['most'])}" if "least" in row else "",
                number(100 * row["floor"] / us, 1), number(row["flops"] / us * 1e-6, 0), number(row["bytes"] / us * 1e-3, 0),
                number(us / best["microseconds"], 2) if best and best is not row else "",
                f"{row['error']:.2e}" if row.get("error") is not None else "",
                number(row["extra_bytes"] / row["unit_bytes"], 2) if row.get("extra_bytes") is not None else ""]
        if part == "odd":
            even = measurements.find(part, row, row["form"], N=(row["N"] + 7) // 8 * 8)
            line.append(f"{100 * (us / even['microseconds'] - 1):.0f} %" if even and row["N"] % 8 else "")
        if part == "fp16":
            other = measurements.find(part, row, row["form"], dtype="bfloat16")
            line.append(f"{100 * (us / other['microseconds'] - 1):+.1f} %" if other and other is not row else "")
        if part == "host":
            line.append(number(row["host_microseconds"], 2))
        if clocks:
            line += [number(row.get("sm_mhz"), 0), number(row.get("watts"), 0)]
        lines.append(line)
    return table(head, lines)


def peer_names(rows):
    return list(dict.fromkeys(row["form"] for row in rows if not ours(row)))


def overview(measurements, width):
    """N by forms for one width: times, and in brackets how many times ours they take, each within its own interleaved run."""
    main = [row for row in measurements.part("table") if row["C"] == row["H"] == width and row["direction"] == "outgoing"]
    beside = [row for row in measurements.part("peers") if row["C"] == row["H"] == width]
    names = [("table", name) for name in peer_names(main)] + [("peers", name) for name in peer_names(beside)]
    lines = []
    for n in sorted({row["N"] for row in main}):
        like = next(row for row in main if row["N"] == n)
        best = measurements.find("table", like)
        line = [str(n), number(like["floor"]), f"**{number(best['microseconds'])}**" if best else "",
                number(100 * best["floor"] / best["microseconds"], 0) if best else ""]
        for part, name in names:
            peer, mine = measurements.find(part, like, name), measurements.find(part, like)
            line.append(f"{number(peer['microseconds'])} ({peer['microseconds'] / mine['microseconds']:.2f})" if peer and mine else "")
        lines.append(line)
    return table(["N", "floor", "Lamina", "% of floor", *(name for _, name in names)], lines) if lines else ""


def gpu_mode(measurements):
    rows = measurements.part("gpu_mode")
    if not rows:
        return ""
    shapes = list(dict.fromkeys((row["N"], row["B"], row["C"], row["variant"]) for row in rows))
    at = lambda form, shape: next((r for r in rows if r["form"] == form and (r["N"], r["B"], r["C"], r["variant"]) == shape), None)
    forms, lines = list(dict.fromkeys(row["form"] for row in rows)), []
    for shape in shapes:
        found = [at(form, shape) for form in forms]
        lines.append([str(shape[0]), str(shape[1]), str(shape[2]), shape[3], number(next(r["floor"] for r in found if r))] +
                     [f"{number(r['checker_microseconds'])} / {number(r['microseconds'])}" if r else "failed" for r in found])

    def mean(form, name):
        values = [row[name] for row in (at(form, shape) for shape in shapes) if row]
        product = 1.0
        for value in values:
            product *= value ** (1 / len(values))
        return product if len(values) == len(shapes) == 7 else None
    means = [(mean(form, "checker_microseconds"), mean(form, "microseconds")) for form in forms]
    lines.append(["geometric mean", "", "", "", number(mean(next((f for f in forms if all(at(f, s) for s in shapes)), forms[0]), "floor"))] +
                 [f"**{number(a, 0)}** / {number(b, 0)}" if a else "none" for a, b in means])
    return ("## The GPU MODE problem\nfloat32 tensors, 16-bit arithmetic inside where the form says so, H = 128, raw weights (packed within each call), the "
            "gate before the last projection. First the checker's own timing (events around one call after another), then captured graphs "
            "taking turns, us. Every element of every form that has a time lies within the checker's tolerance, 2e-2 relative plus 2e-2 "
            "absolute. Published records on an H100, by the same checker: 1161 (by search: arXiv 2601.16175), 1371 (by hand: the "
            "competition's leaderboard 496).\n\n" + table(["N", "B", "C", "input", "floor", *forms], lines) + "\n")


def run_line(index, run):
    facts = [run["gpu"], *(f"{title} {run[name]}" for name, title in (
        ("driver", "driver"), ("cuda", "CUDA"), ("torch", "torch"), ("triton", "Triton"), ("max_sm_clock", "SM clock at most"),
        ("max_memory_clock", "memory clock"), ("power_limit", "power limit")) if run.get(name))]
    builds = "".join(f", build {target} {build}" for target, build in run.get("plugins", {}).items())
    return f"{index + 1}. {', '.join(facts)}; commit {run['commit']}{builds}\n   `{run['command']}`\n"


def page_of(measurements, picture):
    data = measurements.data
    text = f"""# Triangle multiplication on {data['runs'][0]['gpu'] if data['runs'] else 'a GPU'}

Written by `make bench-page` from the file of measurements beside it. Times are medians, in microseconds, of captured CUDA graphs that take
turns in one process over rotating buffers past the L2 cache; `spread` is the least and the most of the rounds. What counts is the ratio within
a part: the card sits at its power limit, and times of different runs differ by its clock. Floor: three kernels, each bound by bytes
(4.3 TB/s) or by FLOPs (790 TFLOP/s), both measured on an H200. TFLOP/s and GB/s count the formula's FLOPs and that floor's bytes over the
time. Error: Frobenius, relative, against float64; a form that is wrong is not timed. Extra memory: what a call needs beyond inputs and
output; U is the bytes of one pair tensor. In brackets: a form's time over ours, in the same run of turns.

![time against N]({picture})

"""
    for width in sorted({row["C"] for row in measurements.part("table")}):
        text += f"## C = {width}\n" + overview(measurements, width) + "\n"
    text += gpu_mode(measurements)
    for part, title in TITLES.items():
        if measurements.part(part):
            text += f"## {title}\n" + (NOTES[part] + "\n\n" if part in NOTES else "") + detail(measurements, part) + "\n"
    missing = [row for row in data["rows"] if "not_timed" in row]
    if missing:
        told = {}
        for row in missing:
            told.setdefault((row["form"], row["not_timed"]), []).append(f"{row['part']} N = {row['N']}, C = {row['C']}")
        text += "## Not timed\n" + "".join(f"- {form}: {reason} ({'; '.join(where[:4])}{'; ...' if len(where) > 4 else ''})\n"
                                           for (form, reason), where in told.items()) + "\n"
    text += "## Runs\n" + "".join(run_line(i, run) for i, run in enumerate(data["runs"]))
    return text


def section_of(measurements, picture, page):
    data = measurements.data
    run = data["runs"][measurements.part("table")[0]["run"]] if measurements.part("table") else data["runs"][0]
    text = (f"{BEGIN}\nForward, bf16, B = 1, mask given, outgoing, on one {run['gpu']} (driver {run.get('driver', '')}, commit {run['commit']}): "
            f"microseconds, in brackets a peer's time over ours, both taken in turns in one process.\n\n")
    for width in sorted({row["C"] for row in measurements.part("table")}):
        text += f"C = {width}:\n\n" + overview(measurements, width) + "\n"
    return text + f"![time against N]({picture})\n\n[All measurements]({page})\n{END}"


COLOURS = {"floor": "#888888", "lamina": "#c0392b", "cuEquivariance": "#2e7d32", "hub Triton": "#1565c0", "torch.compile": "#6a1b9a",
           "transformers ESMFold2": "#ef6c00", "PyTorch eager": "#455a64"}


def curves(measurements, width):
    """(title, colour, points) of the picture's lines."""
    pick = lambda part, test: sorted((row["N"], row["microseconds"]) for row in measurements.part(part)
                                     if row["C"] == row["H"] == width and row["direction"] == "outgoing" and test(row))
    main = [row for row in measurements.part("table") if row["C"] == row["H"] == width]
    yield "floor", COLOURS["floor"], sorted({(row["N"], row["floor"]) for row in main})
    for form in sorted({row["form"] for row in main if ours(row)}):
        yield form, COLOURS["lamina"], pick("table", lambda row: row["form"] == form)
    for part in ("table", "peers"):
        for name in peer_names([row for row in measurements.part(part) if row["C"] == width]):
            yield name, COLOURS.get(name, "#000000"), pick(part, lambda row: row["form"] == name)


def draw(measurements, path):
    widths = sorted({row["C"] for row in measurements.part("table")})
    sizes = sorted({row["N"] for row in measurements.part("table")})
    powers = [n for n in sizes if n & (n - 1) == 0] or sizes
    script = [f"set terminal svg noenhanced size {520 * max(1, len(widths))},560 font 'sans-serif,13' background '#ffffff'",
              f"set output '{path}'", f"set multiplot layout 1,{len(widths)}", "set logscale xy", "set xlabel 'N'", "set ylabel 'time, us'",
              "set grid xtics ytics linecolor rgb '#cccccc'", "set key below reverse Left", f"set xrange [{0.9 * sizes[0]}:{1.1 * sizes[-1]}]",
              "set xtics (" + ", ".join(map(str, powers)) + ")"]
    for width in widths:
        plots, data = [], []
        for title, colour, points in curves(measurements, width):
            line = "lines dashtype 2" if title == "floor" else "linespoints pointtype 7 pointsize 0.5"
            plots.append(f"'-' with {line} linewidth {3 if title.startswith('lamina') else 1.6} linecolor rgb '{colour}' title '{title}'")
            data += [f"{n} {us}" for n, us in points] + ["e"]
        script += [f"set title 'triangle multiplication, C = {width}'", "plot " + ", ".join(plots), *data]
    subprocess.run(["gnuplot"], input="\n".join(script) + "\n", text=True, check=True)


def with_section(readme, section):
    if readme.count(BEGIN) != 1 or readme.count(END) != 1:
        raise SystemExit(f"the README has no place for the section: put {BEGIN} and {END} into it, once each")
    return readme[:readme.index(BEGIN)] + section + readme[readme.index(END) + len(END):]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file")
    parser.add_argument("--add", action="append", default=[], metavar="FILE.json")
    parser.add_argument("--readme", default="layers/triangle_multiplication/README.md")
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    records = [record.read(path) for path in ([options.file] if os.path.exists(options.file) else []) + options.add]
    data = record.merged(records)
    stem = os.path.splitext(options.file)[0]
    measurements, relative = Measurements(data), lambda path: os.path.relpath(path, os.path.dirname(options.readme))
    with open(options.readme) as file:
        readme = file.read()
    written = {stem + ".md": page_of(measurements, os.path.basename(stem) + ".svg"),
               options.readme: with_section(readme, section_of(measurements, relative(stem + ".svg"), relative(stem + ".md")))}
    if options.check:
        for path, text in written.items():
            with open(path) as file:
                if file.read() != text:
                    sys.exit(f"{path} is not what {options.file} says; run: make bench-page")
        return
    with tempfile.TemporaryDirectory() as folder:
        draw(measurements, os.path.join(folder, "picture.svg"))
        shutil.copyfile(os.path.join(folder, "picture.svg"), stem + ".svg")
    record.write(options.file, data)
    for path, text in written.items():
        with open(path + ".new", "w") as file:
            file.write(text)
        os.replace(path + ".new", path)
    print(f"wrote {options.file}, {', '.join(written)} and {stem}.svg")


if __name__ == "__main__":
    main()
