#!/usr/bin/env python3
"""What SECURITY.md and docs/hub-cases.md name as evidence exists: tests, fuzzing targets, parts of process_cases.py, cases of cases.json.

A promise that names a test which was renamed or removed would go unproved without a sound.
"""
import fnmatch
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
PAGES = ["SECURITY.md", "docs/hub-cases.md"]
FOLDERS = ["conformance", "hub_client/tests", "manifest/tests", "packager/tests"]


def main():
    cases = {case["id"] for group in json.loads((ROOT / "conformance/hub/cases.json").read_text()).values() for case in group}
    tests = {path.name for folder in FOLDERS for path in (ROOT / folder).rglob("*") if path.suffix in (".cpp", ".py", ".sh", ".json")}
    targets = {path.stem for path in (ROOT / "conformance/hub/fuzz").glob("*.cpp")}
    parts = set(re.findall(r"^def (\w+)\(site\):", (ROOT / "conformance/hub/process_cases.py").read_text(), re.M))
    families = {case.split(".")[0] for case in cases}
    found, missing = 0, []

    def require(page, name, known):
        nonlocal found
        found += 1
        if not known:
            missing.append("%s names %s, which does not exist" % (page, name))

    for page in PAGES:
        text = (ROOT / page).read_text()
        for name in re.findall(r"`(?:[\w/]+/)?(\w+\.(?:cpp|py|sh))(?: [^`]*)?`", text):
            require(page, name, name in tests)
        for words in re.findall(r"`process_cases\.py ([^`]+)`((?:, `\w+`)*)", text):
            for part in [words[0], *re.findall(r"\w+", words[1])]:
                require(page, "process_cases.py " + part, part in parts)
        for pattern in re.findall(r"\b([TCFP]\d+\.[\w*]+)", text):
            require(page, pattern, any(fnmatch.fnmatchcase(case, pattern) for case in cases))
        for words in re.findall(r"targets? ((?:`\w+`(?:, )?)+)", text):
            for target in re.findall(r"\w+", words):
                require(page, "the fuzzing target " + target, target in targets)
    # Each family of cases has its row, and the promises name nothing that has none.
    rows = set(re.findall(r"^\| ([TCFP]\d+) \|", (ROOT / "docs/hub-cases.md").read_text(), re.M))
    missing += ["docs/hub-cases.md has no row %s, and cases.json has cases of it" % name for name in sorted(families - rows - {"P0"})]  # P0: nothing is injected
    print("\n".join(missing) if missing else "%d names, all there" % found)
    sys.exit(1 if missing or found < 100 else 0)


if __name__ == "__main__":
    main()
