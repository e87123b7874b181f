"""Runs the program as a user of its own: a home, a cache and a state folder for each case, bounded, and measured."""
import dataclasses
import hashlib
import os
import pathlib
import re
import shutil
import signal
import subprocess
import time

from fault_hub import COMMIT, REPOSITORY, git_sha1

REPOSITORY_FOLDER = "kernels--" + REPOSITORY.replace("/", "--")
ADDRESS_SPACE = 1 << 30
VARIABLES = ["PATH", "LANG", "LD_LIBRARY_PATH"]


class Failure(Exception):
    """What a case shows to be wrong."""


def require(true, sentence):
    if not true:
        raise Failure(sentence)


@dataclasses.dataclass
class Run:
    code: int
    out: str
    said: str
    seconds: float
    peak: int  # bytes of memory at most


class User:
    def __init__(self, scratch, lamina, trust, token):
        self.root, self.lamina, self.token = scratch, lamina, token
        shutil.rmtree(scratch, ignore_errors=True)
        (scratch / "config/lamina").mkdir(parents=True)
        (scratch / "home").mkdir()
        if trust:
            shutil.copy(trust, scratch / "config/lamina/trust.json")
        self.cache = scratch / "hf/hub"
        self.repository = self.cache / REPOSITORY_FOLDER
        self.state = scratch / "state/lamina"

    def environment(self, endpoint, more):
        known = {name: os.environ[name] for name in VARIABLES if name in os.environ}
        known.update(HOME=self.root / "home", XDG_CONFIG_HOME=self.root / "config", XDG_STATE_HOME=self.root / "state",
                     HF_HOME=self.root / "hf", HF_ENDPOINT=endpoint, HF_TOKEN=self.token, HF_HUB_DOWNLOAD_TIMEOUT="2")
        known.update(more)
        return {name: os.fspath(value) if isinstance(value, os.PathLike) else value for name, value in known.items() if value is not None}

    def start(self, words, endpoint, environment=None, limits=(), name="run"):
        out, said = open(self.root / (name + ".out"), "wb"), open(self.root / (name + ".said"), "wb")
        # `time` measures: a child of this process would be said to have used what this process uses.
        measured = ["/usr/bin/time", "-q", "-f", "%M", "-o", str(self.root / (name + ".peak"))]
        given = self.environment(endpoint, environment or {})
        preload = ["env", "LD_PRELOAD=" + given.pop("LD_PRELOAD")] if "LD_PRELOAD" in given else []
        command = [*measured, "prlimit", "--as=%d" % ADDRESS_SPACE, *limits, *preload, str(self.lamina), *words]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=said, cwd=self.root, env=given,
                                   start_new_session=True)
        process.began, process.name = time.monotonic(), name
        return process

    def finish(self, process, seconds):
        """Waits for it, at most so long."""
        try:
            process.wait(max(seconds - (time.monotonic() - process.began), 0.01))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Failure("it still ran after %g s" % seconds) from None
        passed = time.monotonic() - process.began
        peak = int((["0"] + (self.root / (process.name + ".peak")).read_text().split())[-1]) * 1024  # nothing when it was killed
        out, said = ((self.root / (process.name + end)).read_text("utf-8", "surrogateescape") for end in (".out", ".said"))
        require(self.token not in out + said, "the token is in what it printed")
        return Run(process.returncode, out, said, passed, peak)

    def run(self, words, endpoint, seconds=20, **more):
        return self.finish(self.start(words, endpoint, **more), seconds)

    def fetch(self, endpoint, *words, what=REPOSITORY + "@v1", **more):
        return self.run(["fetch", what, *words], endpoint, **more)

    # What is in the cache.
    def blobs(self):
        folder = self.repository / "blobs"
        return sorted(folder.iterdir()) if folder.is_dir() else []

    def check_blobs(self):
        """Nothing has a name that is not its hash."""
        for blob in self.blobs():
            if re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name) and blob.is_file():
                data = blob.read_bytes()
                found = git_sha1(data) if len(blob.name) == 40 else hashlib.sha256(data).hexdigest()
                require(found == blob.name, "the blob %s holds other bytes" % blob.name)

    def check_layout(self):
        """The cache is what huggingface_hub expects: blobs, links to them that say how, refs without a newline, and nothing else."""
        self.check_blobs()
        for blob in self.blobs():
            require(re.fullmatch(r"[0-9a-f]{40}|[0-9a-f]{64}", blob.name), "among the blobs lies %s" % blob.name)
        for folder in self.repository.iterdir():
            require(folder.name in ("blobs", "refs", "snapshots", "trees", ".no_exist"), "beside the blobs lies %s" % folder.name)
        require((self.repository / "refs/v1").read_bytes() == COMMIT.encode(), "refs/v1 is not the commit")
        snapshot = self.repository / "snapshots" / COMMIT
        for file in (p for p in snapshot.rglob("*") if p.is_symlink() or not p.is_dir()):
            want = "../" * (len(file.relative_to(self.repository).parts) - 1) + "blobs/"
            require(file.is_symlink() and os.readlink(file).startswith(want) and file.exists(), "%s is no link to a blob" % file)

    def disk(self):
        seen = {}
        for folder in (self.root / "hf", self.root / "state", self.root / "home", self.root / "other"):
            for path in folder.rglob("*"):
                if not path.is_symlink() and path.is_file():
                    facts = path.stat()
                    seen[facts.st_ino] = facts.st_blocks * 512
        return sum(seen.values())


def sha256_of(path):
    return hashlib.sha256(pathlib.Path(path).read_bytes()).hexdigest()
