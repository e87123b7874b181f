"""What can be wrong with the cache before a fetch begins: each function is a step of a case's `cache`.

Paths are below the cache; {repo} is the repository's folder in it, {build} the name of a build's blob, {commit} the commit.
"""
import os
import shutil

from client import REPOSITORY_FOLDER, require
from fault_hub import COMMIT


def at(user, path):
    text = path.replace("{repo}", REPOSITORY_FOLDER).replace("{commit}", COMMIT)
    if "{build}" in text:
        text = text.replace("{build}", build(user).name)
    found = user.cache / text
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def build(user):
    return next(blob for blob in user.blobs() if len(blob.name) == 64)


def outside(user):
    folder = user.root / "outside"
    folder.mkdir(exist_ok=True)
    return folder


def link(user, value):
    """Leads out of the cache: to an empty folder, or to a file that must keep its words."""
    path = at(user, value["path"])
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    elif path.exists() or path.is_symlink():
        path.unlink()
    target = outside(user)
    if value.get("to") == "file":
        target = user.root / "precious"
        target.write_text("mine")
    path.symlink_to(value["target"].replace("{build}", build(user).name) if "target" in value else target)


def write(user, value):
    path = at(user, value["path"])
    if path.is_symlink() or path.is_file():
        path.unlink()
    path.write_bytes(value["text"].replace("{commit}", COMMIT).encode("latin-1") * value.get("repeat", 1))


def folder(user, path):
    at(user, path).mkdir(parents=True)


def locks(user, kind):
    """Whatever is locked is this already: names come from a fetch in another cache."""
    for name in user.expected_blobs:
        path = at(user, ".locks/{repo}/%s.lock" % name)
        {"folder": path.mkdir, "fifo": lambda: os.mkfifo(path), "file": path.touch}[kind]()


def unfinished(user, kind):
    precious = user.root / "precious"
    precious.write_text("mine")
    for name in user.expected_blobs:
        path = at(user, "{repo}/blobs/%s.incomplete" % name)
        {"link": lambda: path.symlink_to(precious), "fifo": lambda: os.mkfifo(path)}[kind]()


def remember(user, text):
    for path in (user.state / "counters").glob("*--v1"):
        path.write_text(text)


def receipts(user, text):
    found = list((user.state / "receipts").iterdir())
    assert found, "there are no receipts to damage"
    for path in found:
        path.write_text(text)


def moved(user, name):
    user.cache.rename(user.root / name)


def mode(user, bits):
    for path in [user.cache, *user.cache.rglob("*")]:
        if path.is_dir() and not path.is_symlink():
            path.chmod(bits)


def writable(user, _):
    """Every file of the cache, by its group."""
    for path in user.cache.rglob("*"):
        if path.is_file() and not path.is_symlink():
            path.chmod(0o664)


def remove(user, path):
    found = at(user, path)
    shutil.rmtree(found) if found.is_dir() and not found.is_symlink() else found.unlink()


def flip(user, how):
    """A bit of the build's blob, in place or by another file, with the time it had."""
    blob = build(user)
    facts, data = blob.stat(), bytearray(blob.read_bytes())
    data[len(data) // 2] ^= 4
    if how == "replaced":
        other = blob.with_name("other")
        other.write_bytes(data)
        other.rename(blob)
    elif how == "truncated":
        os.truncate(blob, len(data) // 2)
    else:
        with open(blob, "r+b") as file:
            file.write(data)
    os.utime(blob, ns=(facts.st_atime_ns, facts.st_mtime_ns))


def copied(user, _):
    """The cache as a client that makes no links has it."""
    for path in [p for p in (user.repository / "snapshots").rglob("*") if p.is_symlink()]:
        data = path.read_bytes()
        path.unlink()
        path.write_bytes(data)


def check_planted(user, spec):
    for folder in [user.root / "outside"]:
        require(not folder.exists() or not any(folder.iterdir()), "something was written outside the cache")
    precious = user.root / "precious"
    require(not precious.exists() or precious.read_text() == "mine", "a file outside the cache was changed")
