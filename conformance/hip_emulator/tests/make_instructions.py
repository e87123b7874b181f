#!/usr/bin/env python3
"""Writes instructions.txt: what single instructions must do, computed here by numpy, encoded by LLVM's assembler.

Run it after adding an instruction (needs numpy, llvm-mc-19; rows of gfx950 need the ziglang wheel and are kept as they are without it):
  conformance/hip_emulator/tests/make_instructions.py > new && mv new conformance/hip_emulator/tests/instructions.txt

A line is: arch | instruction | its words | registers before | registers after.  A vector register is given as 16 lanes (EXEC is ffdf: lane 5
and those from 16 on must keep what they hold).  Lines with scalar registers are run 16 times, once with each value.  "~1" behind a result
allows one unit in the last place.  What touches memory or LDS comes from memory_cases.py."""
import subprocess
import sys
from fractions import Fraction
import numpy as np
import memory_cases

N = 16
rng = np.random.default_rng(7)
u32, i32, f32, f16, f64, u64, i64 = np.uint32, np.int32, np.float32, np.float16, np.float64, np.uint64, np.int64
np.seterr(all="ignore")

special32 = np.array([0, 0x80000000, 0x7f800000, 0xff800000, 0x7fc00000, 0x00000001, 0x807fffff, 0x3f800000], u32)
f32a = np.concatenate([special32, (rng.standard_normal(8) * 10.0 ** rng.integers(-6, 7, 8)).astype(f32).view(u32)])
f32b = np.concatenate([rng.permutation(special32), (rng.standard_normal(8) * 3).astype(f32).view(u32)])
f32c = rng.permutation(np.concatenate([special32[:4], (rng.standard_normal(12) * 3).astype(f32).view(u32)]))
small = (rng.standard_normal(N) * 4).astype(f32).view(u32)  # where specials would drown the rest
edges = np.array([0, 1, 31, 32, 0x7fffffff, 0x80000000, 0xffffffff, 0xffff], u32)
u32a = np.concatenate([edges, rng.integers(0, 2**32, 8).astype(u32)])
u32b = np.concatenate([rng.permutation(edges), rng.integers(0, 2**32, 8).astype(u32)])
u32c = np.concatenate([rng.permutation(edges), rng.integers(0, 40, 8).astype(u32)])
shift = rng.integers(0, 64, N).astype(u32)
special16 = np.array([0, 0x8000, 0x7c00, 0xfc00, 0x7e00, 1, 0x83ff, 0x3c00], u32)
def halves(): return np.concatenate([rng.permutation(special16), (rng.standard_normal(8) * 8).astype(f16).view(np.uint16).astype(u32)])
f16a, f16b, f16c = halves(), halves(), halves()
pair16a, pair16b, pair16c = (halves() | halves() << u32(16) for _ in range(3))
def wide(): return rng.integers(0, 2**64, N, dtype=u64)
u64a, u64b = wide(), wide()
u64b[:4] = u64a[:4]
f64a, f64b, f64c = ((rng.standard_normal(N) * 5).view(u64) for _ in range(3))
half_range = (rng.uniform(-30, 30, N)).astype(f32).view(u32)
condition = rng.integers(0, 2, N).astype(u32)
mask = np.full(N, 0x5a3c, u64)
inputs = {k: v for k, v in list(globals().items()) if isinstance(v, np.ndarray) and not k.startswith("special") and k != "edges"}

# ---- numbers
def F(x): return np.asarray(x, u32).view(f32)
def I(x): return np.asarray(x, u32).view(i32)
def H(x): return (np.asarray(x, u32) & u32(0xffff)).astype(np.uint16).view(f16)
def D(x): return np.asarray(x, u64).view(f64)
def W(x): return np.asarray(x, u32).astype(u64)      # zero-extended
def S(x): return np.asarray(x, u32).view(i32).astype(i64)
def bits(x):
    x = np.asarray(x)
    if x.dtype == f32: return x.view(u32)
    if x.dtype == f16: return x.view(np.uint16).astype(u32)
    if x.dtype == f64: return x.view(u64)
    if x.dtype == i64: return x.view(u64)
    if x.dtype == i32: return x.view(u32)
    if x.dtype in (np.int16, np.uint16): return x.view(np.uint16).astype(u32)
    return x
def flush(x):
    x = np.asarray(x, f32)
    return np.where(np.abs(x) < f32(2.0**-126), np.copysign(f32(0), x), x).astype(f32)
def fma(a, b, c):  # exact product in long double has 64 bits of 48; the sum is rounded there and then to f32
    return (a.astype(np.longdouble) * b.astype(np.longdouble) + c.astype(np.longdouble)).astype(f32)
def least(a, b):
    r = np.where((a < b) | ((a == b) & np.signbit(a)), a, b)
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, r)).astype(a.dtype)
def most(a, b):
    r = np.where((a > b) | ((a == b) & ~np.signbit(a)), a, b)
    return np.where(np.isnan(a), b, np.where(np.isnan(b), a, r)).astype(a.dtype)
def to_int(x, low, high):
    x = np.where(np.isnan(x), 0, x).astype(f64)
    return np.clip(np.trunc(x), low, high).astype(i64)
def low24(x): return np.asarray(x, u32) & u32(0xffffff)
def signed24(x): return (I(np.asarray(x, u32) << u32(8)) >> 8).astype(i64)
def clz(x): return np.array([32 - int(v).bit_length() if v else 0xffffffff for v in np.asarray(x, u32)], u32)
def bf16(x):
    b = np.asarray(x, f32).view(u32).astype(u64)
    r = ((b + u64(0x7fff) + ((b >> u64(16)) & u64(1))) >> u64(16)).astype(u32)
    return np.where(np.isnan(x), (b >> u64(16)).astype(u32) | u32(0x40), r)
def toward_zero16(x):
    out = []
    for v in np.asarray(x, f32):
        h = f16(v)
        if not np.isnan(v) and np.isinf(h) and not np.isinf(v): h = np.copysign(f16(65504), h)
        elif np.isfinite(v) and abs(float(h)) > abs(float(v)): h = np.nextafter(h, f16(0))
        out.append(h)
    return np.array(out, f16).view(np.uint16).astype(u32)
def permute(a, b, sel):
    out = []
    for x, y, s in zip(a, b, sel):
        data = int(x) << 32 | int(y); r = 0
        for k in range(4):
            c = int(s) >> 8 * k & 255
            v = data >> 8 * c & 255 if c < 8 else (255 if data >> (16 * (c - 8) + 15) & 1 else 0) if c < 12 else 0 if c == 12 else 255
            r |= v << 8 * k
        out.append(r)
    return np.array(out, u32)
def field(a, o, w, signed):
    out = []
    for x, p, n in zip(a, o, w):
        p, n = int(p) & 31, int(n) & 31
        v = (int(x) - (1 << 32) if signed and int(x) >> 31 else int(x)) >> p
        v &= (1 << n) - 1
        if signed and n and v >> (n - 1) & 1: v -= 1 << n
        out.append(v & 0xffffffff)
    return np.array(out, u32)

lines = []
def case(arch, text, before, after, ulp=0, stored=""):
    show = lambda v: ",".join(("%08x" if np.asarray(v).dtype != u64 else "%016x") % int(x) for x in bits(v))
    names = " ".join(f"{r}={n}" for r, n in before.items())
    lines.append((arch, text, names, " ".join(f"{r}={show(v)}{'~%d' % ulp if ulp else ''}" for r, v in after.items()) + (" " if after and stored else "") + stored))

any_arch = "gfx90a"
def vector(name, args, function, arch=any_arch, ulp=0, wide=False, suffix="_e32", extra=""):
    registers = []
    before = {}
    for k, a in enumerate(args):
        is_wide = inputs[a].dtype == u64
        r = f"v[{2 + 2 * k}:{3 + 2 * k}]" if is_wide else f"v{2 + 2 * k}"
        registers.append(r); before[r] = a
    result = function(*(inputs[a] for a in args))
    d = "v[20:21]" if bits(result).dtype == u64 else "v20"
    case(arch, f"{name}{suffix} {d}, {', '.join(registers)}{extra}", before, {d: result}, ulp)

# ---- one line an instruction: VOP1, VOP2
f2 = lambda op: lambda a, b: op(F(a), F(b))
for name, op in {"v_add_f32": lambda a, b: a + b, "v_sub_f32": lambda a, b: a - b, "v_subrev_f32": lambda a, b: b - a,
                 "v_mul_f32": lambda a, b: a * b, "v_min_f32": least, "v_max_f32": most}.items():
    vector(name, ("f32a", "f32b"), f2(op)); vector(name, ("small", "f32c"), f2(op))
h2 = lambda op: lambda a, b: op(H(a), H(b))
for name, op in {"v_add_f16": lambda a, b: a + b, "v_sub_f16": lambda a, b: a - b, "v_subrev_f16": lambda a, b: b - a,
                 "v_mul_f16": lambda a, b: a * b, "v_min_f16": least, "v_max_f16": most}.items():
    vector(name, ("f16a", "f16b"), h2(op))
M32 = u64(0xffffffff)
for name, op in {
        "v_add_u32": lambda a, b: a + b, "v_sub_u32": lambda a, b: a - b, "v_subrev_u32": lambda a, b: b - a, "v_and_b32": lambda a, b: a & b,
        "v_or_b32": lambda a, b: a | b, "v_xor_b32": lambda a, b: a ^ b, "v_xnor_b32": lambda a, b: ~(a ^ b),
        "v_min_i32": lambda a, b: np.minimum(I(a), I(b)), "v_max_i32": lambda a, b: np.maximum(I(a), I(b)),
        "v_min_u32": np.minimum, "v_max_u32": np.maximum,
        "v_mul_u32_u24": lambda a, b: (W(low24(a)) * W(low24(b)) & M32).astype(u32),
        "v_mul_hi_u32_u24": lambda a, b: (W(low24(a)) * W(low24(b)) >> u64(32)).astype(u32),
        "v_mul_i32_i24": lambda a, b: ((signed24(a) * signed24(b)).view(u64) & M32).astype(u32),
        "v_mul_hi_i32_i24": lambda a, b: ((signed24(a) * signed24(b) >> 32).view(u64) & M32).astype(u32)}.items():
    vector(name, ("u32a", "u32b"), op)
vector("v_lshlrev_b32", ("shift", "u32b"), lambda a, b: b << (a & u32(31)))
vector("v_lshrrev_b32", ("shift", "u32b"), lambda a, b: b >> (a & u32(31)))
vector("v_ashrrev_i32", ("shift", "u32b"), lambda a, b: I(b) >> I(a & u32(31)))
h16 = lambda x: np.asarray(x, u32).astype(np.uint16)
s16 = lambda x: h16(x).view(np.int16)
for name, op in {"v_add_u16": lambda a, b: h16(a) + h16(b), "v_sub_u16": lambda a, b: h16(a) - h16(b), "v_subrev_u16": lambda a, b: h16(b) - h16(a), "v_min_u16": lambda a, b: np.minimum(h16(a), h16(b)), "v_mul_lo_u16": lambda a, b: h16(a) * h16(b),
                 "v_max_u16": lambda a, b: np.maximum(h16(a), h16(b)), "v_min_i16": lambda a, b: np.minimum(s16(a), s16(b)),
                 "v_max_i16": lambda a, b: np.maximum(s16(a), s16(b)), "v_lshlrev_b16": lambda a, b: h16(b) << (h16(a) & np.uint16(15)),
                 "v_lshrrev_b16": lambda a, b: h16(b) >> (h16(a) & np.uint16(15)), "v_ashrrev_i16": lambda a, b: s16(b) >> (s16(a) & np.int16(15))}.items():
    vector(name, ("u32a", "u32b"), op)
vector("v_ldexp_f16", ("f16b", "u32c"), lambda a, b: np.ldexp(H(a).astype(f64), s16(b).astype(i32)).astype(f16))
half_up = lambda x: np.floor(x.astype(f64) + 0.5)
for name, arg, op, ulp in (
        ("v_mov_b32", "u32a", lambda a: a, 0), ("v_not_b32", "u32a", lambda a: ~a, 0),
        ("v_bfrev_b32", "u32a", lambda a: np.array([int(f"{int(x):032b}"[::-1], 2) for x in a], u32), 0),
        ("v_ffbh_u32", "u32a", clz, 0),
        ("v_ffbl_b32", "u32a", lambda a: np.array([(int(x) & -int(x)).bit_length() - 1 if x else 0xffffffff for x in a], u32), 0),
        ("v_ffbh_i32", "u32a", lambda a: clz(np.where(I(a) < 0, ~a, a)), 0),
        ("v_cvt_f32_u32", "u32a", lambda a: a.astype(f32), 0), ("v_cvt_f32_i32", "u32a", lambda a: I(a).astype(f32), 0),
        ("v_cvt_u32_f32", "f32a", lambda a: to_int(F(a), 0, 2**32 - 1).astype(u64).astype(u32), 0),
        ("v_cvt_i32_f32", "f32a", lambda a: to_int(F(a), -2**31, 2**31 - 1).astype(i32), 0),
        ("v_cvt_flr_i32_f32", "small", lambda a: np.floor(F(a)).astype(i32), 0), ("v_cvt_rpi_i32_f32", "small", lambda a: half_up(F(a)).astype(i32), 0),
        ("v_cvt_f16_f32", "f32a", lambda a: F(a).astype(f16), 0), ("v_cvt_f16_f32", "half_range", lambda a: F(a).astype(f16), 0),
        ("v_cvt_f32_f16", "f16a", lambda a: H(a).astype(f32), 0),
        ("v_cvt_f32_ubyte0", "u32a", lambda a: (a & u32(255)).astype(f32), 0), ("v_cvt_f32_ubyte1", "u32b", lambda a: (a >> u32(8) & u32(255)).astype(f32), 0),
        ("v_cvt_f32_ubyte2", "u32a", lambda a: (a >> u32(16) & u32(255)).astype(f32), 0), ("v_cvt_f32_ubyte3", "u32b", lambda a: (a >> u32(24)).astype(f32), 0),
        ("v_trunc_f32", "f32a", lambda a: np.trunc(F(a)), 0), ("v_ceil_f32", "f32a", lambda a: np.ceil(F(a)), 0), ("v_rndne_f32", "f32a", lambda a: np.rint(F(a)), 0),
        ("v_floor_f32", "small", lambda a: np.floor(F(a)), 0), ("v_fract_f32", "small", lambda a: F(a) - np.floor(F(a)), 0),
        ("v_exp_f32", "half_range", lambda a: np.exp2(F(a).astype(f64)).astype(f32), 1), ("v_exp_f32", "f32a", lambda a: flush(np.exp2(F(a).astype(f64)).astype(f32)), 1),
        ("v_log_f32", "f32a", lambda a: np.log2(flush(F(a)).astype(f64)).astype(f32), 1),
        ("v_rcp_f32", "f32a", lambda a: flush(f32(1) / flush(F(a))), 1), ("v_rcp_iflag_f32", "small", lambda a: f32(1) / F(a), 1),
        ("v_rsq_f32", "f32a", lambda a: (1 / np.sqrt(flush(F(a)).astype(f64))).astype(f32), 1), ("v_sqrt_f32", "f32a", lambda a: np.sqrt(flush(F(a))), 1),
        ("v_sin_f32", "small", lambda a: np.sin(2 * np.pi * (F(a).astype(f64) % 1)).astype(f32), 1), ("v_cos_f32", "small", lambda a: np.cos(2 * np.pi * (F(a).astype(f64) % 1)).astype(f32), 1),
        ("v_frexp_exp_i32_f32", "small", lambda a: np.frexp(F(a))[1].astype(i32), 0), ("v_frexp_mant_f32", "small", lambda a: np.frexp(F(a))[0], 0),
        ("v_rcp_f16", "f16a", lambda a: (1 / H(a).astype(f64)).astype(f16), 1), ("v_sqrt_f16", "f16a", lambda a: np.sqrt(H(a).astype(f64)).astype(f16), 1),
        ("v_exp_f16", "f16a", lambda a: np.exp2(H(a).astype(f64)).astype(f16), 1), ("v_log_f16", "f16a", lambda a: np.log2(H(a).astype(f64)).astype(f16), 1),
        ("v_rsq_f16", "f16a", lambda a: (1 / np.sqrt(H(a).astype(f64))).astype(f16), 1),
        ("v_floor_f16", "f16b", lambda a: np.floor(H(a)), 0), ("v_ceil_f16", "f16b", lambda a: np.ceil(H(a)), 0), ("v_trunc_f16", "f16b", lambda a: np.trunc(H(a)), 0),
        ("v_rndne_f16", "f16b", lambda a: np.rint(H(a)), 0), ("v_fract_f16", "f16b", lambda a: np.minimum(H(a) - np.floor(H(a)), f16(1 - 2**-11)), 0),
        ("v_cvt_f16_u16", "u32a", lambda a: h16(a).astype(f16), 0), ("v_cvt_f16_i16", "u32b", lambda a: s16(a).astype(f16), 0),
        ("v_cvt_u16_f16", "f16a", lambda a: to_int(H(a), 0, 65535).astype(np.uint16), 0), ("v_cvt_i16_f16", "f16a", lambda a: to_int(H(a), -32768, 32767).astype(np.int16), 0),
        ("v_cvt_f64_f32", "small", lambda a: F(a).astype(f64), 0), ("v_cvt_f64_u32", "u32a", lambda a: a.astype(f64), 0), ("v_cvt_f64_i32", "u32a", lambda a: I(a).astype(f64), 0),
        ("v_cvt_f32_f64", "f64a", lambda a: D(a).astype(f32), 0), ("v_floor_f64", "f64a", lambda a: np.floor(D(a)), 0), ("v_ceil_f64", "f64a", lambda a: np.ceil(D(a)), 0),
        ("v_trunc_f64", "f64b", lambda a: np.trunc(D(a)), 0), ("v_rndne_f64", "f64b", lambda a: np.rint(D(a)), 0)):
    vector(name, (arg,), op, ulp=ulp)

# ---- VOP3
def three(name, args, op, **more): vector(name, args, op, suffix="", **more)
three("v_fma_f32", ("f32a", "f32b", "f32c"), lambda a, b, c: fma(F(a), F(b), F(c)))
three("v_fma_f32", ("small", "half_range", "f32c"), lambda a, b, c: fma(F(a), F(b), F(c)))
three("v_fma_f16", ("f16a", "f16b", "f16c"), lambda a, b, c: (H(a).astype(np.longdouble) * H(b) + H(c)).astype(f16))
three("v_min3_f32", ("f32a", "f32b", "f32c"), lambda a, b, c: least(least(F(a), F(b)), F(c)))
three("v_max3_f32", ("f32a", "f32b", "f32c"), lambda a, b, c: most(most(F(a), F(b)), F(c)))
three("v_med3_f32", ("small", "half_range", "f32c"), lambda a, b, c: np.where(np.isnan(F(c)), least(F(a), F(b)), np.median([F(a), F(b), F(c)], axis=0)).astype(f32))
three("v_mad_f32", ("small", "half_range", "small"), lambda a, b, c: F(a) * F(b) + F(c))
three("v_ldexp_f32", ("small", "shift"), lambda a, b: np.ldexp(F(a), I(b)))
three("v_ldexp_f32", ("f32a", "u32c"), lambda a, b: np.ldexp(F(a), I(b)))
three("v_min3_f16", ("f16a", "f16b", "f16c"), lambda a, b, c: least(least(H(a), H(b)), H(c)))
three("v_max3_f16", ("f16a", "f16b", "f16c"), lambda a, b, c: most(most(H(a), H(b)), H(c)))
def median(a, b, c):  # as the documents write it: what is left when the greatest is taken away
    m = most(most(a, b), c)
    r = np.where(m == a, most(b, c), np.where(m == b, most(a, c), most(a, b)))
    return np.where(np.isnan(a) | np.isnan(b) | np.isnan(c), least(least(a, b), c), r).astype(a.dtype)
three("v_med3_f16", ("f16a", "f16b", "f16c"), lambda a, b, c: median(H(a), H(b), H(c)))
three("v_med3_f32", ("f32a", "f32b", "f32c"), lambda a, b, c: median(F(a), F(b), F(c)))
three("v_mad_u16", ("u32a", "u32b", "u32c"), lambda a, b, c: h16(a) * h16(b) + h16(c))
three("v_mad_i16", ("u32a", "u32b", "u32c"), lambda a, b, c: h16(a) * h16(b) + h16(c))
sum32 = lambda *v: sum(W(x) for x in v).astype(u64) & M32
wrap = lambda x: (x & M32).astype(u32)
for name, op in {
        "v_add3_u32": lambda a, b, c: wrap(sum32(a, b, c)), "v_or3_b32": lambda a, b, c: a | b | c, "v_and_or_b32": lambda a, b, c: (a & b) | c,
        "v_lshl_or_b32": lambda a, b, c: a << (b & u32(31)) | c, "v_lshl_add_u32": lambda a, b, c: (a << (b & u32(31))) + c,
        "v_add_lshl_u32": lambda a, b, c: (a + b) << (c & u32(31)), "v_xad_u32": lambda a, b, c: (a ^ b) + c, "v_bfi_b32": lambda a, b, c: (a & b) | (~a & c),
        "v_mad_u32_u24": lambda a, b, c: wrap(W(low24(a)) * W(low24(b)) + W(c)), "v_mad_i32_i24": lambda a, b, c: wrap((signed24(a) * signed24(b)).view(u64) + W(c)),
        "v_bfe_u32": lambda a, b, c: field(a, b, c, False), "v_bfe_i32": lambda a, b, c: field(a, b, c, True),
        "v_alignbit_b32": lambda a, b, c: wrap((W(a) << u64(32) | W(b)) >> W(c & u32(31))), "v_alignbyte_b32": lambda a, b, c: wrap((W(a) << u64(32) | W(b)) >> u64(8) * W(c & u32(3))),
        "v_perm_b32": permute, "v_min3_i32": lambda a, b, c: np.minimum(np.minimum(I(a), I(b)), I(c)), "v_max3_i32": lambda a, b, c: np.maximum(np.maximum(I(a), I(b)), I(c)),
        "v_min3_u32": lambda a, b, c: np.minimum(np.minimum(a, b), c), "v_max3_u32": lambda a, b, c: np.maximum(np.maximum(a, b), c),
        "v_med3_i32": lambda a, b, c: np.sort([I(a), I(b), I(c)], axis=0)[1], "v_med3_u32": lambda a, b, c: np.sort([a, b, c], axis=0)[1],
        "v_sad_u32": lambda a, b, c: np.maximum(a, b) - np.minimum(a, b) + c, "v_mad_u32_u16": lambda a, b, c: wrap(W(h16(a)) * W(h16(b)) + W(c))}.items():
    three(name, ("u32a", "u32b", "u32c"), op)
for name, op in {
        "v_mul_lo_u32": lambda a, b: wrap(W(a) * W(b)), "v_mul_hi_u32": lambda a, b: (W(a) * W(b) >> u64(32)).astype(u32), "v_mul_hi_i32": lambda a, b: wrap((S(a) * S(b) >> 32).view(u64)),
        "v_bcnt_u32_b32": lambda a, b: np.array([bin(int(x)).count("1") for x in a], u32) + b, "v_bfm_b32": lambda a, b: ((u32(1) << (a & u32(31))) - u32(1)) << (b & u32(31)),
        "v_add_i32": lambda a, b: a + b, "v_sub_i32": lambda a, b: a - b}.items():
    three(name, ("u32a", "u32b"), op)
three("v_lshlrev_b64", ("shift", "u64a"), lambda a, b: b << W(a & u32(63)))
three("v_lshrrev_b64", ("shift", "u64a"), lambda a, b: b >> W(a & u32(63)))
three("v_ashrrev_i64", ("shift", "u64a"), lambda a, b: b.view(i64) >> W(a & u32(63)).astype(i64))
three("v_lshl_add_u64", ("u64a", "u32c", "u64b"), lambda a, b, c: (a << W(b & u32(7))) + c, arch="gfx942")
vector("v_mov_b64", ("u64a",), lambda a: a, arch="gfx942")
for name, op in {"v_add_f64": lambda a, b: a + b, "v_mul_f64": lambda a, b: a * b, "v_min_f64": np.minimum, "v_max_f64": np.maximum}.items():
    three(name, ("f64a", "f64b"), lambda a, b, op=op: op(D(a), D(b)))
three("v_mad_i32_i16", ("u32a", "u32b", "u32c"), lambda a, b, c: wrap((s16(a).astype(i64) * s16(b)).view(u64) + W(c)))
exact_fma = lambda a, b, c: np.array([float(Fraction(x) * Fraction(y) + Fraction(z)) for x, y, z in zip(D(a).tolist(), D(b).tolist(), D(c).tolist())])
three("v_fma_f64", ("f64a", "f64b", "f64c"), exact_fma)
case(any_arch, "v_fmac_f64_e32 v[20:21], v[2:3], v[4:5]", {"v[2:3]": "f64a", "v[4:5]": "f64b", "v[20:21]": "f64c"}, {"v[20:21]": exact_fma(f64a, f64b, f64c)})
three("v_ldexp_f64", ("f64a", "u32c"), lambda a, b: np.ldexp(D(a), I(b)))
three("v_cvt_pkrtz_f16_f32", ("f32a", "half_range"), lambda a, b: toward_zero16(F(a)) | toward_zero16(F(b)) << u32(16))
three("v_pack_b32_f16", ("pair16a", "pair16b"), lambda a, b: (a & u32(0xffff)) | b << u32(16))

# ---- modifiers
case(any_arch, "v_add_f32_e64 v20, -v2, |v4|", {"v2": "f32a", "v4": "f32b"}, {"v20": -F(f32a) + np.abs(F(f32b))})
case(any_arch, "v_mul_f32_e64 v20, v2, v4 clamp", {"v2": "small", "v4": "half_range"}, {"v20": np.clip(F(small) * F(half_range), f32(0), f32(1))})
case(any_arch, "v_add_f32_e64 v20, v2, v4 mul:2", {"v2": "small", "v4": "half_range"}, {"v20": (F(small) + F(half_range)) * f32(2)})
case(any_arch, "v_add_f32_e64 v20, v2, v4 div:2", {"v2": "small", "v4": "half_range"}, {"v20": (F(small) + F(half_range)) / f32(2)})
case(any_arch, "v_add_u32_e32 v20, 0x12345678, v4", {"v4": "u32b"}, {"v20": u32b + u32(0x12345678)})
case(any_arch, "v_add_u32_e32 v20, -16, v4", {"v4": "u32b"}, {"v20": u32b - u32(16)})
case(any_arch, "v_mul_f32_e32 v20, 0.15915494, v4", {"v4": "small"}, {"v20": F(small) * f32(0.15915494309189535)})
case(any_arch, "v_add_f16_e32 v20, -4.0, v4", {"v4": "f16b"}, {"v20": H(f16b) - f16(4)})
case(any_arch, "v_mul_f64 v[20:21], v[2:3], 0.5", {"v[2:3]": "f64a"}, {"v[20:21]": D(f64a) * 0.5})
case(any_arch, "v_fma_f16 v20, v2, v4, v6 op_sel:[1,0,1,0]", {"v2": "pair16a", "v4": "pair16b", "v6": "pair16c"},
     {"v20": (H(pair16a >> u32(16)).astype(np.longdouble) * H(pair16b) + H(pair16c >> u32(16))).astype(f16)})
case("gfx942", "v_fmaak_f32 v20, v2, v4, 0x40490fdb", {"v2": "small", "v4": "half_range"}, {"v20": fma(F(small), F(half_range), np.full(N, np.pi, f32))})
case("gfx942", "v_fmamk_f32 v20, v2, 0x40490fdb, v4", {"v2": "small", "v4": "half_range"}, {"v20": fma(F(small), np.full(N, np.pi, f32), F(half_range))})
case(any_arch, "v_fmac_f32_e32 v20, v2, v4", {"v2": "small", "v4": "half_range", "v20": "f32c"}, {"v20": fma(F(small), F(half_range), F(f32c))})
twice_rounded = lambda a, b, c: flush(flush(flush(a) * flush(b)) + flush(c))
pi = np.full(N, np.pi, f32)
case(any_arch, "v_mac_f32_e32 v20, v2, v4", {"v2": "small", "v4": "half_range", "v20": "f32c"}, {"v20": twice_rounded(F(small), F(half_range), F(f32c))})
case(any_arch, "v_madak_f32 v20, v2, v4, 0x40490fdb", {"v2": "small", "v4": "half_range"}, {"v20": twice_rounded(F(small), F(half_range), pi)})
case(any_arch, "v_madmk_f32 v20, v2, 0x40490fdb, v4", {"v2": "small", "v4": "f32c"}, {"v20": twice_rounded(F(small), pi, F(f32c))})
case(any_arch, "v_accvgpr_write_b32 a20, v2", {"v2": "u32a"}, {"a20": u32a})
case(any_arch, "v_accvgpr_read_b32 v20, a2", {"a2": "u32a"}, {"v20": u32a})
case(any_arch, "v_accvgpr_mov_b32 a20, a2", {"a2": "u32a"}, {"a20": u32a})
case(any_arch, "v_swap_b32 v2, v4", {"v2": "u32a", "v4": "u32b"}, {"v2": u32b, "v4": u32a})
case(any_arch, "v_nop", {"v2": "u32a"}, {"v2": u32a})
case(any_arch, "v_lshlrev_b32_sdwa v20, v2, v4 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:BYTE_1 src1_sel:WORD_1", {"v2": "u32a", "v4": "u32b"},
     {"v20": (u32b >> u32(16)) << (u32a >> u32(8) & u32(31))})
case(any_arch, "v_or_b32_sdwa v20, v2, v4 dst_sel:WORD_1 dst_unused:UNUSED_PAD src0_sel:BYTE_0 src1_sel:BYTE_3", {"v2": "u32a", "v4": "u32b"},
     {"v20": ((u32a & u32(255)) | (u32b >> u32(24))) << u32(16)})
case(any_arch, "v_mov_b32_sdwa v20, v2 dst_sel:BYTE_2 dst_unused:UNUSED_PRESERVE src0_sel:WORD_1", {"v2": "u32a", "v20": "u32b"},
     {"v20": (u32b & u32(0xff00ffff)) | (u32a >> u32(16) & u32(255)) << u32(16)})
case(any_arch, "v_add_u32_sdwa v20, sext(v2), v4 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:BYTE_1 src1_sel:DWORD", {"v2": "u32a", "v4": "u32b"},
     {"v20": (I((u32a >> u32(8)) << u32(24)) >> 24).view(u32) + u32b})
for dpp, source in (("quad_perm:[3,0,1,2]", [l & ~3 | [3, 0, 1, 2][l & 3] for l in range(N)]), ("row_ror:3", [(l - 3) % 16 for l in range(N)]), ("row_mirror", [15 - l for l in range(N)]),
                    ("row_half_mirror", [l & ~7 | 7 - l % 8 for l in range(N)])):
    held = inputs["u32b"]
    case(any_arch, f"v_mov_b32_dpp v20, v2 {dpp} row_mask:0xf bank_mask:0xf", {"v2": "u32a", "v20": "u32b"}, {"v20": np.array([held[l] if s == 5 else u32a[s] for l, s in enumerate(source)], u32)})
    case(any_arch, f"v_add_u32_dpp v20, v2, v4 {dpp} row_mask:0xf bank_mask:0x7 bound_ctrl:1", {"v2": "u32a", "v4": "u32c", "v20": "u32b"},
         {"v20": np.array([held[l] if l >= 12 else (0 if s == 5 else int(u32a[s])) + int(u32c[l]) & 0xffffffff for l, s in enumerate(source)], u32)})
for dpp, step in (("row_shr:4", -4), ("row_shl:2", 2)):
    case(any_arch, f"v_mov_b32_dpp v20, v2 {dpp} row_mask:0xf bank_mask:0xf", {"v2": "u32a", "v20": "u32b"},
         {"v20": np.array([u32a[l + step] if 0 <= l + step < 16 and l + step != 5 else u32b[l] for l in range(N)], u32)})

# ---- pairs and halves
def packed(name, args, op, more="", selects=None):
    low, high = selects or ([0] * len(args), [1] * len(args))
    get = lambda a, s: H(inputs[a] >> u32(16 * s)) if "f16" in name else h16(inputs[a] >> u32(16 * s))
    part = lambda sel: bits(op(*(get(a, s) for a, s in zip(args, sel))))
    registers = [f"v{2 + 2 * k}" for k in range(len(args))]
    case(any_arch, f"{name} v20, {', '.join(registers)}{more}", dict(zip(registers, args)), {"v20": (part(low) & u32(0xffff)) | part(high) << u32(16)})
packed("v_pk_add_f16", ("pair16a", "pair16b"), lambda a, b: a + b)
packed("v_pk_mul_f16", ("pair16a", "pair16b"), lambda a, b: a * b, " op_sel:[1,0] op_sel_hi:[0,1]", ([1, 0], [0, 1]))
packed("v_pk_max_f16", ("pair16a", "pair16b"), most); packed("v_pk_min_f16", ("pair16a", "pair16b"), least)
packed("v_pk_fma_f16", ("pair16a", "pair16b", "pair16c"), lambda a, b, c: (a.astype(np.longdouble) * b + c).astype(f16))
packed("v_pk_add_u16", ("u32a", "u32b"), lambda a, b: a + b); packed("v_pk_sub_i16", ("u32a", "u32b"), lambda a, b: a - b)
packed("v_pk_mul_lo_u16", ("u32a", "u32b"), lambda a, b: a * b); packed("v_pk_mad_u16", ("u32a", "u32b", "u32c"), lambda a, b, c: a * b + c)
packed("v_pk_add_i16", ("u32a", "u32b"), lambda a, b: a + b); packed("v_pk_sub_u16", ("u32a", "u32b"), lambda a, b: a - b)
packed("v_pk_mad_i16", ("u32a", "u32b", "u32c"), lambda a, b, c: a * b + c); packed("v_pk_min_i16", ("u32a", "u32b"), lambda a, b: np.minimum(a.view(np.int16), b.view(np.int16)))
packed("v_pk_max_u16", ("u32a", "u32b"), np.maximum); packed("v_pk_min_u16", ("u32a", "u32b"), np.minimum)
packed("v_pk_max_i16", ("u32a", "u32b"), lambda a, b: np.maximum(a.view(np.int16), b.view(np.int16))); packed("v_pk_lshlrev_b16", ("u32a", "u32b"), lambda a, b: b << (a & np.uint16(15)))
packed("v_pk_lshrrev_b16", ("u32a", "u32b"), lambda a, b: b >> (a & np.uint16(15))); packed("v_pk_ashrrev_i16", ("u32a", "u32b"), lambda a, b: b.view(np.int16) >> (a & np.uint16(15)).view(np.int16))
def pair(name, op, args, more="", selects=None, signs=None):
    low, high = selects or ([0] * len(args), [1] * len(args))
    part = lambda sel, s: bits(op(*(F(wrap(inputs[a] >> u64(32 * k))) * f32(sign) for a, k, sign in zip(args, sel, s)))).astype(u64)
    signs = signs or ([1] * len(args), [1] * len(args))
    registers = [f"v[{2 + 2 * k}:{3 + 2 * k}]" for k in range(len(args))]
    case(any_arch, f"{name} v[20:21], {', '.join(registers)}{more}", dict(zip(registers, args)), {"v[20:21]": part(low, signs[0]) | part(high, signs[1]) << u64(32)})
pair32a, pair32b, pair32c = (W((rng.standard_normal(N) * 5).astype(f32).view(u32)) | W((rng.standard_normal(N)).astype(f32).view(u32)) << u64(32) for _ in range(3))
inputs.update(pair32a=pair32a, pair32b=pair32b, pair32c=pair32c)
pair("v_pk_fma_f32", fma, ("pair32a", "pair32b", "pair32c"))
pair("v_pk_fma_f32", fma, ("pair32a", "pair32b", "pair32c"), " op_sel:[1,0,0] op_sel_hi:[0,1,0]", ([1, 0, 0], [0, 1, 0]))
pair("v_pk_mul_f32", lambda a, b: a * b, ("pair32a", "pair32b"), " neg_lo:[1,0] neg_hi:[0,1]", None, ([-1, 1], [1, -1]))
pair("v_pk_add_f32", lambda a, b: a + b, ("pair32a", "pair32b"), " op_sel_hi:[1,0]", ([0, 0], [1, 0]))
case(any_arch, "v_pk_mov_b32 v[20:21], v[2:3], v[4:5] op_sel:[1,0]", {"v[2:3]": "u64a", "v[4:5]": "u64b"}, {"v[20:21]": u64a >> u64(32) | (u64b & M32) << u64(32)})
hf = lambda x, s: H(x >> u32(16 * s)).astype(f32)
case(any_arch, "v_fma_mix_f32 v20, v2, -v4, |v6| op_sel:[1,0,0] op_sel_hi:[1,1,0]", {"v2": "pair16a", "v4": "pair16b", "v6": "f32c"}, {"v20": fma(hf(pair16a, 1), -hf(pair16b, 0), np.abs(F(f32c)))})
mixed16 = (hf(pair16a, 0).astype(np.longdouble) * hf(pair16b, 1) + F(small)).astype(f16)
case(any_arch, "v_fma_mixlo_f16 v20, v2, v4, v6 op_sel:[0,1,0] op_sel_hi:[1,1,0]", {"v2": "pair16a", "v4": "pair16b", "v6": "small", "v20": "u32b"}, {"v20": (u32b & u32(0xffff0000)) | bits(mixed16)})
case(any_arch, "v_fma_mixhi_f16 v20, v2, v4, v6 op_sel:[0,1,0] op_sel_hi:[1,1,0]", {"v2": "pair16a", "v4": "pair16b", "v6": "small", "v20": "u32b"}, {"v20": (u32b & u32(0xffff)) | bits(mixed16) << u32(16)})

# ---- masks: carries, compares, selection
EXEC = 0xffdf
def as_mask(flags): return np.array([sum(1 << l for l in range(N) if flags[l] and EXEC >> l & 1)], u64)
carry_in = np.array([0x5a3c >> l & 1 for l in range(N)], u64)
for name, op in {"v_add_co_u32": lambda a, b: W(a) + W(b), "v_sub_co_u32": lambda a, b: W(a) - W(b), "v_subrev_co_u32": lambda a, b: W(b) - W(a)}.items():
    total = op(u32a, u32b)
    case(any_arch, f"{name}_e64 v20, s[20:21], v2, v4", {"v2": "u32a", "v4": "u32b"}, {"v20": wrap(total), "s[20:21]": as_mask(total >> u64(32) & u64(1))})
for name, op in {"v_addc_co_u32": lambda a, b: W(a) + W(b) + carry_in, "v_subb_co_u32": lambda a, b: W(a) - W(b) - carry_in, "v_subbrev_co_u32": lambda a, b: W(b) - W(a) - carry_in}.items():
    total = op(u32a, u32b)
    case(any_arch, f"{name}_e32 v20, vcc, v2, v4, vcc", {"v2": "u32a", "v4": "u32b", "vcc": "mask"}, {"v20": wrap(total), "vcc": as_mask(total >> u64(32) & u64(1))})
case(any_arch, "v_cndmask_b32_e32 v20, v2, v4, vcc", {"v2": "u32a", "v4": "u32b", "vcc": "mask"}, {"v20": np.where(carry_in, u32b, u32a)})
product = W(u32a) * W(u32b)
case(any_arch, "v_mad_u64_u32 v[20:21], s[20:21], v2, v4, v[6:7]", {"v2": "u32a", "v4": "u32b", "v[6:7]": "u64a"}, {"v[20:21]": product + u64a, "s[20:21]": as_mask(product + u64a < product)})
signed_product = (S(u32a) * S(u32b)).view(u64)
case(any_arch, "v_mad_i64_i32 v[20:21], s[20:21], v2, v4, v[6:7]", {"v2": "u32a", "v4": "u32b", "v[6:7]": "u64a"}, {"v[20:21]": signed_product + u64a})
nothing, everything = lambda a, b: np.zeros(N, bool), lambda a, b: np.ones(N, bool)
relations = {"f": nothing, "lt": lambda a, b: a < b, "eq": lambda a, b: a == b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}
for kind, view, a, b in (("f32", F, "f32a", "f32b"), ("f16", H, "f16a", "f16b"), ("f64", D, "f64a", "f64b"), ("u32", lambda x: x, "u32a", "u32b"), ("i32", I, "u32a", "u32b"), ("u16", h16, "u32a", "u32b"), ("i16", s16, "u32a", "u32b"), ("u64", lambda x: x, "u64a", "u64b"), ("i64", lambda x: x.view(i64), "u64a", "u64b")):
    x, y = view(inputs[a]), view(inputs[b])
    ra, rb = ("v[2:3]", "v[4:5]") if inputs[a].dtype == u64 else ("v2", "v4")
    all_relations = dict(relations)
    if kind[0] == "f":
        all_relations.update({"lg": lambda a, b: (a < b) | (a > b), "o": lambda a, b: ~(np.isnan(a) | np.isnan(b)), "u": lambda a, b: np.isnan(a) | np.isnan(b), "nlt": lambda a, b: ~(a < b), "neq": lambda a, b: ~(a == b), "nle": lambda a, b: ~(a <= b), "ngt": lambda a, b: ~(a > b), "nge": lambda a, b: ~(a >= b), "nlg": lambda a, b: ~((a < b) | (a > b)), "tru": everything})
    else:
        all_relations.update({"ne": lambda a, b: a != b, "t": everything})
    for relation, op in all_relations.items():
        case(any_arch, f"v_cmp_{relation}_{kind}_e32 vcc, {ra}, {rb}", {ra: a, rb: b}, {"vcc": as_mask(op(x, y))})
        case(any_arch, f"v_cmpx_{relation}_{kind}_e32 vcc, {ra}, {rb}", {ra: a, rb: b}, {"vcc": as_mask(op(x, y)), "exec": as_mask(op(x, y))})
classes = np.array([1 << lane % 10 | 1 << 3 * lane % 10 for lane in range(N)], u32); inputs["classes"] = classes
def classify(x, mantissa, exponent):  # the bit of signalling NaN, quiet NaN, -infinity, -normal, -denormal, -0, and upwards again
    x = int(x) & (1 << 1 + mantissa + exponent) - 1
    e, m, negative = x >> mantissa & (1 << exponent) - 1, x & (1 << mantissa) - 1, x >> mantissa + exponent
    if e == (1 << exponent) - 1 and m: return m >> mantissa - 1
    size = 3 if e == (1 << exponent) - 1 else 2 if e else 1 if m else 0
    return 5 - size if negative else 6 + size
for kind, name, mantissa, exponent in (("f32", "f32a", 23, 8), ("f16", "f16a", 10, 5)):
    found = as_mask([int(c) >> classify(x, mantissa, exponent) & 1 for x, c in zip(inputs[name], classes)])
    case(any_arch, f"v_cmp_class_{kind}_e32 vcc, v2, v4", {"v2": name, "v4": "classes"}, {"vcc": found})
    case(any_arch, f"v_cmpx_class_{kind}_e32 vcc, v2, v4", {"v2": name, "v4": "classes"}, {"vcc": found, "exec": found})

# ---- scalar: (result, scc)
def scalar(name, args, op, condition_in=False):
    register = lambda a, k: f"s[{2 + 2 * k}:{3 + 2 * k}]" if inputs[a].dtype == u64 else f"s{2 + 2 * k}"
    before = {register(a, k): a for k, a in enumerate(args)}
    sources = ", ".join(before)
    if condition_in: before["scc"] = "condition"
    out = op(*(inputs[a] for a in args))
    result, scc = out if isinstance(out, tuple) else (out, None)
    after = {}
    d = ""
    if result is not None:
        d = "s[20:21]" if bits(result).dtype == u64 else "s20"
        after[d] = result
    if scc is not None: after["scc"] = np.asarray(scc).astype(u32)
    case(any_arch, f"{name} {d + ', ' if d else ''}{sources}", before, after)
over = lambda x: ((x > 2**31 - 1) | (x < -2**31)).astype(u32)
nonzero = lambda r: (r, bits(r) != 0)
for name, op in {
        "s_add_u32": lambda a, b: (a + b, W(a) + W(b) > M32), "s_sub_u32": lambda a, b: (a - b, b > a), "s_add_i32": lambda a, b: (a + b, over(S(a) + S(b))), "s_sub_i32": lambda a, b: (a - b, over(S(a) - S(b))),
        "s_min_i32": lambda a, b: (np.minimum(I(a), I(b)), I(a) < I(b)), "s_max_i32": lambda a, b: (np.maximum(I(a), I(b)), I(a) > I(b)), "s_min_u32": lambda a, b: (np.minimum(a, b), a < b), "s_max_u32": lambda a, b: (np.maximum(a, b), a > b),
        "s_and_b32": lambda a, b: nonzero(a & b), "s_or_b32": lambda a, b: nonzero(a | b), "s_xor_b32": lambda a, b: nonzero(a ^ b), "s_andn2_b32": lambda a, b: nonzero(a & ~b), "s_orn2_b32": lambda a, b: nonzero(a | ~b),
        "s_nand_b32": lambda a, b: nonzero(~(a & b)), "s_nor_b32": lambda a, b: nonzero(~(a | b)), "s_xnor_b32": lambda a, b: nonzero(~(a ^ b)),
        "s_lshl_b32": lambda a, b: nonzero(a << (b & u32(31))), "s_lshr_b32": lambda a, b: nonzero(a >> (b & u32(31))), "s_ashr_i32": lambda a, b: nonzero(I(a) >> I(b & u32(31))),
        "s_mul_i32": lambda a, b: wrap(W(a) * W(b)), "s_mul_hi_u32": lambda a, b: (W(a) * W(b) >> u64(32)).astype(u32), "s_mul_hi_i32": lambda a, b: wrap((S(a) * S(b) >> 32).view(u64)),
        "s_bfm_b32": lambda a, b: ((u32(1) << (a & u32(31))) - u32(1)) << (b & u32(31)), "s_absdiff_i32": lambda a, b: nonzero(wrap(np.abs(S(a) - S(b)).view(u64))),
        **{f"s_lshl{n}_add_u32": lambda a, b, n=n: (wrap((W(a) << u64(n)) + W(b)), (W(a) << u64(n)) + W(b) > M32) for n in (1, 2, 3, 4)}, "s_pack_ll_b32_b16": lambda a, b: (a & u32(0xffff)) | b << u32(16), "s_pack_lh_b32_b16": lambda a, b: (a & u32(0xffff)) | (b & u32(0xffff0000)),
        "s_pack_hh_b32_b16": lambda a, b: a >> u32(16) | (b & u32(0xffff0000)),
        "s_cmp_eq_i32": lambda a, b: (None, a == b), "s_cmp_lg_i32": lambda a, b: (None, a != b), "s_cmp_gt_i32": lambda a, b: (None, I(a) > I(b)), "s_cmp_ge_i32": lambda a, b: (None, I(a) >= I(b)), "s_cmp_lt_i32": lambda a, b: (None, I(a) < I(b)), "s_cmp_le_i32": lambda a, b: (None, I(a) <= I(b)),
        "s_cmp_gt_u32": lambda a, b: (None, a > b), "s_cmp_ge_u32": lambda a, b: (None, a >= b), "s_cmp_lt_u32": lambda a, b: (None, a < b), "s_cmp_le_u32": lambda a, b: (None, a <= b), "s_cmp_eq_u32": lambda a, b: (None, a == b), "s_cmp_lg_u32": lambda a, b: (None, a != b),
        "s_bitcmp1_b32": lambda a, b: (None, a >> (b & u32(31)) & u32(1)), "s_bitcmp0_b32": lambda a, b: (None, ~(a >> (b & u32(31))) & u32(1))}.items():
    scalar(name, ("u32a", "u32b"), op)
widths = ((rng.integers(0, 33, N) << 16) | rng.integers(0, 32, N)).astype(u32); inputs["widths"] = widths
def scalar_field(a, p, most, signed):
    out = []
    for x, q in zip(a, p):
        o, n = int(q) & (most - 1), int(q) >> 16 & 127
        v = (int(x) - (1 << most) if signed and int(x) >> (most - 1) else int(x)) >> o
        if n < most: v &= (1 << n) - 1
        if signed and 0 < n < most and v >> (n - 1) & 1: v -= 1 << n
        out.append(v & ((1 << most) - 1))
    return np.array(out, u64 if most == 64 else u32)
scalar("s_bfe_u32", ("u32a", "widths"), lambda a, b: nonzero(scalar_field(a, b, 32, False))); scalar("s_bfe_i32", ("u32a", "widths"), lambda a, b: nonzero(scalar_field(a, b, 32, True)))
scalar("s_bfe_u64", ("u64a", "widths"), lambda a, b: nonzero(scalar_field(a, b, 64, False))); scalar("s_bfe_i64", ("u64a", "widths"), lambda a, b: nonzero(scalar_field(a, b, 64, True)))
scalar("s_addc_u32", ("u32a", "u32b"), lambda a, b: (wrap(W(a) + W(b) + W(condition)), W(a) + W(b) + W(condition) > M32), True)
scalar("s_subb_u32", ("u32a", "u32b"), lambda a, b: (wrap(W(a) - W(b) - W(condition)), W(b) + W(condition) > W(a)), True)
scalar("s_cselect_b32", ("u32a", "u32b"), lambda a, b: np.where(condition, a, b), True); scalar("s_cselect_b64", ("u64a", "u64b"), lambda a, b: np.where(condition, a, b), True)
for name, op in {"s_and_b64": lambda a, b: nonzero(a & b), "s_or_b64": lambda a, b: nonzero(a | b), "s_xor_b64": lambda a, b: nonzero(a ^ b), "s_andn2_b64": lambda a, b: nonzero(a & ~b), "s_orn2_b64": lambda a, b: nonzero(a | ~b),
                 "s_nand_b64": lambda a, b: nonzero(~(a & b)), "s_nor_b64": lambda a, b: nonzero(~(a | b)), "s_xnor_b64": lambda a, b: nonzero(~(a ^ b)), "s_cmp_eq_u64": lambda a, b: (None, a == b), "s_cmp_lg_u64": lambda a, b: (None, a != b)}.items():
    scalar(name, ("u64a", "u64b"), op)
scalar("s_lshl_b64", ("u64a", "shift"), lambda a, b: nonzero(a << W(b & u32(63)))); scalar("s_lshr_b64", ("u64a", "shift"), lambda a, b: nonzero(a >> W(b & u32(63)))); scalar("s_ashr_i64", ("u64a", "shift"), lambda a, b: nonzero(a.view(i64) >> W(b & u32(63)).astype(i64)))
count = lambda a: np.array([bin(int(x)).count("1") for x in a], u32)
first = lambda a: np.array([(int(x) & -int(x)).bit_length() - 1 if x else 0xffffffff for x in a], u32)
for name, arg, op in (("s_mov_b32", "u32a", lambda a: a), ("s_mov_b64", "u64a", lambda a: a), ("s_not_b32", "u32a", lambda a: nonzero(~a)), ("s_not_b64", "u64a", lambda a: nonzero(~a)),
                      ("s_brev_b32", "u32a", lambda a: np.array([int(f"{int(x):032b}"[::-1], 2) for x in a], u32)), ("s_bcnt1_i32_b32", "u32a", lambda a: nonzero(count(a))), ("s_bcnt1_i32_b64", "u64a", lambda a: nonzero(count(a))),
                      ("s_ff1_i32_b32", "u32a", first), ("s_ff1_i32_b64", "u64a", first), ("s_flbit_i32_b32", "u32a", clz), ("s_sext_i32_i8", "u32a", lambda a: (I(a << u32(24)) >> 24)), ("s_sext_i32_i16", "u32a", lambda a: (I(a << u32(16)) >> 16)),
                      ("s_abs_i32", "u32a", lambda a: nonzero(wrap(np.abs(S(a)).view(u64))))):
    scalar(name, (arg,), op)
def sign_length(a, width):  # leading bits that equal the first
    rest = [int(x) ^ ((1 << width) - 1 if int(x) >> width - 1 else 0) for x in a]
    return np.array([width - x.bit_length() if x else 0xffffffff for x in rest], u32)
scalar("s_flbit_i32", ("u32a",), lambda a: sign_length(a, 32)); scalar("s_flbit_i32_i64", ("u64a",), lambda a: sign_length(a, 64))
scalar("s_flbit_i32_b64", ("u64a",), lambda a: np.array([64 - int(x).bit_length() if x else 0xffffffff for x in a], u32))
for name, table, before, most, op in (("s_bitset0_b32 s20", u32a, "u32a", 31, lambda a, bit: a & ~bit), ("s_bitset1_b32 s20", u32a, "u32a", 31, lambda a, bit: a | bit),
                                      ("s_bitset0_b64 s[20:21]", u64a, "u64a", 63, lambda a, bit: a & ~bit), ("s_bitset1_b64 s[20:21]", u64a, "u64a", 63, lambda a, bit: a | bit)):
    target = name.split()[1]
    case(any_arch, f"{name}, s2", {"s2": "shift", target: before}, {target: op(table, table.dtype.type(1) << (shift & u32(most)).astype(table.dtype))})
scalar("s_bfm_b64", ("shift", "u32c"), lambda a, b: ((u64(1) << W(a & u32(63))) - u64(1)) << W(b & u32(63)))
scalar("s_brev_b64", ("u64a",), lambda a: np.array([int(f"{int(x):064b}"[::-1], 2) for x in a], u64))
scalar("s_bitcmp0_b64", ("u64a", "shift"), lambda a, b: (None, ~(a >> W(b & u32(63))) & u64(1))); scalar("s_bitcmp1_b64", ("u64a", "shift"), lambda a, b: (None, a >> W(b & u32(63)) & u64(1)))
masks = u64a & u64(0xffff); masks[:3] = (0, EXEC, 0xffff); inputs["masks"] = masks
for name, op in {"and": lambda a, e: a & e, "or": lambda a, e: a | e, "xor": lambda a, e: a ^ e, "andn2": lambda a, e: a & ~e, "orn2": lambda a, e: a | ~e, "nand": lambda a, e: ~(a & e),
                 "nor": lambda a, e: ~(a | e), "xnor": lambda a, e: ~(a ^ e), "andn1": lambda a, e: ~a & e, "orn1": lambda a, e: ~a | e}.items():
    found = op(masks, u64(EXEC))
    case(any_arch, f"s_{name}_saveexec_b64 s[20:21], s[2:3]", {"s[2:3]": "masks"}, {"s[20:21]": np.full(N, EXEC, u64), "exec": found, "scc": (found != 0).astype(u32)})
    if name in ("andn1", "andn2"):
        case(any_arch, f"s_{name}_wrexec_b64 s[20:21], s[2:3]", {"s[2:3]": "masks"}, {"s[20:21]": found, "exec": found, "scc": (found != 0).astype(u32)})
k16 = np.full(N, -300 & 0xffffffff, u32)
case(any_arch, "s_movk_i32 s20, 0xfed4", {"s2": "u32a"}, {"s20": k16})
case(any_arch, "s_addk_i32 s20, 0xfed4", {"s20": "u32a"}, {"s20": u32a + k16, "scc": over(S(u32a) - 300)})
case(any_arch, "s_mulk_i32 s20, 0xfed4", {"s20": "u32a"}, {"s20": wrap((S(u32a) * -300).view(u64))})
around = np.array([0xfed3, 0xfed4, 0xfed5, 0xfffffed3, 0xfffffed4, 0xfffffed5] + [0, 1, 0x7fffffff, 0x80000000] * 2 + [5, 0xffffffff], u32); inputs["around"] = around
for relation, op in {"eq": lambda a, b: a == b, "lg": lambda a, b: a != b, "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b}.items():
    case(any_arch, f"s_cmpk_{relation}_i32 s20, 0xfed4", {"s20": "around"}, {"scc": op(S(around), -300).astype(u32)})
    case(any_arch, f"s_cmpk_{relation}_u32 s20, 0xfed4", {"s20": "around"}, {"scc": op(around, u32(0xfed4)).astype(u32)})
case(any_arch, "s_getpc_b64 s[20:21]", {"s2": "u32a"}, {"s[20:21]": np.full(N, 4, u64)})
memory_cases.Cases(case, inputs, rng).run()

# ---- gfx950
three("v_cvt_pk_bf16_f32", ("f32a", "half_range"), lambda a, b: bf16(F(a)) | bf16(F(b)) << u32(16), arch="gfx950")
three("v_cvt_pk_f16_f32", ("f32a", "half_range"), lambda a, b: bits(F(a).astype(f16)) | bits(F(b).astype(f16)) << u32(16), arch="gfx950")
for table in (0x01, 0x96, 0xca, 0xf8):  # nor, parity, selection by the first, a | b & c
    three("v_bitop3_b32", ("u32a", "u32b", "u32c"), lambda a, b, c: np.array([sum((table >> ((int(x) >> k & 1) << 2 | (int(y) >> k & 1) << 1 | (int(z) >> k & 1)) & 1) << k for k in range(32)) for x, y, z in zip(a, b, c)], u32),
          arch="gfx950", extra=f" bitop3:{table if table < 10 else hex(table)}")
vector("v_cvt_f32_bf16", ("f16a",), lambda a: (a << u32(16)).view(f32), arch="gfx950")

def encode(arch, texts):
    if arch == "gfx950":
        command = [sys.executable, "-m", "ziglang", "clang", "-cc1as", "-triple", "amdgcn-amd-amdhsa", "-target-cpu", arch, "-filetype", "asm", "-show-encoding", "-o", "-", "/dev/stdin"]
    else:
        command = ["llvm-mc-19", "-triple=amdgcn-amd-amdhsa", "-mcpu=" + arch, "-show-encoding"]
    out = subprocess.run(command, input="\n".join(texts) + "\n", capture_output=True, text=True)
    if out.returncode: sys.exit(out.stderr)
    found = [l.split("encoding: [")[1].rstrip("]") for l in out.stdout.splitlines() if "encoding: [" in l]
    assert len(found) == len(texts), (len(found), len(texts))
    words = []
    for f in found:
        b = bytes(int(x, 16) for x in f.split(","))
        words.append(",".join("%08x" % int.from_bytes(b[k:k + 4], "little") for k in range(0, len(b), 4)))
    return words

encodings = {}
for arch in ("gfx90a", "gfx942", "gfx950"):
    texts = [t for a, t, _, _ in lines if a == arch]
    encodings.update(((arch, t), w) for t, w in zip(texts, encode(arch, texts)))
print("# Made by make_instructions.py, which says what the columns mean.")
for name, values in inputs.items():
    print(f"input {name} " + ",".join(("%08x" if values.dtype == u32 else "%016x") % int(x) for x in values))
for arch, text, before, after in lines:
    print(f"{arch} | {text} | {encodings[arch, text]} | {before} | {after}")
