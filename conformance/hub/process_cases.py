#!/usr/bin/env python3
"""Many processes on one cache, a disk that fails at every step, files that are swapped while they are loaded, and a server under load.

Usage: process_cases.py [NAME...]: cold, no_locks, full, swap, server
"""
import base64
import concurrent.futures
import hashlib
import http.client
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bench  # noqa: E402
from client import User, require, sha256_of  # noqa: E402
from content import OBJECTS, PLUGIN  # noqa: E402
from fault_hub import REPOSITORY, Hub, Site  # noqa: E402

PROCESSES, CLIENTS, OBJECT = 32, 64, 4 << 20
LONG_LINE = 256 << 20  # longer than a commit may have
FAULTS = bench.ROOT / "build/lib/faults.so"
ERRORS = {"ENOSPC": (28, 9), "EIO": (5, 15), "EROFS": (30, 10), "EDQUOT": (122, 9)}


class Good:
    """The site of a hub that does as it should."""

    def __init__(self, bundle):
        variant, = (bundle / "build").iterdir()
        self.site = Site({"build/%s/%s" % (variant.name, p.relative_to(variant)): p.read_bytes() for p in variant.rglob("*") if p.is_file()})

    def fault(self, connection, request, answer):
        return False


def user_of(site, name):
    return User(site.scratch / name, site.lamina, site.trust, "hf_secret")


def many(site, name, environment):
    """All at once on a cold cache: each gets the right build, and the cache is as one client would have left it."""
    hub = Hub()
    hub.cases["good"] = Good(site.bundle)
    user = user_of(site, name)
    started = [user.start(["fetch", REPOSITORY + "@v1"], hub.endpoint("good"), environment=environment, name="p%d" % i) for i in range(PROCESSES)]
    for process in started:
        run = user.finish(process, 60)
        require(run.code == 0, "one of %d processes: %s" % (PROCESSES, run.said[-600:]))
        require(sha256_of(run.out.strip()) in site.builds, "one of them got another build")
    user.check_layout()
    return [r.what for r in hub.requests("good")].count("build")


def cold(site):
    """32 processes, a cold cache: one download of the build."""
    downloads = many(site, "cold", {})
    require(downloads == 1, "the build was downloaded %d times" % downloads)
    return "%d processes, 1 download of the build" % PROCESSES


def no_locks(site):
    """The same where flock keeps nobody out."""
    downloads = many(site, "no-locks", {"LD_PRELOAD": FAULTS, "LAMINA_TEST_LOCKS": "all"})
    require(1 <= downloads <= PROCESSES, "the build was downloaded %d times" % downloads)
    return "%d processes without locks, %d downloads of the build" % (PROCESSES, downloads)


def full(site):
    """Every step that changes a file fails once, in each of four ways: a typed error or none, and the next fetch is right."""
    hub = Hub()
    hub.cases["good"] = Good(site.bundle)
    good = hub.endpoint("good")

    def one(step, name):
        number, code = ERRORS[name]
        user = user_of(site, "full/%s-%d" % (name, step))
        first = user.fetch(good, environment={"LD_PRELOAD": FAULTS, "LAMINA_TEST_FAIL_AT": str(step), "LAMINA_TEST_ERRNO": str(number)})
        # A step that only saves time, or that has another way, may fail without harm.
        require(first.code in (0, code), "%s at step %d ends with %d: %s" % (name, step, first.code, first.said[-600:]))
        user.check_blobs()
        left = [blob.name for blob in user.blobs() if blob.name.endswith(".incomplete")]
        # Removing what is unfinished may itself be the step that failed.
        require(not left or first.code, "an unfinished download stays after success: %s" % left)
        if (user.repository / "refs/v1").exists():  # whatever failed after that: what is noted is whole
            require(user.fetch(good, environment={"HF_HUB_OFFLINE": "1"}).code == 0, "%s at step %d: noted, and not whole" % (name, step))
        require(user.fetch(good).code == 0, "after %s at step %d the next fetch fails" % (name, step))
        require(user.fetch(good, environment={"HF_HUB_OFFLINE": "1"}).code == 0, "after %s at step %d offline fails" % (name, step))
        user.check_layout()
        return first.code

    steps, ended = 0, 1
    while ended != 0 and steps < 1000:  # a fetch that is killed at no step has fewer of them
        steps += 25
        ended = user_of(site, "full/count").fetch(good, environment={"LD_PRELOAD": FAULTS, "LAMINA_TEST_KILL_AT": str(steps)}).code
    # A full disk at each step, the other errors at each fourth.
    tries = [(step, name) for i, name in enumerate(ERRORS) for step in range(max(i, 1), steps + 1, 4 if i else 1)]
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        codes = list(pool.map(lambda pair: one(*pair), tries))
    refused = sum(code != 0 for code in codes)
    require(refused > 40, "only %d faults were noticed" % refused)
    return "%d faults at %d steps: %d refused, the others harmless; every next fetch right" % (len(codes), steps, refused)


def swap(site):
    """The build is swapped, as fast as a thread can, for one that would run code, between verification and load."""
    hub = Hub()
    hub.cases["good"] = Good(site.bundle)
    user = user_of(site, "swap")
    require(user.fetch(hub.endpoint("good")).code == 0, "the fetch before failed")
    build = pathlib.Path(user.fetch(hub.endpoint("good")).out.strip())
    marker, evil = site.scratch / "was-run", site.scratch / "evil.so"
    text, flags = OBJECTS["constructor"]
    subprocess.run(["gcc", "-xc", "-shared", "-fPIC", "-nostartfiles", "-o", evil, "-", *flags], input=(PLUGIN + text % marker).encode(), check=True)
    good, stop = os.readlink(build), threading.Event()

    def swapping():
        spare = build.parent.parent / "spare"
        while not stop.is_set():
            for target in (evil, good):
                spare.unlink(missing_ok=True)
                spare.symlink_to(target)
                spare.rename(build)
                time.sleep(random.uniform(0.0004, 0.003) if target == evil else random.uniform(0, 0.06))

    thread = threading.Thread(target=swapping)
    thread.start()
    try:
        run = subprocess.run([bench.ROOT / "build/bin/conformance-hub-loader", REPOSITORY + "@v1", "120"], capture_output=True, text=True,
                             timeout=120, env=user.environment(hub.endpoint("good"), {"HF_HUB_OFFLINE": "1"}))
    finally:
        stop.set()
        thread.join()
    loaded, refused = run.stdout.count("loaded "), run.stdout.count("refused ")
    require(run.returncode in (0, 1) and loaded + refused == 120, "the loader ended with %d: %s" % (run.returncode, run.stderr[-600:]))
    require(not marker.exists(), "code that nobody signed was run")
    kinds = set(re.findall(r"refused (\w+)", run.stdout))
    require(kinds <= {"integrity", "failed", "not_found", "malformed", "signature"}, "refused as %s" % kinds)
    require(refused > 0 and loaded > 0, "%d loaded, %d refused: the swapping shows nothing" % (loaded, refused))
    return "120 loads while the build is swapped: %d refused, %d loaded the signed bytes, no other code ran" % (refused, loaded)


def server(site):
    """64 clients at once, each uploading 4 MB and reading 4 MB back: the server's memory stays where it was, and more of them add nothing.
    Also where the files stand in the commits; and a commit whose line does not end is refused."""
    token = site.scratch / "token"
    token.write_text("hf_writer")
    log = site.scratch / "serve.log"
    process = subprocess.Popen([site.lamina, "serve", site.scratch / "hub", "--port", "0", "--upload", "lfs", "--token-file", token],
                               stdout=open(log, "w"), stderr=subprocess.STDOUT)
    try:
        for _ in range(400):
            found = re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())
            if found:
                break
            time.sleep(0.01)
        port = int(found[1])
        peak = lambda: int(re.search(r"VmHWM:\s+(\d+)", pathlib.Path("/proc/%d/status" % process.pid).read_text())[1]) >> 10
        ask(port, "POST", "/api/repos/create", json.dumps({"name": "k", "organization": "org", "type": "kernel"}))
        before = peak()
        peaks = []
        for wave in range(3):
            with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
                list(pool.map(lambda i: round_trip(port, wave * CLIENTS + i), range(CLIENTS)))
            peaks.append(peak())
        after = peaks[-1]
        # How much stands in buffers at once depends on the scheduler: 20 MB on idle processors, 70 on busy ones.  The waves move 768 MB up and down.
        require(after - before < 96, "%d clients with %d MB each took %d MB of the server's memory" % (CLIENTS, OBJECT >> 20, after - before))
        require(after - peaks[0] <= 32, "each wave of clients takes more of the server's memory: %s MB" % peaks)
        with concurrent.futures.ThreadPoolExecutor(CLIENTS) as pool:
            list(pool.map(lambda i: commit_file(port, i), range(CLIENTS)))
        inside = peak()
        require(inside - after < 96, "%d commits with %d MB inside each took %d MB of the server's memory" % (CLIENTS, OBJECT >> 20, inside - after))
        refused = answer(port, "POST", "/api/kernels/org/k/commit/main", b"x" * LONG_LINE)[0]
        require(refused == 400, "a line of %d MB is answered by %d" % (LONG_LINE >> 20, refused))
        require(peak() - inside < 256, "a line of %d MB took %d MB of the server's memory" % (LONG_LINE >> 20, peak() - inside))
        require(not any((site.scratch / "hub/incoming").iterdir()), "uploads are left")
        return "%d clients with %d MB each, three times: the server's memory went from %d to %s MB; with their files inside the commits to %d MB" % (
            CLIENTS, OBJECT >> 20, before, ", ".join(map(str, peaks)), inside)
    finally:
        process.terminate()
        process.wait()


def answer(port, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request(method, path, body, {"Authorization": "Bearer hf_writer", "Content-Type": "application/json"})
    got = connection.getresponse()
    return got.status, got.read()


def ask(port, method, path, body=None):
    status, data = answer(port, method, path, body)
    require(status == 200, "%s %s: %d %s" % (method, path, status, data[:200]))
    return data


def commit_file(port, number):
    data = hashlib.sha256(b"inside %d" % number).digest() * (OBJECT // 32)
    lines = [{"key": "header", "value": {"summary": "one of many", "description": ""}},
             {"key": "file", "value": {"path": "g%d" % number, "content": base64.b64encode(data).decode(), "encoding": "base64"}}]
    ask(port, "POST", "/api/kernels/org/k/commit/main", "\n".join(map(json.dumps, lines)))
    require(ask(port, "GET", "/kernels/org/k/resolve/main/g%d" % number) == data, "client %d got other bytes" % number)


def round_trip(port, number):
    data = hashlib.sha256(b"%d" % number).digest() * (OBJECT // 32)
    oid = hashlib.sha256(data).hexdigest()
    batch = json.loads(ask(port, "POST", "/kernels/org/k.git/info/lfs/objects/batch",
                           json.dumps({"operation": "upload", "objects": [{"oid": oid, "size": len(data)}]})))
    href = batch["objects"][0]["actions"]["upload"]["href"]
    ask(port, "PUT", href[href.index("/lfs-objects"):], data)
    lines = [{"key": "header", "value": {"summary": "one of many", "description": ""}},
             {"key": "lfsFile", "value": {"path": "f%d" % number, "algo": "sha256", "oid": oid, "size": len(data)}}]
    ask(port, "POST", "/api/kernels/org/k/commit/main", "\n".join(map(json.dumps, lines)))
    require(ask(port, "GET", "/kernels/org/k/resolve/main/f%d" % number) == data, "client %d got other bytes" % number)


def main():
    chosen = sys.argv[1:] or ["cold", "no_locks", "full", "swap", "server"]
    site, failed = bench.Site("hub-processes"), 0
    for name in chosen:
        began = time.monotonic()
        try:
            result = globals()[name](site)
            print("pass %-10s %s (%.1f s)" % (name, result, time.monotonic() - began), flush=True)
        except bench.Failure as failure:
            failed += 1
            print("FAIL %-10s %s" % (name, failure), flush=True)
    sys.stdout.flush()
    os._exit(1 if failed else 0)


if __name__ == "__main__":
    main()
