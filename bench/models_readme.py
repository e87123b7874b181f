"""Each layer's rows of docs/measurements/models.md in the layer's own README.md, from which its hub card takes them.

    python3 bench/models_readme.py [--check] [--page docs/measurements/models.md] [--layers layers]

A README that holds the lines <!-- bench:models NAME begin --> and <!-- bench:models end --> gets, between them, how the page came about, the
rows of section NAME whose layer is the README's folder, and the section's picture.  --check changes nothing and fails where a README differs.
"""
import argparse
import os
import re
import sys
from pathlib import Path

BLOCK = re.compile(r"<!-- bench:models (\S+) begin -->\n.*?<!-- bench:models end -->", re.S)


def sections(page):
    """(the page's words on how it was measured, {section: its lines})"""
    head, *rest = re.split(r"^## ", page, flags=re.M)
    return head.split("\n\n", 1)[1].strip(), {part.split("\n", 1)[0]: part.split("\n") for part in rest}


def block(name, layer, page, prefix):
    said, found = sections(page)
    if name not in found:
        sys.exit(f"{layer}: the page has no section '{name}', only {', '.join(found)}")
    table = [line for line in found[name] if line.startswith("|")]
    at = [cell.strip() for cell in table[0].split("|")].index("layer")
    rows = [line for line in table[2:] if line.split("|")[at].strip() == layer]
    if not rows:
        sys.exit(f"{layer}: section '{name}' has no row of it; make bench-models BENCH_MODELS={name}")
    pictures = [line.replace("](", f"]({prefix}/") for line in found[name] if line.startswith("![")]
    return "\n".join([f"<!-- bench:models {name} begin -->", said, "", *table[:2], *rows, "", *pictures, "", f"[All shapes of models]({prefix}/models.md)",
                      "<!-- bench:models end -->"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--page", default="docs/measurements/models.md")
    parser.add_argument("--layers", default="layers")
    options = parser.parse_args()
    page, written, differing = Path(options.page).read_text(), 0, []
    for readme in sorted(Path(options.layers).glob("*/README.md")):
        prefix = os.path.relpath(os.path.dirname(options.page), readme.parent)
        text = readme.read_text()
        new = BLOCK.sub(lambda match: block(match[1], readme.parent.name, page, prefix), text)
        written += BLOCK.search(text) is not None
        if new != text:
            differing.append(str(readme))
            if not options.check:
                readme.write_text(new)
    if not written:
        sys.exit(f"no README under {options.layers} has a place for its measurements")
    if options.check and differing:
        sys.exit(f"{', '.join(differing)}: not what {options.page} says; run: python3 bench/models_readme.py")


if __name__ == "__main__":
    main()
