#!/usr/bin/env python3
"""Publishes through a proxy that breaks what the table says: cases.json, "publish".  After each case the hub holds the old release or the
whole new one, and publishing again finishes it with one commit in all.

Usage: publish_cases.py [--table FILE] [PREFIX OF CASE NAMES...]
"""
import http.client
import json
import os
import pathlib
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
import bench  # noqa: E402
from client import User, require, sha256_of  # noqa: E402
from fault_hub import REPOSITORY, Answer, Hub  # noqa: E402
from transport_faults import KINDS  # noqa: E402


class Proxy(Hub):
    """Forwards to the case's own hub; `at` of a fault is an expression for METHOD /path."""

    def handle(self, connection, request):
        case = self.cases[request.case]
        line = "%s /%s" % (request.method, request.rest)
        fault = case.take(line)
        hook = fault and getattr(case, fault.get("hook", ""), None)
        if hook:
            hook(fault)
        if fault and fault.get("lost") == "before":
            return KINDS[fault["kind"]](self, connection, request, Answer(), fault)
        answer = self.forward(case, request)
        if fault and "change" in fault:
            answer.body = case.changed(json.loads(answer.body), fault["change"])
        if fault and "kind" in fault:
            return KINDS[fault["kind"]](self, connection, request, answer, fault)
        connection.sendall(answer.head() + answer.body)

    def forward(self, case, request):
        upstream = http.client.HTTPConnection("127.0.0.1", case.port, timeout=30)
        headers = {k: v for k, v in request.headers.items() if k not in ("host", "connection")}
        upstream.request(request.method, "/" + request.target.split("/", 2)[2], request.body, headers)
        got = upstream.getresponse()
        body = got.read().replace(b"http://127.0.0.1:%d" % case.port, self.endpoint(request.case).encode())
        kept = {k: v for k, v in got.getheaders() if k.lower() not in ("content-length", "connection", "transfer-encoding", "date")}
        return Answer(got.status, body, kept)


class Case:
    def __init__(self, spec, site, scratch):
        self.spec, self.scratch, self.bundle = spec, scratch, scratch / "bundle"
        subprocess.run(["cp", "-r", site.bundle, self.bundle], check=True)
        if "large" in spec:
            variant, = (self.bundle / "build").iterdir()
            with open(variant / "large.bin", "wb") as file:
                file.truncate(spec["large"])
            subprocess.run([site.forge, variant, site.key], check=True)
        self.left = [fault.get("times", 1 << 30) for fault in spec["faults"]]
        (scratch / "token").write_text(self.token)
        log = open(scratch / "serve.log", "w+")
        self.server = subprocess.Popen([site.lamina, "serve", scratch / "hub", "--port", "0", "--upload", spec.get("upload", "lfs"),
                                        "--token-file", scratch / "token"], stdout=log, stderr=log)
        for _ in range(400):
            found = re.search(r"http://127\.0\.0\.1:(\d+)", (scratch / "serve.log").read_text())
            if found:
                break
            time.sleep(0.01)
        self.port = int(found[1])

    @property
    def token(self):
        return "hf_secret_of_" + self.spec["id"]

    def take(self, line):
        for i, fault in enumerate(self.spec["faults"]):
            if self.left[i] and re.search(fault["at"], line):
                self.left[i] -= 1
                return fault
        return None

    def changed(self, answer, change):
        """Sets members of every element of a list in an answer: {"list", "set"}, or of the answer itself."""
        for one in answer[change["list"]] if "list" in change else [answer]:
            one.update(change["set"])
        return json.dumps(answer).replace("{self}", "http://127.0.0.1:%d" % self.port).encode()

    # Hooks: what happens elsewhere while the publisher waits.
    def kill(self, fault):
        os.killpg(self.process.pid, signal.SIGKILL)

    def edit(self, fault):
        for file in (self.bundle / "build").rglob("layers.py"):
            file.write_text(file.read_text() + "# changed meanwhile\n")

    def intrude(self, fault):
        lines = [{"key": "header", "value": {"summary": "somebody else", "description": ""}},
                 {"key": "file", "value": {"path": "build/other.txt", "content": "eA==", "encoding": "base64"}}]
        upstream = http.client.HTTPConnection("127.0.0.1", self.port)
        upstream.request("POST", "/api/kernels/%s/commit/v1" % REPOSITORY, "\n".join(map(json.dumps, lines)),
                         {"Authorization": "Bearer " + self.token})
        require(upstream.getresponse().status == 200, "the other commit was refused")

    def releases(self):
        """How many commits of the release the hub has, whoever made them."""
        found = (self.scratch / "hub/repositories/kernels" / REPOSITORY / "commits").glob("*.json")
        return sum(", release " in json.loads(path.read_text())["summary"] for path in found)


class Bench(bench.Site):
    def __init__(self):
        super().__init__("hub-publish")
        self.proxy = Proxy()

    def case(self, spec):
        scratch = self.scratch / "cases" / spec["id"]
        scratch.mkdir(parents=True)
        case = self.proxy.cases[spec["id"]] = Case(spec, self, scratch)
        return case

    def run(self, spec, case):
        try:
            return self.publish(spec, case)
        finally:
            case.server.terminate()
            case.server.wait()

    def publish(self, spec, case):
        user = User(case.scratch / "user", self.lamina, self.trust, case.token)
        here, clean = self.proxy.endpoint(spec["id"]), "http://127.0.0.1:%d" % case.port
        words = ["publish", str(case.bundle), "--repo", REPOSITORY, "--create"]
        environment = spec.get("environment", {})
        case.process = user.start(words, here, environment=environment)
        expected = spec["expect"]
        found = user.finish(case.process, expected.get("within", 20))
        require(found.code == expected["exit"], "exit code %d, expected %d: %s" % (found.code, expected["exit"], found.said[-600:]))
        said = found.out + found.said
        require(expected.get("says", "") in said, "it does not say '%s': %s" % (expected.get("says"), said[-600:]))
        require("error: unexpected:" not in said and len(said) < 20000, "its sentence: " + said[-600:])
        # What clients get meanwhile: all of it, or nothing.
        reader = User(case.scratch / "reader", self.lamina, self.trust, "hf_reader")
        if found.code == 0:
            self.check(reader, clean)
        elif case.releases():
            self.check(reader, clean)
        else:
            require(reader.fetch(clean).code in (3, 8), "there is half a release on the hub")
        if spec.get("final"):
            return found
        again = user.run(words, clean, name="again")
        require(again.code == spec.get("again", 0), "publishing again ends with %d: %s" % (again.code, again.said[-600:]))
        if again.code == 0:
            self.check(reader, clean)
            require(case.releases() == spec.get("releases", 1), "%d commits of one release" % case.releases())
        return found

    def check(self, reader, endpoint):
        run = reader.fetch(endpoint)
        require(run.code == 0, "the release cannot be fetched: " + run.said[-600:])
        require(sha256_of(run.out.strip()) in self.builds, "another build than the one that was published")


if __name__ == "__main__":
    bench.main("publish", Bench, __doc__)
