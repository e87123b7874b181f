// What the rows of global, buffer and LDS instructions share: how wide an access is and where its bits go.
#pragma once
#include "conformance/hip_emulator/lane_rows.h"
#include "conformance/hip_emulator/local_memory.h"
#include "conformance/hip_emulator/reach.h"

namespace lamina::hip_emulator {

// `detail` of a row: bytes of the access, and for one and two bytes what becomes of the rest of the register.
enum class Extension : u8 { zeros = 0, sign = 1, low_half = 2, high_half = 3 };
constexpr u8 access(int bytes, Extension extension = Extension::zeros) { return static_cast<u8>(bytes | static_cast<int>(extension) << 5); }
constexpr int bytes_of(u8 detail) { return detail & 31; }
constexpr Extension extension_of(u8 detail) { return static_cast<Extension>(detail >> 5); }

inline u32 extended(u32 value, int bytes, Extension extension, u32 held) {
  const int unused = 32 - 8 * bytes;
  switch (extension) {
    case Extension::zeros: return value;
    case Extension::sign: return static_cast<u32>(static_cast<i32>(value << unused) >> unused);
    case Extension::low_half: return (held & 0xffff0000) | (value & 0xffff);
    default: return (held & 0xffff) | value << 16;
  }
}
constexpr Type words_type(int bytes) { return bytes <= 4 ? Type::b32 : bytes == 8 ? Type::b64 : bytes == 12 ? Type::b96 : Type::b128; }

// Rows of instructions that load, store, or exchange a word.
constexpr Row load_row(Format format, u16 opcode, const char *name, Run run, int bytes, Extension extension = Extension::zeros) {
  return {format, opcode, name, run, words_type(bytes), {}, Layout::plain, nullptr, access(bytes, extension)};
}
constexpr Row store_row(Format format, u16 opcode, const char *name, Run run, int bytes, Extension extension = Extension::zeros) {
  return {format, opcode, name, run, Type::none, {words_type(bytes)}, Layout::plain, nullptr, access(bytes, extension)};
}
constexpr Row atomic_row(Format format, u16 opcode, const char *name, Run run, bool returns = true) {
  return {format, opcode, name, run, returns ? Type::b32 : Type::none, {Type::b32}, Layout::plain, nullptr, access(4)};
}

// Throws Trap where a lane's value was never written; `what` is "an address" or "data".
void require_written(u64 undefined, u64 lanes, const Operand &, const char *what);

// The addresses of `lanes` must be multiples of a word, or of the access where that is smaller.  GPUs ask that of atomics alone, because ROCm
// lets them take unaligned loads and stores; Checks::aligned asks it of everything.
void require_aligned(const u64 *address, u64 lanes, int bytes);

// Atomic operations on 4 bytes: `f` of what lies there and of the data gives what will.
template <auto f>
u32 atomically(u32 *word, u32 data) {
  u32 before = __atomic_load_n(word, __ATOMIC_RELAXED);
  while (!__atomic_compare_exchange_n(word, &before, f(before, data), false, __ATOMIC_RELAXED, __ATOMIC_RELAXED)) {}
  return before;
}
inline constexpr auto add_float = [](u32 a, u32 b) { return as_bits(as_float(a) + as_float(b)); };
inline constexpr auto add_integer = [](u32 a, u32 b) { return a + b; };
inline constexpr auto subtract_integer = [](u32 a, u32 b) { return a - b; };
inline constexpr auto exchange = [](u32, u32 b) { return b; };
inline constexpr auto least_signed = [](u32 a, u32 b) { return static_cast<i32>(a) < static_cast<i32>(b) ? a : b; };
inline constexpr auto most_signed = [](u32 a, u32 b) { return static_cast<i32>(a) > static_cast<i32>(b) ? a : b; };
inline constexpr auto least_unsigned = [](u32 a, u32 b) { return a < b ? a : b; };
inline constexpr auto most_unsigned = [](u32 a, u32 b) { return a > b ? a : b; };
inline constexpr auto and_integer = [](u32 a, u32 b) { return a & b; };
inline constexpr auto or_integer = [](u32 a, u32 b) { return a | b; };
inline constexpr auto xor_integer = [](u32 a, u32 b) { return a ^ b; };
inline constexpr auto add_halves = [](u32 a, u32 b) {
  const u32 low = float_to_half(half_to_float(a & 0xffff) + half_to_float(b & 0xffff));
  return low | float_to_half(half_to_float(a >> 16) + half_to_float(b >> 16)) << 16;
};

}  // namespace lamina::hip_emulator
