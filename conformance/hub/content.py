"""What a hub can hold that it should not: each function is a step of a case's `site`, and changes a copy of a good variant or its listing."""
import json
import pathlib
import shutil
import subprocess

from fault_hub import COMMIT, Site

PLUGIN = """
#include <stdlib.h>
#include <fcntl.h>
const void *lamina_library_v1(void) { return 0; }
"""
RUNS = 'static void run(void) { creat("%s", 0600); abort(); }\n'
# What a compiler makes that a plug-in must not be: source after PLUGIN, flags.
OBJECTS = {
    "constructor": (RUNS + "__attribute__((constructor)) static void now(void) { run(); }", []),
    "destructor": (RUNS + "__attribute__((destructor)) static void then(void) { run(); }", []),
    "ifunc": (RUNS + "static void *pick(void) { run(); return 0; } void chosen(void) __attribute__((ifunc(\"pick\"), visibility(\"hidden\")));"
              "static void (*volatile use)(void) __attribute__((used)) = chosen;", []),
    "runpath": ("", ["-Wl,--enable-new-dtags,-rpath,/tmp"]),
    "rpath": ("", ["-Wl,--disable-new-dtags,-rpath,$ORIGIN"]),
    "needed": ("", ["-Wl,--no-as-needed", "-lcurl"]),
    "execstack": ("", ["-Wl,-z,execstack"]),
    "unique": ('__asm__(".globl once\\n.type once, %%gnu_unique_object\\n.data\\nonce: .quad 1\\n.text");', []),
    "exports": ("int second_symbol(void) { return 1; }", []),
    "new_glibc": ("unsigned arc4random(void); static unsigned (*volatile random_source)(void) __attribute__((used)) = arc4random;", []),
    "undefined": ("void nowhere_to_be_found(void); static void (*volatile use)(void) __attribute__((used)) = nowhere_to_be_found;", []),
    "textrel": ('__asm__(".text\\n.quad lamina_library_v1\\n");', ["-Wl,-z,notext"]),
    "writable_code": ('__asm__(".section .both, \\"awx\\", @progbits\\n.quad 1\\n.text");', []),
    "filter": ("", ["-Wl,-f,libz.so.1"]),
    "no_entry": None, "truncated": None, "wrong_machine": None, "wrong_class": None, "no_elf": None,
}


class Maker:
    """Makes the sites of cases below a scratch folder from one good variant folder, signed with `key`."""

    def __init__(self, scratch, variant, key, stranger, forge):
        self.scratch, self.variant, self.key, self.stranger, self.forge_program = scratch, variant, key, stranger, forge

    def site(self, name, steps):
        folder = self.scratch / "sites" / name / self.variant.name
        if folder.exists():
            shutil.rmtree(folder.parent)
        shutil.copytree(self.variant, folder)
        self.marker = self.scratch / "sites" / name / "was-run"
        after = []
        for step in steps:
            (kind, value), = step.items()
            if kind in LISTING:
                after.append((LISTING[kind], value))
            else:
                getattr(self, kind)(folder, value)
        prefix = "build/%s/" % folder.name
        files = {prefix + str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        site = Site(files)
        for change, value in after:
            change(site, prefix, value)
        return site

    # Changes of the folder.
    def forge(self, folder, changes):
        """Signed again by the publisher's own key, or, with `stranger`, by another one."""
        changes = dict(changes)
        key = self.stranger if changes.pop("stranger", False) else self.key
        words = [name if value is True else "%s=%s" % (name, value) for name, value in changes.items()]
        subprocess.run([self.forge_program, folder, key, *words], check=True, capture_output=True)

    def write(self, folder, files):
        for name, text in files.items():
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_bytes(text.encode("latin-1"))

    def remove(self, folder, names):
        for name in names:
            (folder / name).unlink()

    def flip(self, folder, name):
        for file in folder.glob(name):
            data = bytearray(file.read_bytes())
            data[len(data) // 2] ^= 1
            file.write_bytes(data)

    def edit(self, folder, change):
        """Text of one document replaced: {"file", "from", "to"}."""
        file = folder / change["file"]
        text = file.read_text()
        assert change["from"] in text, change
        file.write_text(text.replace(change["from"], change["to"] * change.get("repeat", 1), 1))

    def document(self, folder, change):
        """A whole document: {"file", "text", "repeat", "end"}, in Latin-1 so that any byte can be said."""
        (folder / change["file"]).write_bytes((change["text"] * change.get("repeat", 1) + change.get("end", "")).encode("latin-1"))

    def object(self, folder, kind):
        """Every build becomes an object of this kind, signed as if it were the real one."""
        for build in folder.glob("*.so"):
            data = bytearray(build.read_bytes())
            if kind == "truncated":
                data = data[: len(data) // 3]
            elif kind == "wrong_machine":
                data[18:20] = (243).to_bytes(2, "little")
            elif kind == "wrong_class":
                data[4] = 1
            elif kind == "no_elf":
                data = b"#!/bin/sh\nexit 1\n"
            if kind in ("no_entry", *(k for k, v in OBJECTS.items() if v)):
                text, flags = OBJECTS[kind] or ("", [])
                source = PLUGIN + (text % self.marker if "%s" in text else text.replace("%%", "%"))
                if kind == "no_entry":
                    source = source.replace("lamina_library_v1", "some_other_name")
                command = ["gcc", "-xc", "-shared", "-fPIC", "-nostartfiles", "-o", str(build), "-"] + flags
                subprocess.run(command, input=source.encode(), check=True, capture_output=True)
                continue
            build.write_bytes(data)
        self.forge(folder, {})


# Changes of what the hub says of the folder.  An entry is named by the end of its path.
def entries(site, end):
    return [one for one in site.entries if one["path"].endswith(end)]


def say(site, prefix, value):
    """Members of the entries whose path ends in `of`: {"of": ".so", "oid": ...}; in texts {prefix} stands for the variant's folder."""
    for one in entries(site, value["of"]):
        for name, member in value.items():
            if name != "of":
                (one["lfs"] if name in one.get("lfs", {}) else one)[name] = repeated(member, prefix)


def repeated(member, prefix):
    if isinstance(member, dict) and "repeat" in member:
        return member["text"] * member["repeat"]
    return member.replace("{prefix}", prefix) if isinstance(member, str) else member


def unsay(site, prefix, value):
    for one in entries(site, value["of"]):
        one.pop(value["member"])


def also(site, prefix, value):
    """A further entry; members that are not given are a plain file's."""
    one = {"type": "file", "path": "build/x", "oid": "a" * 40, "size": 1}
    one.update({name: repeated(member, prefix) for name, member in value.items()})
    site.entries.append(one)


def many(site, prefix, count):
    site.listing = json.dumps(site.entries[:1] + [Site.entry("other/f%d" % i, b"") for i in range(count)]).encode()


def listing(site, prefix, value):
    site.listing = (value.get("start", "") + value["text"] * value.get("repeat", 1) + value.get("end", "")).encode("latin-1")


def refs(site, prefix, value):
    site.refs = value["text"].replace("{commit}", COMMIT).encode("latin-1")


def bytes_of(site, prefix, value):
    """The hub sends other bytes than it lists: {"of": end of the path, "as": flip | html | empty}."""
    for path, data in list(site.files.items()):
        if path.endswith(value["of"]):
            changed = {"flip": bytes([data[0] ^ 1]) + data[1:], "html": b"<html>Please log in</html>".ljust(len(data))[: len(data)]}
            site.files[path] = changed[value["as"]]


def withheld(site, prefix, value):
    """Listed, and not there."""
    for path in list(site.files):
        if path.endswith(value):
            del site.files[path]


def second_name(site, prefix, value):
    """Two variants: the good one, and its files under another variant's name."""
    for one in list(site.entries):
        other = dict(one, path=one["path"].replace(prefix, "build/%s/" % value))
        site.files[other["path"]] = site.files[one["path"]]
        site.entries.append(other)
    for one in [e for e in site.entries if e["path"].startswith(prefix)]:
        site.entries.remove(one)


LISTING = {f.__name__: f for f in (say, unsay, also, many, listing, refs, bytes_of, withheld, second_name)}
