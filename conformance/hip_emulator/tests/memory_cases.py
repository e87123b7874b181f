"""Lines of instructions.txt for what touches memory, which make_instructions.py adds: global, buffer and scalar accesses, LDS, atomics.

Memory and LDS hold 4096 bytes each, word k of both at first initial(k), as in instructions_test.cpp.  Columns say more than elsewhere:
"v[2:3]=@near" means the numbers called near, as places in memory; "memory=0010:89abcdef,..." and "lds=..." are the words that change."""
import numpy as np

EXEC, LANES = 0xffdf, 16
active = [lane for lane in range(LANES) if EXEC >> lane & 1]
u32, u64 = np.uint32, np.uint64


def initial(k):
    return (k + 1) * 0x9e3779b1 & 0xffffffff


def begin():
    return bytearray(b"".join(initial(k).to_bytes(4, "little") for k in range(1024)))


def number(data, at, size):
    return int.from_bytes(data[at:at + size], "little")


def changes(name, data):
    before = begin()
    words = [f"{at:04x}:{number(data, at, 4):08x}" for at in range(0, 4096, 4) if data[at:at + 4] != before[at:at + 4]]
    return f"{name}={','.join(words)}"


def registers(kind, first, values, size):
    """Results of `size` bytes from register `first` on, in pairs."""
    found = {}
    for k in range(0, max(size // 4, 1), 2):
        part = [value >> 32 * k for value in values]
        wide = size - 4 * k >= 8
        name = f"{kind}[{first + k}:{first + k + 1}]" if wide else f"{kind}{first + k}"
        found[name] = np.array([p & (2**64 - 1 if wide else 2**32 - 1) for p in part], u64 if wide else u32)
    return found


def span(kind, first, size):
    return f"{kind}{first}" if size <= 4 else f"{kind}[{first}:{first + size // 4 - 1}]"


# What a part of a register becomes: of the value, of what the register held.
EXTENSIONS = {"": lambda value, held, size: value,
              "sign": lambda value, held, size: (value - (1 << 8 * size) if value >> 8 * size - 1 else value) & 0xffffffff,
              "d16": lambda value, held, size: held & 0xffff0000 | value, "d16_hi": lambda value, held, size: held & 0xffff | value << 16}
PARTS = (("ubyte", 1, ""), ("sbyte", 1, "sign"), ("ushort", 2, ""), ("sshort", 2, "sign"), ("ubyte_d16", 1, "d16"),
         ("ubyte_d16_hi", 1, "d16_hi"), ("short_d16", 2, "d16"), ("short_d16_hi", 2, "d16_hi"))
WORDS = (("dword", 4), ("dwordx2", 8), ("dwordx3", 12), ("dwordx4", 16))
STORES = (("byte", 1, 0), ("byte_d16_hi", 1, 16), ("short", 2, 0), ("short_d16_hi", 2, 16))
signed = lambda x: x - (1 << 32) if x >> 31 else x
as_float = lambda x: np.array([x], u32).view(np.float32)[0]
halves = lambda x: np.array([x], u32).view(np.float16)
FLOATS = {"add_f32": lambda a, b: int(np.array([as_float(a) + as_float(b)], np.float32).view(u32)[0]),
          "pk_add_f16": lambda a, b: int((halves(a) + halves(b)).view(u32)[0])}
INTEGERS = {"swap": lambda a, b: b, "add": lambda a, b: a + b & 0xffffffff, "sub": lambda a, b: a - b & 0xffffffff,
            "smin": lambda a, b: min(a, b, key=signed), "smax": lambda a, b: max(a, b, key=signed), "umin": min, "umax": max,
            "and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}


class Cases:
    def __init__(self, case, inputs, rng):
        self.case, self.inputs, self.rng = case, inputs, rng
        order = rng.permutation(LANES)
        finite = lambda x: 2.0**-20 < abs(as_float(x)) < 2.0**20 and all(2.0**-6 < abs(h) < 2.0**6 for h in halves(x).astype(float))
        words = [k for k in range(512, 1000) if finite(initial(k))][:LANES]
        assert len(words) == LANES
        self.add("near", order * 48 + 64, u64)             # apart by more than an access; a multiple of 16
        self.add("bytes", order * 48 + 64 + np.arange(LANES) % 4, u64)
        self.add("shorts", order * 48 + 64 + np.arange(LANES) % 2 * 2, u64)
        self.add("floats", np.array(words) * 4, u64)
        for name in ("near", "bytes", "shorts", "floats"):
            self.add(f"{name}32", self.inputs[name], u32)
        self.add("close32", order * 16, u32)               # LDS
        self.add("zero", np.zeros(LANES), u64)
        self.add("descriptor", np.full(LANES, 0x0002000000000280, u64), u64)  # 640 bytes: some lanes are beyond them
        self.add("sixteen", np.full(LANES, 16), u32)
        self.add("half_pairs", (rng.standard_normal(LANES) * 3).astype(np.float16).view(np.uint16).astype(u32) * u32(0x10001), u32)

    def add(self, name, values, kind):
        self.inputs[name] = np.asarray(values).astype(kind)

    def ints(self, name):
        return [int(x) for x in self.inputs[name]]

    def places(self, size):
        return "bytes" if size == 1 else "shorts" if size == 2 else "near"

    def given(self, size):
        """The data of a store: columns before, and a number a lane."""
        names = ("u32b",) if size <= 4 else ("u64a",) if size == 8 else ("u64a", "u32c") if size == 12 else ("u64a", "u64b")
        before, values = {}, [0] * LANES
        for k, name in enumerate(names):
            wide = self.inputs[name].dtype == u64
            before[f"v[{4 + 2 * k}:{5 + 2 * k}]" if wide else f"v{4 + 2 * k}"] = name
            values = [v | x << 64 * k for v, x in zip(values, self.ints(name))]
        return before, values

    # `address`: the instruction's words for it, the columns before, places by lane, lanes whose access counts.
    def load(self, arch, name, address, size, extension=""):
        words, before, places, inside = address
        held, memory = self.ints("u32b"), begin()
        values = [number(memory, at, size) if ok else 0 for at, ok in zip(places, inside)]
        values = [EXTENSIONS[extension](value, h, size) for value, h in zip(values, held)]
        before = dict(before, v20="u32b") if extension.startswith("d16") else before
        self.case(arch, f"{name} {span('v', 20, size)}, {words}", before, registers("v", 20, values, size))

    def store(self, arch, name, address, size, shift=0):
        words, before, places, inside = address
        data, values = self.given(size)
        memory = begin()
        for lane in active:
            if inside[lane]:
                memory[places[lane]:places[lane] + size] = (values[lane] >> shift & (1 << 8 * size) - 1).to_bytes(size, "little")
        first, _, rest = words.partition(", ") if name.startswith("global") else ("", "", words)
        text = f"{first}, {span('v', 4, size)}, {rest}" if first else f"{span('v', 4, size)}, {rest}"
        self.case(arch, f"{name} {text}", dict(before, **data), {}, stored=changes("memory", memory))

    def atomic(self, arch, name, address, op, data):
        words, before, places, inside = address
        memory, values, old = begin(), self.ints(data), [0] * LANES
        for lane in active:
            if inside[lane]:
                old[lane] = number(memory, places[lane], 4)
                memory[places[lane]:places[lane] + 4] = op(old[lane], values[lane]).to_bytes(4, "little")
        if name.startswith("global"):
            first, _, rest = words.partition(", ")
            text = f"v20, {first}, v4, {rest} glc"
        else:
            text = f"v4, {words} glc"
        result = {"v20" if name.startswith("global") else "v4": np.array(old, u32)}
        self.case(arch, f"{name} {text}", dict(before, v4=data), result, stored=changes("memory", memory))

    def global_address(self, name, offset=0):
        more = f" offset:{offset}" if offset else ""
        return f"v[2:3], off{more}", {"v[2:3]": "@" + name}, [x + offset for x in self.ints(name)], [True] * LANES

    def based_address(self, name, offset):
        return f"v2, s[2:3] offset:{offset}", {"v2": name + "32", "s[2:3]": "@zero"}, [x + offset for x in self.ints(name)], [True] * LANES

    def buffer_address(self, name, size, offset=0, scalar="0"):
        places = [x + offset for x in self.ints(name + "32")]
        before = {"v2": name + "32", "s[4:5]": "@zero", "s[6:7]": "descriptor"}
        inside = [x + size <= 0x280 for x in places]
        if scalar != "0":
            before[scalar] = "sixteen"
            places = [x + 16 for x in places]
        return f"v2, s[4:7], {scalar} offen" + (f" offset:{offset}" if offset else ""), before, places, inside

    def run_global(self, arch="gfx90a"):
        for part, size, extension in PARTS:
            self.load(arch, f"global_load_{part}", self.global_address(self.places(size), 4), size, extension)
        for part, size in WORDS:
            self.load(arch, f"global_load_{part}", self.global_address("near"), size)
            self.load(arch, f"global_load_{part}", self.based_address("near", 8), size)
            self.store(arch, f"global_store_{part}", self.global_address("near", -16), size)
        for part, size, shift in STORES:
            self.store(arch, f"global_store_{part}", self.global_address(self.places(size)), size, shift)
        self.store(arch, "global_store_dword", self.based_address("near", 4), 4)
        for name, op in INTEGERS.items():
            self.atomic(arch, f"global_atomic_{name}", self.global_address("near", 4), op, "u32b")
        self.atomic("gfx90a", "global_atomic_add_f32", self.global_address("floats"), FLOATS["add_f32"], "small")

    def run_buffer(self, arch="gfx90a"):
        for part, size, extension in PARTS:
            self.load(arch, f"buffer_load_{part}", self.buffer_address(self.places(size), size, 4), size, extension)
        for part, size in WORDS:
            self.load(arch, f"buffer_load_{part}", self.buffer_address("near", size), size)
            self.store(arch, f"buffer_store_{part}", self.buffer_address("near", size), size)
        self.load(arch, "buffer_load_dword", self.buffer_address("near", 4, 4, "s8"), 4)
        for part, size, shift in STORES:
            self.store(arch, f"buffer_store_{part}", self.buffer_address(self.places(size), size), size, shift)
        for name in ("swap", "add", "umin", "umax"):
            self.atomic(arch, f"buffer_atomic_{name}", self.buffer_address("near", 4), INTEGERS[name], "u32b")

    def run_scalar(self, arch="gfx90a"):
        memory, wide = begin(), {"s[4:5]": "@zero", "s[6:7]": "descriptor"}
        for part, size in WORDS[:2] + (("dwordx4", 16), ("dwordx8", 32), ("dwordx16", 64)):
            value = [number(memory, at + 16, size) for at in self.ints("near")]
            self.case(arch, f"s_load_{part} {span('s', 20, size)}, s[2:3], 0x10", {"s[2:3]": "@near"},
                      registers("s", 20, value, size))
            here = number(memory, 32, size)
            self.case(arch, f"s_buffer_load_{part} {span('s', 20, size)}, s[4:7], 0x20", wide, registers("s", 20, [here] * LANES, size))
        self.case(arch, "s_load_dword s20, s[2:3], s8", {"s[2:3]": "@near", "s8": "sixteen"},
                  registers("s", 20, [number(memory, at + 16, 4) for at in self.ints("near")], 4))

    def run_lds(self, arch="gfx90a"):
        where, lds, held = self.ints("close32"), begin(), self.ints("u32b")
        before = {"v2": "close32"}
        for name, size, extension in (("i8", 1, "sign"), ("u8", 1, ""), ("i16", 2, "sign"), ("u16", 2, ""), ("u8_d16", 1, "d16"),
                                      ("u8_d16_hi", 1, "d16_hi"), ("u16_d16", 2, "d16"), ("u16_d16_hi", 2, "d16_hi"),
                                      ("b32", 4, ""), ("b64", 8, ""), ("b96", 12, ""), ("b128", 16, "")):
            values = [EXTENSIONS[extension](number(lds, at + 2 * size, size), h, size) for at, h in zip(where, held)]
            self.case(arch, f"ds_read_{name} {span('v', 20, size)}, v2 offset:{2 * size}", dict(before, v20="u32b") if "d16" in name else before,
                      registers("v", 20, values, size))
        for name, size, shift in (("b8", 1, 0), ("b16", 2, 0), ("b8_d16_hi", 1, 16), ("b16_d16_hi", 2, 16), ("b32", 4, 0), ("b64", 8, 0),
                                  ("b96", 12, 0), ("b128", 16, 0)):
            data, values = self.given(size)
            after = begin()
            for lane in active:
                at = where[lane] + 16
                after[at:at + size] = (values[lane] >> shift & (1 << 8 * size) - 1).to_bytes(size, "little")
            self.case(arch, f"ds_write_{name} v2, {span('v', 4, size)} offset:16", dict(before, **data), {}, stored=changes("lds", after))
        for size, stride, name in ((4, 4, "2_b32"), (4, 256, "2st64_b32"), (8, 8, "2_b64"), (8, 512, "2st64_b64")):
            values = [number(lds, at + stride, size) | number(lds, at + 2 * stride, size) << 8 * size for at in where]
            self.case(arch, f"ds_read{name} {span('v', 20, 2 * size)}, v2 offset0:1 offset1:2", before, registers("v", 20, values, 2 * size))
            after, pairs = begin(), (("v4", "u32b"), ("v6", "u32c")) if size == 4 else (("v[4:5]", "u64a"), ("v[6:7]", "u64b"))
            for step, (_, data) in enumerate(pairs, 1):
                for lane in active:
                    at = where[lane] + step * stride
                    after[at:at + size] = self.ints(data)[lane].to_bytes(size, "little")
            self.case(arch, f"ds_write{name} v2, {pairs[0][0]}, {pairs[1][0]} offset0:1 offset1:2", dict(before, **dict(pairs)), {},
                      stored=changes("lds", after))
        for name, op, data, places in (("add_u32", INTEGERS["add"], "u32b", "close32"), ("min_i32", INTEGERS["smin"], "u32b", "close32"),
                                       ("max_i32", INTEGERS["smax"], "u32b", "close32"), ("min_u32", min, "u32b", "close32"),
                                       ("max_u32", max, "u32b", "close32"), ("and_b32", INTEGERS["and"], "u32b", "close32"),
                                       ("or_b32", INTEGERS["or"], "u32b", "close32"), ("add_f32", FLOATS["add_f32"], "small", "floats32")):
            after, old = begin(), [0] * LANES
            for lane in active:
                at = self.ints(places)[lane]
                old[lane] = number(after, at, 4)
                after[at:at + 4] = op(old[lane], self.ints(data)[lane]).to_bytes(4, "little")
            given, stored = {"v2": places, "v4": data}, changes("lds", after)
            self.case(arch, f"ds_{name} v2, v4", given, {}, stored=stored)
            if not name.endswith("b32"):
                kind, _, width = name.rpartition("_")
                self.case(arch, f"ds_{kind}_rtn_{width} v20, v2, v4", given, {"v20": np.array(old, u32)}, stored=stored)

    def run_to_lds(self):
        """Memory to LDS: lane l's bytes go to M0 + its place in the wave."""
        self.add("m0", np.full(LANES, 256), u32)
        for arch, name, size in (("gfx942", "global_load_lds_dword v[2:3], off", 4), ("gfx950", "global_load_lds_dwordx4 v[2:3], off", 16),
                                 ("gfx90a", "buffer_load_dword v2, s[4:7], 0 offen lds", 4)):
            memory, after = begin(), begin()
            buffer = name.startswith("buffer")
            for lane in active:
                at = self.ints("near")[lane]
                after[256 + size * lane:256 + size * (lane + 1)] = memory[at:at + size] if not buffer or at + 4 <= 0x280 else bytes(4)
            before = {"v2": "near32", "s[4:5]": "@zero", "s[6:7]": "descriptor", "m0": "m0"} if buffer else {"v[2:3]": "@near", "m0": "m0"}
            self.case(arch, name, before, {}, stored=changes("lds", after))

    def run(self):
        self.run_global()
        self.run_buffer()
        self.run_scalar()
        self.run_lds()
        self.run_to_lds()
        # Results of the packed and the float atomics are not asked for on CDNA 2.
        for kind, address in (("global", self.global_address("floats")), ("buffer", None)):
            if address is None:
                self.inputs["descriptor_all"] = np.full(LANES, 0x0002000000001000, u64)
                address = ("v2, s[4:7], 0 offen", {"v2": "floats32", "s[4:5]": "@zero", "s[6:7]": "descriptor_all"}, self.ints("floats"), [True] * LANES)
            for name, data in (("add_f32", "small"), ("pk_add_f16", "half_pairs")):
                words, before, places, _ = address
                memory = begin()
                for lane in active:
                    at = places[lane]
                    memory[at:at + 4] = FLOATS[name](number(memory, at, 4), self.ints(data)[lane]).to_bytes(4, "little")
                text = f"{words.replace(', ', ', v4, ', 1)}" if kind == "global" else f"v4, {words}"
                self.case("gfx90a", f"{kind}_atomic_{name} {text}", dict(before, v4=data), {}, stored=changes("memory", memory))
