"""Makes archives that no export wrote, and a table of what import must say: name, exit code, part of the sentence.

Usage: hostile_archives.py GOOD.tar.zst FOLDER
"""
import hashlib
import io
import json
import pathlib
import subprocess
import sys
import tarfile

good = tarfile.open(fileobj=io.BytesIO(subprocess.run(["zstd", "-dc", sys.argv[1]], check=True, capture_output=True).stdout))
folder = pathlib.Path(sys.argv[2])
original = {member.name: good.extractfile(member).read() for member in good.getmembers()}
index_name = "lamina-archive.json"
variant = next(name for name in original if name.startswith("build/")).split("/")[1]
inside = f"build/{variant}/"
expected = []


def git_blob(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def entry(name, data=b"", kind=tarfile.REGTYPE, link="", size=None):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size = kind, link, len(data) if size is None else size
    return member, data


def write(name, entries, code, sentence, index=None, format=tarfile.PAX_FORMAT):
    """`entries`: (TarInfo, bytes) behind the index; `index` replaces the good one, False leaves it out."""
    with tarfile.open(folder / f"{name}.tar", "w", format=format) as out:
        if index is not False:
            text = index if isinstance(index, bytes) else json.dumps(index).encode() if index else original[index_name]
            entries = [entry(index_name, text)] + entries
        for member, data in entries:
            out.addfile(member, io.BytesIO(data) if member.isreg() else None)
    expected.append(f"{name}\t{code}\t{sentence}\n")


def all_but(*left_out):
    return [entry(name, data) for name, data in original.items() if name not in (index_name, *left_out)]


def index_of(files=None, **changes):
    index = json.loads(original[index_name])
    index.update(changes)
    if files is not None:
        index["files"] = {name: {"etag": git_blob(data), "size": len(data)} for name, data in files.items()}
    return index


def with_file(path, data=b"x"):
    index = json.loads(original[index_name])
    index["files"][path] = {"etag": git_blob(data), "size": len(data)}
    return index


def changed(name, data):
    """A listed file with other bytes, and an index that agrees with them."""
    index = with_file(inside + name, data)
    return [entry(path, data if path == inside + name else old) for path, old in original.items() if path != index_name], index


# Paths that lead out, in the archive and in the index.
for name, path in {"parent": "../../../witness", "absolute": "/tmp/lamina-hostile", "inner_parent": inside + "../../../../x",
                   "dot": inside + "./x", "empty_segment": inside + "/x", "control": inside + "a\nb", "option": inside + "-rf"}.items():
    write(f"{name}_entry", [entry(path, b"x")], 13, "path")
    write(f"{name}_index", all_but(), 13, "path", with_file(path))
write("bytecode", all_but() + [entry(inside + "__pycache__/a.pyc", b"x")], 13, "path", with_file(inside + "__pycache__/a.pyc"))
write("outside_build", all_but() + [entry("README.md", b"x")], 13, "lies outside build/", with_file("README.md"))
write("no_variant", all_but() + [entry("build/x", b"x")], 13, "lies outside build/", with_file("build/x"))

# Entries that are no plain files.
target = inside + "layers.py"
for name, kind, link in [("symlink", tarfile.SYMTYPE, "/etc/passwd"), ("hardlink", tarfile.LNKTYPE, inside + "_ops.py"),
                         ("folder", tarfile.DIRTYPE, ""), ("fifo", tarfile.FIFOTYPE, ""), ("device", tarfile.CHRTYPE, ""),
                         ("disk", tarfile.BLKTYPE, "")]:
    write(name, [entry(target, kind=kind, link=link)] + all_but(target), 13, "only plain files")
write("folder_link", [entry(inside.rstrip("/"), kind=tarfile.SYMTYPE, link="/tmp")] + all_but(), 13, "only plain files")

# Holes: a terabyte in a few bytes, or in what the index says.
sparse = tarfile.TarInfo(target)
sparse.pax_headers = {"GNU.sparse.size": str(1 << 40), "GNU.sparse.numblocks": "1", "GNU.sparse.map": f"{(1 << 40) - 1},1"}
sparse.size = 1
write("sparse", [(sparse, b"x")] + all_but(target), 13, "holes")
huge = index_of()
huge["files"][target]["size"] = 1 << 40
write("huge_in_index", all_but(), 13, "larger than any file", huge)
many = index_of()
many["files"] = {f"{inside}f{i}": {"etag": "0" * 40, "size": (2 << 30) - 1} for i in range(100)}
write("huge_in_total", all_but(), 13, "all files together", many)
many["files"] = {f"{inside}f{i}": {"etag": "0" * 40, "size": 0} for i in range(10001)}
write("too_many", all_but(), 13, "too many", many)
write("bomb", [entry(target, b"\0" * (64 << 20))] + all_but(target), 13, "another size")

# What is in it and what its index says differ.
write("twice", all_but() + [entry(target, original[target])], 13, "twice")
write("not_listed", all_but() + [entry(inside + "extra.py", b"x")], 13, "is not in its index")
write("missing", all_but(target), 13, "ends before")
write("shorter", [entry(target, original[target][:-1])] + all_but(target), 13, "another size")
write("no_index", all_but(), 13, "does not begin with", False)
write("index_last", all_but() + [entry(index_name, original[index_name])], 13, "does not begin with", False)
write("index_no_json", all_but(), 13, index_name, b"{")
write("index_schema", all_but(), 13, "is no archive of this version", index_of(schema="lamina/archive/2"))
write("index_commit", all_but(), 13, "names no commit", index_of(commit="../../../../x"))
write("index_repository", all_but(), 13, "names no repository", index_of(repository="../acme"))
wrong = index_of()
wrong["files"][target]["etag"] = "../" + "0" * 37
write("index_etag", all_but(), 13, "no valid ETag", wrong)
wrong = index_of()
wrong["files"][target]["size"] = -1
write("index_size", all_but(), 13, target, wrong)
wrong = index_of()
wrong["files"][target]["etag"] = "0" * 40
write("etag_lies", all_but(), 5, "which is not its hash", wrong)

# All of it agrees, only the signature does not.
entries, index = changed("layers.py", original[target] + b"# more\n")
write("altered_file", entries, 5, "not what bundle.json lists", index)
entries, index = changed("bundle.json", original[inside + "bundle.json"].replace(b'"counter": 5', b'"counter": 9'))
write("altered_bundle", entries, 6, "signature", index)
entries, index = changed("metadata.json", original[inside + "metadata.json"].replace(b"Apache", b"Apachi"))
write("altered_metadata", entries, 5, "metadata.json is not what", index)
write("unsigned", all_but(inside + "bundle.json.minisig"), 6, "not signed",
      index_of({k: v for k, v in original.items() if k not in (index_name, inside + "bundle.json.minisig")}))
write("unlisted", all_but() + [entry(inside + "extra.py", b"x")], 5, "not listed in bundle.json", with_file(inside + "extra.py"))
write("sigstore", all_but() + [entry(inside + "metadata.json.sigstore", b"x")], 5, "not covered by the signature",
      with_file(inside + "metadata.json.sigstore"))
write("another_repository", all_but(), 5, "expected acme/other", index_of(repository="acme/other"))
write("another_organisation", all_but(), 7, "not trusted for stranger", index_of(repository="stranger/triangle-multiplication"))
moved = {name.replace("-cpu-", "-cu130-"): data for name, data in original.items() if name != index_name}
write("another_variant", [entry(name, data) for name, data in moved.items()], 5, "expected torch", index_of(moved))
(folder / "expected").write_text("".join(expected))
