"""metadata_agrees.py FOLDER PROGRAM: writes thousands of metadata.json, good and bad, and compares PROGRAM's judgement of each, and what it
read, with that of the library kernels."""
import json
import pathlib
import random
import subprocess
import sys

from kernels import _rust

folder, program = pathlib.Path(sys.argv[1]), sys.argv[2]
NUMBER = 20000
generator = random.Random(20)
COMMIT = "0123456789abcdefABCDEF0123456789abcdef01"
GOOD = {
    "name": "triangle-multiplication", "id": "_triangle_multiplication_cpu_0123456", "version": 1, "license": "Apache-2.0",
    "python-depends": [], "backend": {"type": "cuda", "archs": ["9.0a", "10.0f"]},
    "kernels-minver": "0.14.0", "upstream": "https://github.com/a/b", "source": "git@github.com:a/b.git",
    "kernel-depends": [{"repo-id": "a/b", "version": 1}, {"repo-id": "a/c", "revision": "main"}],
    "digest": {"algorithm": "sha256", "files": {"a.py": "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="}},
    "provenance": {"kernel-builder": {"version": "0.1.0", "commit": COMMIT, "dirty": False}, "kernel": {"commit": COMMIT, "dirty": True}},
}
ORDER = ["name", "id", "version", "kernels-minver", "license", "upstream", "source", "python-depends", "kernel-depends", "backend", "digest",
         "provenance"]
NAMES = ["ab", "a", "a-", "-a", "a1", "1a", "a--b", "A", "a_b", "a.b", "", "a" * 300, "a-1-", "z9", "\u00e9a"]
VERSIONS = ["1.2.3", "1.2", "1.2.3.4", "", " 1.2.3", "1.2.3\n", "+1.2.3", "1.+2.3", "1..3", "a.b.c", "0.17.0.dev0", "18446744073709551615.0.0",
            "18446744073709551616.0.0", "1. 2.3", "\u00a01.2.3\u3000", "\u200b1.2.3", "01.02.03", "-1.2.3", "1.2.+", "v1.2.3"]
COMMITS = [COMMIT, COMMIT * 2, COMMIT[:39] + "g", COMMIT[:39], "a" * 64, "a" * 63, "", "A" * 40]
WORDS = ["cpu", "cuda", "rocm", "npu", "CPU", "tpu", "xpu", "cann", "metal", "neuron", "sha256", "sha512", "md5", ""]
SCALARS = [None, True, False, 0, 1, -1, 1.5, 2**32, 2**63, 2**64 - 1, 2**64, "", "x", "1", [], {}, [1], ["x"], [None], {"a": 1}, "\u00e9"]
KEYS = ["version", "revision", "repo-id", "repo_id", "type", "archs", "algorithm", "files", "commit", "sha", "dirty", "kernel", "kernel-builder",
        "name", "python_depends", "extra", "", "\u00e9", "cpu", "sha256"]
URL_PARTS = {
    "scheme": ["https", "http", "git", "ssh", "git+ssh", "git+https", "git+http", "ssh+git", "file", "ftp", "HTTPS", "Git", "", "1x", "h ttp", "x.y"],
    "slashes": ["://", ":", ":/", ":///", "//", ":\\\\", ""],
    "user": ["", "", "", "git@", "u:p@", "@", "a b@", "us/er@", "u@v@", "u?x@"],
    "host": ["github.com", "h", "", "1.2.3.4", "256.1.1.1", "1.2.3.256", "256", "4294967296", "0x7f.1", "0xg", "09.1.1.1", "1.2.3.4.5", "a..b", "a.",
             ".", "1.2.3.4.", "-a", "a_b", "a b", "a|b", "a<b", "a^b", "[::1]", "[::1", "[v]", "[::1.2.3.4]", "a%20b", "%41", "a%2fb", "a%", "%zz",
             "a\tb", "a\x01b", "a\x7fb", "a\\b", "1.a", "a.1", "a.0x1", "a.0xz", "a.08"],
    "port": ["", "", "", ":80", ":65535", ":65536", ":x", ":", ":80:80", ":+1", ":00080", ":999999999999"],
    "path": ["", "/", "/a/b.git", ":a/b.git", ":/abs", "?q", "#f", "/a b", "\\x", "/%zz", ":pa th", "/\u00e9", "/x@y:z", ":22:x", " ", "\n"],
}


def url():
    return "".join(generator.choice(part) for part in URL_PARTS.values())


def value():
    return generator.choice([lambda: generator.choice(SCALARS), lambda: generator.choice(WORDS), lambda: generator.choice(VERSIONS),
                             lambda: generator.choice(COMMITS), lambda: generator.choice(NAMES), url,
                             lambda: {generator.choice(KEYS): value() for _ in range(generator.randrange(3))},
                             lambda: [value() for _ in range(generator.randrange(3))],
                             lambda: json.loads(json.dumps(GOOD[generator.choice(ORDER)]))])()


def places(node):
    """Every (container, key) below a node."""
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    found = []
    for key, below in items:
        found.append((node, key))
        found += places(below)
    return found


def fitting(key):
    choices = {"name": NAMES, "kernels-minver": VERSIONS, "commit": COMMITS, "sha": COMMITS, "type": WORDS, "algorithm": WORDS}
    if key in ("upstream", "source"):
        return url()
    return generator.choice(choices[key]) if key in choices else value()


def change(document):
    where = places(document)
    if not where:
        return
    node, key = generator.choice(where)
    how = generator.randrange(6)
    if how == 0:
        del node[key]
    elif how == 1:
        node[key] = value()
    elif how == 2 and isinstance(node, dict):
        node[generator.choice(KEYS + ORDER)] = node.pop(key) if generator.random() < 0.5 else value()
    elif how == 3 and isinstance(node[key], dict):
        node[key] = list(node[key].values())
    elif how == 4 and isinstance(node, list):
        node.insert(key, value())
    else:
        node[key] = fitting(key)


def written(document):
    text = json.dumps(document, ensure_ascii=generator.random() < 0.5, indent=generator.choice([None, 2]))
    return text.encode("utf-8", "surrogatepass")


TOKENS = [b",", b":", b"{", b"}", b"[", b"]", b'"', b"\\", b"null", b"true", b"NaN", b"-", b"0", b"1", b".", b"e5", b"1e999", b"-0", b"1.0", b"01", b" ",
          b"\n", b"\x00", b"\xff", b"\xc0\x80", b"\xed\xa0\x80", b"\xef\xbb\xbf", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\u00zz", b"\\x", b"//",
          b'"q":', b'"q":"\\ud800",', b'"q":{"\\ud800":"\xff"},', b'"q":' + b"[" * 300 + b"]" * 300 + b",", b'"version":2,', b'"q":-0.0e-9,',
          b'"q":1,"q":2,', b'"n\\u0061me":"ab",']


def scrambled(text):
    """The same with a token put in, a byte changed, or a part cut out or doubled."""
    at = generator.randrange(len(text))
    how = generator.randrange(5)
    if how == 0:
        at = max(text.rfind(generator.choice([b"{", b",", b'"', b":"]), 0, at) + 1, 0)
        return text[:at] + generator.choice(TOKENS) + text[at:]
    if how == 1:
        return text[:at] + bytes([generator.randrange(256)]) + text[at + 1:]
    if how == 2:
        return text[:at] + text[at + generator.randrange(1, 20):]
    if how == 3:
        return text[:at] + text[max(0, at - 30):at] + text[at:]
    return text[:at]


def documents():
    yield json.dumps(GOOD).encode()
    yield json.dumps([GOOD[key] for key in ORDER]).encode()
    for place in range(len(ORDER) + 1):
        yield json.dumps([GOOD[key] for key in ORDER][:place]).encode()
    for _ in range(1500):  # addresses by themselves
        yield json.dumps({**GOOD, "upstream": url()}).encode()
    while True:
        document = json.loads(json.dumps(GOOD))
        for key in [key for key in ORDER if key in ("kernels-minver", "upstream", "source", "kernel-depends", "digest", "provenance")]:
            if generator.random() < 0.4:
                del document[key]
        for _ in range(generator.choice([0, 1, 1, 1, 2, 3])):
            change(document)
        if generator.random() < 0.1:
            document = [document.get(key) for key in ORDER]
        text = written(document)
        for _ in range(generator.choice([0, 0, 1, 1, 2])):
            text = scrambled(text) or b" "
        yield text


def judgement(text):
    try:
        read = _rust.Metadata.from_bytes(text)
    except ValueError:
        return "no"
    return "yes %s %d %s" % (read.name, read.version, str(read.backend.backend_type) if hasattr(read.backend, "backend_type") else read.backend)


source = documents()
batch = [next(source) for _ in range(NUMBER)]
(folder / "documents").write_bytes(b"".join(b"%d\n%s" % (len(text), text) for text in batch))
ours = subprocess.run([program, "metadata", folder / "documents"], check=True, stdout=subprocess.PIPE, text=True, errors="replace").stdout.splitlines()
if len(ours) != len(batch):
    sys.exit("%d judgements of %d documents" % (len(ours), len(batch)))
different, accepted = [], 0
for text, line in zip(batch, ours):
    theirs = judgement(text)
    accepted += theirs != "no"
    if (line if theirs != "no" else line[:2]) != theirs:
        different.append("%s\n    theirs: %s\n    ours:   %s" % (text[:2000], theirs, line))
if different:
    sys.exit("%d of %d documents are judged differently:\n%s" % (len(different), len(batch), "\n".join(different[:20])))
if accepted < NUMBER // 10 or accepted > NUMBER * 9 // 10:
    sys.exit("only %d of %d are accepted: the documents show nothing" % (accepted, NUMBER))
print("%d documents of metadata.json judged alike, %d of them accepted" % (len(batch), accepted))
