"""python_agrees.py FOLDER PROGRAM: reads FOLDER/ours, writes FOLDER/theirs and compares with what PROGRAM reads there."""
import hashlib
import json
import pathlib
import subprocess
import sys

import ml_dtypes
import numpy
import safetensors
from kernels import _rust
from safetensors.numpy import load_file, save_file

folder, program = pathlib.Path(sys.argv[1]), sys.argv[2]
ours, theirs = folder / "ours", folder / "theirs"
pattern = bytes(i % 2 for i in range(48))
dtypes = "float64 float32 float16 bfloat16 bool int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()


def dtype_of(name):
    return numpy.dtype(ml_dtypes.bfloat16 if name == "bfloat16" else name)


def same(what, found, expected):
    if found != expected:
        sys.exit(f"{what}: {found!r} is not {expected!r}")


# What we wrote.
for name in dtypes:
    dtype = dtype_of(name)
    expected = numpy.frombuffer(pattern[: 6 * dtype.itemsize], dtype).reshape(2, 3)
    array = numpy.load(ours / f"{name}.npy")
    same(f"{name}.npy shape", array.shape, (2, 3))
    same(f"{name}.npy bytes", array.tobytes(), expected.tobytes())
    if name != "bfloat16":
        same(f"{name}.npy dtype", array.dtype, dtype)
        numpy.save(theirs / "again.npy", array)
        same(f"{name}.npy file", (ours / f"{name}.npy").read_bytes(), (theirs / "again.npy").read_bytes())
        (theirs / "again.npy").unlink()
tensors = load_file(ours / "ours.safetensors")
same("names in safetensors", sorted(tensors), sorted(dtypes))
for name, array in tensors.items():
    same(f"safetensors {name} dtype", array.dtype, dtype_of(name))
    same(f"safetensors {name} bytes", array.tobytes(), pattern[: 6 * array.dtype.itemsize])
with safetensors.safe_open(ours / "ours.safetensors", "np") as file:
    same("safetensors metadata", file.metadata(), {"made": "by us"})

# metadata.json and its digest, as the library that loads our bundles sees them.
variant = ours / "variant"
metadata = _rust.Metadata.read_from_file(variant / "metadata.json")
text = json.loads((variant / "metadata.json").read_text())
same("metadata name", str(metadata.name), "triangle-multiplication")
same("metadata id", metadata.id, text["id"])
if not metadata.id.isidentifier():
    sys.exit(f"{metadata.id} is no identifier")
same("metadata version", metadata.version, 1)
digest = _rust.Digest.hash_variant(metadata.digest.algorithm, variant)
same("digest", dict(digest.files), text["digest"]["files"])
metadata.digest.validate(digest)

# What we read.
expected = set()


def expect(name, dtype, array):
    expected.add(f"{name} {dtype} {list(array.shape)} {hashlib.sha256(array.tobytes()).hexdigest()}")


generator = numpy.random.default_rng(5)
written = {}
for name in dtypes:
    array = (generator.standard_normal((3, 4, 5)) * 50).astype(numpy.float64)
    array = (array > 0) if name == "bool" else numpy.abs(array).astype(dtype_of(name))
    numpy.save(theirs / f"{name}.npy", array)
    expect(f"{name}.npy", name, array)
    expect(f"theirs.safetensors:{name}", name, array)
    written[name] = array
for name, array in {"scalar": numpy.float32(3.5), "one": numpy.ones((1,)), "empty": numpy.zeros((0, 3), numpy.float32)}.items():
    array = numpy.asarray(array)
    numpy.save(theirs / f"{name}.npy", array)
    expect(f"{name}.npy", array.dtype.name, array)
    expect(f"theirs.safetensors:{name}", array.dtype.name, array)
    written[name] = array
save_file(written, theirs / "theirs.safetensors", {"made": "by them"})
found = set(subprocess.run([program, "read", theirs], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines())
same("what we read of theirs, difference", found ^ expected, set())
print(f"{len(found)} arrays of theirs, {len(dtypes) * 2} of ours, one variant directory")
