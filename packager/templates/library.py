"""The builds of this variant, and which of them a device can run.

Nothing here knows a layer, and importing it touches no GPU.
"""
from __future__ import annotations

import ctypes
import functools
import json
import os
import platform
from pathlib import Path

import torch

from ._abi import LibraryTable, Op, Unsupported

_HERE = Path(__file__).parent  # never resolved: in the Hugging Face cache these files are links into blobs/
MANIFEST = json.loads((_HERE / "manifest.json").read_text(encoding="utf-8"))
METADATA = json.loads((_HERE / "metadata.json").read_text(encoding="utf-8"))
CONTRACT = MANIFEST["contract"]
BACKEND = METADATA["backend"]["type"]  # "cpu", "cuda", "rocm"
_NEEDED_ALIGNMENT = 64  # of packed weights


def strict() -> bool:
    """LAMINA_STRICT=1: what cannot be served raises instead of going to the host's own forward."""
    return os.environ.get("LAMINA_STRICT", "0") not in ("", "0")


def stream_of(device: torch.device):
    if device.type == "cpu":
        return None
    return _raw_stream(device.index if device.index is not None else torch.cuda.current_device())


_raw_stream = getattr(torch._C, "_cuda_getCurrentRawStream", None) or (lambda index: torch.cuda.current_stream(index).cuda_stream)


@functools.lru_cache(maxsize=1)
def _cpu_features() -> frozenset:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("flags"):
                words = line.split(":", 1)[1].split()
                return frozenset(words) | {word.replace("avx512_", "avx512") for word in words}
    except OSError:
        pass
    return frozenset()


def _covers(word: str, capability: tuple) -> bool:
    base = word.removesuffix("+PTX")
    have = tuple(int(part) for part in base.rstrip("af").split("."))
    if base.endswith("a"):
        return capability == have
    return (capability[0] == have[0] and capability >= have) or (word.endswith("+PTX") and capability >= have)


def _why_not(needs: dict, device: torch.device) -> str:
    """Why this machine cannot run a build with these requirements; empty when it can."""
    if needs.get("cpu", platform.machine()) != platform.machine():
        return f"is for {needs['cpu']}, this machine is {platform.machine()}"
    missing = [word for word in needs.get("cpu_features", []) if word not in _cpu_features()]
    if missing:
        return "needs " + ", ".join(missing)
    if "cuda" in needs:
        capability = torch.cuda.get_device_capability(device)
        if not any(_covers(word, capability) for word in needs["cuda"]["capabilities"]):
            return f"has no code for compute capability {capability[0]}.{capability[1]}"
    if "rocm" in needs:
        arch = torch.cuda.get_device_properties(device).gcnArchName.partition(":")[0]
        if arch not in needs["rocm"].get("archs", []):
            return f"has no code for {arch}"
    return ""


class Library:
    def __init__(self, row: dict):
        path = _HERE / row["file"]
        try:
            self.file = ctypes.CDLL(str(path))
            entry = self.file.lamina_library_v1
        except (OSError, AttributeError) as error:
            raise Unsupported(f"did not load: {error}") from None
        entry.restype, entry.argtypes = ctypes.POINTER(LibraryTable), []
        table = entry().contents
        self.name, self.arch = row["file"], row["arch"]
        if table.build_id.decode() != row["build_id"]:
            raise Unsupported(f"is build {table.build_id.decode()}, its manifest says {row['build_id']}")
        self.ops = {table.ops[i].contents.name.decode(): Op(table.ops[i]) for i in range(table.op_count)}


@functools.lru_cache(maxsize=None)
def _open(file: str) -> Library:
    return Library(next(row for row in MANIFEST["builds"] if row["file"] == file))


def any_build_has(ops: set) -> bool:
    """Does one of this variant's builds have these ops?  Opens builds until one does, whatever the machine; touches no GPU."""
    for row in MANIFEST["builds"]:
        try:
            if ops <= set(_open(row["file"]).ops):
                return True
        except Unsupported:
            continue
    return False


def device_problem(device_type: str) -> str:
    """Why no tensor of such a device can be served; empty when it may be."""
    if device_type != ("cpu" if BACKEND == "cpu" else "cuda"):
        return f"this is the bundle's {BACKEND} variant"
    if BACKEND == "cuda" and torch.version.cuda is None or BACKEND == "rocm" and torch.version.hip is None:
        return f"this is the bundle's {BACKEND} variant, and torch {torch.__version__} is built without {BACKEND}"
    return ""


@functools.lru_cache(maxsize=None)
def builds_for(device: torch.device) -> tuple:
    """(builds that this device can run, best first; why the others cannot).  Opens them.  On failure the first is empty."""
    usable, reasons = [], []
    problem = device_problem(device.type)
    if problem:
        return (), f"tensors are on {device}, {problem}"
    for row in sorted(MANIFEST["builds"], key=lambda row: (row["rank"], row["file"])):
        why = _why_not(row["requires"], device)
        if not why:
            try:
                usable.append(_open(row["file"]))
            except Unsupported as error:
                why = str(error)
        if why:
            reasons.append(f"{row['file']} {why}")
    return tuple(usable), "; ".join(reasons)


def packed_room(size: int, device: torch.device) -> torch.Tensor:
    room = torch.empty(size + _NEEDED_ALIGNMENT, dtype=torch.uint8, device=device)
    start = -room.data_ptr() % _NEEDED_ALIGNMENT
    return room[start:start + size]
