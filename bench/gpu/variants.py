"""Times several builds of triangle multiplication that should compute the same, beside cuEquivariance, in one process, taking turns.

    python3 bench/gpu/variants.py BASE.so OTHER.so [...] [--sizes 128,256] [--widths 128,256] [--out FILE.json]

First a child process checks every other build against the base: the same bytes must come out, at sizes that pad rows and tiles, in both
directions, of a batch, with residual and dropout mask, in float16.  A build that differs, fails, or says nothing for --patience seconds is
left out, and another child goes on with the next.  Builds named by --close need only come close.  Then those that are left are timed, the
errors of the base and of the close ones against float64 shown up to N = 1024.
"""
import argparse
import json
import os
import select
import statistics
import subprocess
import sys

import torch

import forms
import timing
from plugin import Plugin
from problem import Problem, Shape

CHECKED = [dict(n=n, c=c, incoming=incoming) for c in (128, 256) for n in (40, 128, 256, 320, 384, 512) for incoming in (False, True)]
CHECKED += [dict(n=n, c=c) for c in (128, 256) for n in (33, 65, 127, 257, 383, 641)]
CHECKED += [dict(n=n, c=c, batch=3) for c in (128, 256) for n in (72, 127)]
CHECKED += [dict(n=n, c=c, extras=True) for c in (128, 256) for n in (128, 321)]
CHECKED += [dict(n=n, c=c, dtype="float16") for c in (128, 256) for n in (200, 384)]


def name_of(path):
    return os.path.splitext(os.path.basename(path))[0]


def check(options):
    """In the child: a line `name: ok` or `name: why` for each build, and `name: at SHAPE` before a build's runs, the base's among them."""
    shapes = [Shape(**fields) for fields in CHECKED if fields["n"] <= options.largest]
    for path in options.builds[1:]:
        if name_of(path) in options.skip:
            continue
        failure = "ok"
        for shape in shapes:
            print(f"{name_of(options.builds[0])}: at {shape.key()}", flush=True)
            held = Problem(shape, options.device, rotated_bytes=0)
            base = forms.Ours(Plugin(options.builds[0]), held)
            expected = [base(pair).clone() for pair in range(len(held.pairs))]
            if options.device == "cuda":
                torch.cuda.synchronize()
            print(f"{name_of(path)}: at {shape.key()}", flush=True)
            other = forms.Ours(Plugin(path), held)
            for turn in range(3):  # what one run leaves in the workspace is there for the next
                for pair, ours in enumerate(expected):
                    others = other(pair)
                    near = name_of(path) in options.close and (ours.double() - others.double()).norm() <= 5e-3 * ours.double().norm()
                    if not near and not torch.equal(ours, others):
                        failure = f"differs from {name_of(options.builds[0])} at {shape.key()}, turn {turn}"
            if failure != "ok":
                break
        print(f"{name_of(path)}: {failure}", flush=True)


def lines_of(child, patience):
    """A child's lines as they come; None once it has said nothing for so long."""
    rest = b""
    while select.select([child.stdout], [], [], patience)[0]:
        data = os.read(child.stdout.fileno(), 65536)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        yield from (line.decode().strip() for line in lines)
    yield None


def checked_builds(options):
    """The builds that pass, the base among them, and what was said of each other one."""
    names = [name_of(path) for path in options.builds]
    verdicts = {}
    while len(verdicts) < len(names) - 1:
        command = [sys.executable, __file__, *options.builds, "--check", "--device", options.device, "--largest", str(options.largest)]
        command += [word for name in options.close for word in ("--close", name)]
        child = subprocess.Popen(command + [word for name in verdicts for word in ("--skip", name)], stdout=subprocess.PIPE,
                                 stderr=subprocess.STDOUT)
        now, said = next(name for name in names[1:] if name not in verdicts), "the check ended without a word"
        for line in lines_of(child, options.patience):
            if line is None:
                said = f"nothing for {options.patience:g} s after: {said}"
                break
            name, _, word = line.partition(": ")
            if name in names and word.startswith("at "):
                now = name
            elif name in names and word:
                verdicts[name], now = word, next((other for other in names[1:] if other not in verdicts and other != name), name)
            said = line[:300] or said
        child.kill()
        child.wait()
        if now == names[0]:
            sys.exit(f"the base fails: {said}")
        if len(verdicts) < len(names) - 1:  # it failed or hung within a build
            verdicts[now] = said
    for name, verdict in verdicts.items():
        print(f"check {name}: {verdict}", flush=True)
    return [options.builds[0]] + [path for path in options.builds[1:] if verdicts[name_of(path)] == "ok"], verdicts


def made_of(builds, held):
    """A form a build.  They share outputs and workspace: a dozen builds' own would not fit."""
    made, outs, most = [], None, 0
    for path in builds:
        form = forms.Ours(Plugin(path), held)
        outs, most = outs or form.outs, max(most, form.extra_bytes)
        form.outs, form.workspace = outs, None
        made.append(form)
    room = torch.full((most + 256,), 255, dtype=torch.uint8, device=held.device)
    for form in made:
        form.workspace = room[(-room.data_ptr()) % 256:]
        for call, out in zip(form.calls, outs):
            call.point("out", out)
            call.use_workspace(form.workspace)
    return made


def time_shape(shape, builds, options):
    """{name: [seconds]}, {name: error}, and the card's state."""
    held = Problem(shape, options.device)
    made = made_of(builds, held)
    unlike = [(path, form) for path, form in zip(builds, made) if path == builds[0] or name_of(path) in options.close]
    errors = {name_of(path): held.relative_error(form(0), held.pairs[0]) for path, form in unlike if shape.n <= 1024}
    turns = {name_of(path): timing.Turn(form, len(held.pairs), shape.floor(), options.device == "cuda") for path, form in zip(builds, made)}
    for peer in options.peers:
        try:
            turns[peer] = timing.Turn(forms.FAST[peer](held, None), len(held.pairs), shape.floor(), options.device == "cuda")
        except Exception as failure:  # a peer that fails is a line, not the end
            print(f"{peer} is not timed: {' '.join(str(failure).split())[:200]}", flush=True)
        if peer in turns and shape.n <= 1024:
            errors[peer] = held.relative_error(turns[peer].form(0), held.pairs[0])
    state = timing.interleave(list(turns.values()), options.rounds, options.card)
    return {name: turn.seconds for name, turn in turns.items()}, errors, state


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    numbers = lambda text: [int(x) for x in text.split(",")]
    parser.add_argument("builds", nargs="+")
    parser.add_argument("--sizes", type=numbers, default=[128, 256, 384, 512, 768, 1024, 2048])
    parser.add_argument("--widths", type=numbers, default=[256, 128])
    parser.add_argument("--peers", type=lambda text: text.split(",") if text else [], default=list(forms.FAST))
    parser.add_argument("--close", action="append", default=[], metavar="NAME", help="a build that rounds otherwise than the base")
    parser.add_argument("--rounds", type=int, default=11)
    parser.add_argument("--patience", type=float, default=45, help="seconds in which a checked build must say something")
    parser.add_argument("--largest", type=int, default=641, help="of the checked sizes")
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"), help="cpu: CPU builds, to try this file itself")
    parser.add_argument("--check-only", action="store_true", help="time nothing")
    parser.add_argument("--out", help="all times as JSON")
    parser.add_argument("--check", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--skip", action="append", default=[], help=argparse.SUPPRESS)
    options = parser.parse_args()
    with torch.no_grad():
        if options.check:
            return check(options)
        builds, verdicts = checked_builds(options)
        if options.check_only:
            return 0 if all(verdict == "ok" for verdict in verdicts.values()) else 1
        options.card, rows = timing.Card(options.device), []
        for c in options.widths:
            for n in options.sizes:
                times, errors, state = time_shape(Shape(n, c), builds, options)
                base = statistics.median(times[name_of(builds[0])])
                clock = f" {state['sm_mhz']:.0f} MHz {state['watts']:.0f} W" if state else ""
                print(f"N={n:<4} C={c}{clock}")
                for name, seconds in times.items():
                    us = statistics.median(seconds) * 1e6
                    error = f"  error {errors[name]:.2e}" if name in errors else ""
                    print(f"    {name:20} {us:9.1f} us ({min(seconds) * 1e6:.1f}..{max(seconds) * 1e6:.1f})  "
                          f"{us / base / 1e6:6.3f} of the base{error}", flush=True)
                rows.append({"N": n, "C": c, "errors": errors, "state": state, "seconds": times})
                if options.out:
                    with open(options.out, "w") as file:
                        json.dump({"verdicts": verdicts, "rows": rows}, file)
                if options.device == "cuda":
                    torch.cuda.empty_cache()
        options.card.close()
    return 0 if all(verdict == "ok" for verdict in verdicts.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
