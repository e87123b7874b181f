"""What the fetch and the publish cases share: one signed bundle, keys, a user who trusts them, and the loop over the table."""
import argparse
import concurrent.futures
import json
import os
import pathlib
import shutil
import subprocess
import sys
import time
import traceback

from client import Failure, User, require, sha256_of

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


class Site:
    def __init__(self, name):
        self.scratch = ROOT / "build/test-scratch" / name
        shutil.rmtree(self.scratch, ignore_errors=True)
        self.scratch.mkdir(parents=True)
        self.lamina = self.scratch / "lamina"
        os.link(ROOT / "build/bin/lamina", self.lamina)  # the program as it is now, whatever is built meanwhile
        self.forge = ROOT / "build/bin/conformance-hub-forge"
        owner = User(self.scratch / "owner", self.lamina, None, "hf_owner")
        self.key = self.scratch / "key.sec"
        for words in (["keygen", "--out", self.scratch / "key"], ["keygen", "--out", self.scratch / "stranger"],
                      ["trust", "add", "org", self.scratch / "key.pub"]):
            self.must(owner, words)
        self.trust = owner.root / "config/lamina/trust.json"
        self.bundle = self.packed(owner, 5)
        self.variant, = (self.bundle / "build").iterdir()
        self.size = sum(p.stat().st_size for p in self.variant.rglob("*"))
        self.builds = {sha256_of(p) for p in self.variant.glob("*.so")}

    @staticmethod
    def must(user, words):
        run = user.run([str(word) for word in words], "http://127.0.0.1:9")
        require(run.code == 0, "%s: %s" % (words, run.said))

    def packed(self, owner, counter):
        folder = self.scratch / ("bundle%d" % counter)
        command = ["pack", "triangle_multiplication", "--org", "org", "--counter", str(counter), "--out", str(folder), "--only-backend", "cpu"]
        subprocess.run([self.lamina, *command], cwd=ROOT, check=True, capture_output=True,
                       env=owner.environment("http://127.0.0.1:9", {"HF_TOKEN": None}))
        self.must(owner, ["sign", folder, "--key", self.key])
        return folder


def main(section, make_bench, usage):
    """Runs the chosen cases of a section of cases.json, eight at a time, and ends the process."""
    reader = argparse.ArgumentParser(description=usage)
    reader.add_argument("--table", type=pathlib.Path)
    reader.add_argument("prefixes", nargs="*")
    options = reader.parse_args()
    specs = json.loads((HERE / "cases.json").read_text())[section]
    names = [spec["id"] for spec in specs]
    assert len(names) == len(set(names)), "a case appears twice"
    bench = make_bench()
    chosen = [spec for spec in specs if not options.prefixes or spec["id"].startswith(tuple(options.prefixes))]
    cases = [(spec, bench.case(spec)) for spec in chosen]
    rows, began = [], time.monotonic()

    def one(pair):
        spec, case = pair
        try:
            return spec, bench.run(spec, case), None
        except Failure as failure:
            return spec, None, str(failure)
        except Exception:  # of the bench, which is a failure too
            return spec, None, traceback.format_exc()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for spec, run, failure in pool.map(one, cases):
            if failure:
                print("FAIL %s  %s\n     %s" % (spec["id"], spec["what"], failure))
            else:
                print("pass %-28s %6.2f s %4d MB  %s" % (spec["id"], run.seconds, run.peak >> 20, spec["what"]))
                rows.append((spec, run))
    print("%d cases, %d survived, %.0f s" % (len(cases), len(rows), time.monotonic() - began))
    if options.table:
        write_table(options.table, rows)
    sys.stdout.flush()
    os._exit(0 if rows and len(rows) == len(cases) else 1)  # threads of the hubs may still talk to a client that is gone


def write_table(file, rows):
    """A line a case that was survived: what happened, how it ended, time and memory."""
    with open(file, "w") as out:
        out.write("| case | what happens | it ends with | s | MB |\n|---|---|---|---|---|\n")
        for spec, run in rows:
            said = [line for line in run.said.splitlines() if line.startswith("error: ")]
            end = "exit code %d" % run.code if said or run.code else "the right build"
            out.write("| %s | %s | %s | %.1f | %d |\n" % (spec["id"], spec["what"].replace("|", "\\|"), end, run.seconds, run.peak >> 20))
