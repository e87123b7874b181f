#!/usr/bin/env python3
"""Fetches from a hub that is broken, hostile or unlucky: every case of cases.json.  README.md beside this file says what each must show.

Usage: fetch_cases.py [--table FILE] [PREFIX OF CASE NAMES...]
"""
import os
import pathlib
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bench  # noqa: E402
import cache_faults  # noqa: E402
import tls  # noqa: E402
from client import User, require, sha256_of  # noqa: E402
from content import Maker  # noqa: E402
from fault_hub import REPOSITORY, Hub, etag_of  # noqa: E402
from transport_faults import KINDS  # noqa: E402

MEMORY, DISK = 96 << 20, 2 << 20  # what a fetch may take of either, beside the bundle itself


class Case:
    """One line of the table, as the hub sees it."""

    def __init__(self, spec, site):
        self.spec, self.site, self.lock = spec, site, threading.Lock()
        self.left = [fault.get("times", 1 << 30) for fault in spec.get("faults", [])]

    def fault(self, connection, request, answer):
        for i, fault in enumerate(self.spec.get("faults", [])):
            if fault.get("at", "any") not in ("any", request.what) or (fault.get("ranged") and "range" not in request.headers):
                continue
            with self.lock:
                if self.left[i] == 0:
                    continue
                self.left[i] -= 1
            KINDS[fault["kind"]](self.hub, connection, request, answer, fault)
            return True
        return False


class Bench(bench.Site):
    def __init__(self):
        super().__init__("hub-cases")
        self.maker = Maker(self.scratch, self.variant, self.key, self.scratch / "stranger.sec", self.forge)
        self.elsewhere = Hub()
        contexts, self.tls_file = tls.contexts(self.scratch / "tls")
        self.hubs = {name: Hub(tls=one) for name, one in contexts.items()}
        self.hubs["plain"] = Hub()
        for hub in self.hubs.values():
            hub.elsewhere = self.elsewhere
            hub.cases["good"] = Case({}, self.maker.site("good", []))
            hub.cases["good"].hub = hub
        self.blob_names = [etag_of(path, data) for path, data in self.hubs["plain"].cases["good"].site.files.items()]
        self.elsewhere.elsewhere, self.elsewhere.cases = self.elsewhere, self.hubs["plain"].cases

    def case(self, spec):
        hub = self.hubs[spec.get("hub", "plain")]
        case = hub.cases[spec["id"]] = Case(spec, self.maker.site(spec["id"], spec.get("site", [])))
        case.hub, case.marker = hub, self.maker.marker
        return case

    def run(self, spec, case):
        """The case itself; then what it left must hurt nobody."""
        user = User(self.scratch / "users" / spec["id"], self.lamina, self.trust, "hf_secret_of_" + spec["id"])
        here = case.hub.endpoint(spec["id"])
        good = self.hubs["plain"].endpoint("good")
        fill = {"{elsewhere}": self.elsewhere.origin, "{here}": case.hub.origin, "{port}": str(case.hub.port), "{ca}": str(self.tls_file), "{root}": str(user.root),
                "{dir}": str(bench.ROOT / "build/lib")}

        def filled(text):
            if isinstance(text, dict):
                text = text["prefix"] + text["text"] * text["repeat"]
            for name, value in fill.items():
                text = text.replace(name, value)
            return text

        user.expected_blobs = self.blob_names
        for _ in range(int(spec.get("warm", 0))):
            time.sleep(0.1)  # files as young as that get no receipt
            require(user.fetch(good, "--quiet").code == 0, "the fetch before failed")
        for step in spec.get("cache", []):
            (kind, value), = step.items()
            getattr(cache_faults, kind)(user, value)
        expected = spec["expect"]
        environment = {name: filled(value) for name, value in spec.get("environment", {}).items()}
        found = user.fetch(filled(spec.get("endpoint", here)), *spec.get("arguments", []), what=spec.get("what_to_fetch", REPOSITORY + "@v1"),
                           seconds=expected.get("within", 20), environment=environment, limits=spec.get("limits", []))
        self.judge(expected, case, user, found)
        cache_faults.check_planted(user, spec)
        if spec.get("poisoned"):  # by somebody who may write the cache: a person must look
            return found
        self.recover(spec, user, good)
        return found

    def judge(self, expected, case, user, found):
        require(found.code == expected.get("exit", found.code) and 0 <= found.code < 128, "exit code %d, expected %d: %s" % (found.code, expected.get("exit", 0), found.said[-600:]))
        for words in [expected["says"]] if isinstance(expected.get("says"), str) else expected.get("says", []):
            require(words in found.said, "it does not say '%s': %s" % (words, found.said[-600:]))
        require(all(c.isprintable() or c in "\n" or "\udc80" <= c <= "\udcff" for c in found.said), "it printed control characters")
        require(len(found.said) < 20000 and "error: unexpected:" not in found.said, "its sentence: " + found.said[-600:])
        require(found.peak < MEMORY + 2 * self.size, "it took %d MB of memory" % (found.peak >> 20))
        require(user.disk() < DISK + 2 * self.size, "it took %d MB of disk" % (user.disk() >> 20))
        require(found.seconds >= expected.get("at_least", 0), "it took only %g s" % found.seconds)
        if found.code == 0:
            require(case.spec.get("explains", "") in found.out, "it does not explain '%s': %s" % (case.spec.get("explains"), found.out))
            require(sha256_of(found.out.strip().splitlines()[-1]) in self.builds, "the build that it names is not the one that was signed")
        else:
            require(found.out == "", "it failed, and names a build")
            require(case.spec.get("warm") or not (user.repository / "refs/v1").is_file(), "it failed, and noted the version")
        require(not case.marker.exists(), "code of the bundle was run")
        if not case.spec.get("damaged"):
            user.check_blobs()
        for name, count in expected.get("requests", {}).items():
            seen = [r for r in case.hub.requests(case.spec["id"]) if r.what == name]
            require(len(seen) == count, "%d requests for %s, expected %d" % (len(seen), name, count))
        for hub in (self.elsewhere,):
            for request in hub.requests(case.spec["id"]):
                require("authorization" not in request.headers and user.token not in request.raw, "the token reached another host")
        if expected.get("reaches_elsewhere"):
            require(self.elsewhere.requests(case.spec["id"]), "the other host was never asked, so nothing is shown")

    @staticmethod
    def recover(spec, user, good):
        for name, environment in (("the next fetch", {}), ("an offline fetch after it", {"HF_HUB_OFFLINE": "1"})):
            after = user.fetch(good, environment=environment, name="after")
            require(after.code == 0, "%s fails: %s" % (name, after.said[-600:]))
        if not spec.get("copies"):
            user.check_layout()


if __name__ == "__main__":
    bench.main("fetch", Bench, __doc__)
