// LDS instructions, and those that move values between lanes through its crossbar.
#include "conformance/hip_emulator/memory_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

// Byte addresses: the register's value plus an offset in steps of `scale`.
void find_addresses(Wave &wave, const Instruction &i, u32 offset, Scratch &found) {
  require_written(~wave.defined[i.memory_address.index], wave.exec(), i.memory_address, "an address");
  const u32 *given = wave.v[i.memory_address.index];
  for (int lane = 0; lane < lane_count; ++lane) found.lanes[lane] = given[lane] + offset;
}

// LDS takes wide accesses at any multiple of a word, but whole ones are what kernels mean: Checks::aligned asks for them.
int alignment(const Wave &wave, int bytes) { return bytes > 4 && (!wave.strictly_aligned || bytes == 12) ? 4 : bytes; }

u32 joined_offset(const Instruction &i) { return static_cast<u32>(i.offset | i.offset1 << 8); }

template <int bytes>
void run_read(Wave &wave, const Instruction &i) {
  Scratch address;
  find_addresses(wave, i, joined_offset(i), address);
  const u64 lanes = wave.exec();
  u64 undefined = 0;
  if constexpr (bytes >= 4) {
    Scratch loaded[bytes / 4];
    wave.local->read(wave.id, address.lanes, lanes, bytes / 4, alignment(wave, bytes), reinterpret_cast<u32(*)[64]>(loaded), undefined);
    for (int k = 0; k < bytes / 4; ++k) commit(wave, i.destination.index + k, loaded[k].lanes, lanes, undefined);
  } else {
    Scratch loaded;
    const u32 *held = wave.v[i.destination.index];
    for (u64 left = lanes; left; left &= left - 1) {
      const int lane = std::countr_zero(left);
      bool defined = true;
      const u32 value = wave.local->read_part(wave.id, address.lanes[lane], bytes, defined);
      loaded.lanes[lane] = extended(value, bytes, extension_of(i.row->detail), held[lane]);
      if (!defined) undefined |= u64{1} << lane;
    }
    commit(wave, i.destination.index, loaded.lanes, lanes, undefined);
  }
  wave.outstanding.add_local(i.loads);
}

void write_words(Wave &wave, const Operand &data, int words, int align, const Scratch &address) {
  const u32 *from[4];
  u64 undefined = 0;
  for (int k = 0; k < words; ++k) {
    from[k] = wave.v[data.index + k];
    undefined |= ~wave.defined[data.index + k];
  }
  wave.local->write(wave.id, address.lanes, wave.exec(), words, align, from, undefined);
}

template <int bytes>
void run_write(Wave &wave, const Instruction &i) {
  Scratch address;
  find_addresses(wave, i, joined_offset(i), address);
  if constexpr (bytes >= 4) {
    write_words(wave, i.data, bytes / 4, alignment(wave, bytes), address);
  } else {
    const int shift = extension_of(i.row->detail) == Extension::high_half ? 16 : 0;
    for (u64 left = wave.exec(); left; left &= left - 1) {
      const int lane = std::countr_zero(left);
      wave.local->write_part(wave.id, address.lanes[lane], bytes, wave.v[i.data.index][lane] >> shift,
                             wave.defined[i.data.index] >> lane & 1);
    }
  }
  wave.outstanding.add_local({});
}

// Two places at once, each `bytes` wide, at offsets in steps of bytes * scale.
template <int bytes, int scale>
void run_read2(Wave &wave, const Instruction &i) {
  const i32 offsets[2] = {i.offset, i.offset1};
  const u64 lanes = wave.exec();
  Scratch loaded[bytes / 2];
  u64 undefined[2] = {};
  for (int which = 0; which < 2; ++which) {
    Scratch address;
    find_addresses(wave, i, static_cast<u32>(offsets[which] * bytes * scale), address);
    wave.local->read(wave.id, address.lanes, lanes, bytes / 4, alignment(wave, bytes),
                     reinterpret_cast<u32(*)[64]>(loaded + which * bytes / 4), undefined[which]);
  }
  for (int k = 0; k < bytes / 2; ++k) commit(wave, i.destination.index + k, loaded[k].lanes, lanes, undefined[k / (bytes / 4)]);
  wave.outstanding.add_local(i.loads);
}

template <int bytes, int scale>
void run_write2(Wave &wave, const Instruction &i) {
  Scratch address;
  find_addresses(wave, i, static_cast<u32>(i.offset * bytes * scale), address);
  write_words(wave, i.data, bytes / 4, alignment(wave, bytes), address);
  find_addresses(wave, i, static_cast<u32>(i.offset1 * bytes * scale), address);
  write_words(wave, i.data1, bytes / 4, alignment(wave, bytes), address);
  wave.outstanding.add_local({});
}

template <auto f>
void run_atomic(Wave &wave, const Instruction &i) {
  Scratch address, before;
  find_addresses(wave, i, joined_offset(i), address);
  const u64 lanes = wave.exec();
  require_written(~wave.defined[i.data.index], lanes, i.data, "data of an atomic");
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    u32 &word = wave.local->atomic(wave.id, address.lanes[lane]);
    before.lanes[lane] = word;
    word = f(word, wave.v[i.data.index][lane]);
  }
  if (i.destination.kind == Operand::vector) commit(wave, i.destination.index, before.lanes, lanes, 0);
  wave.outstanding.add_local(i.loads);
}

// Each lane gets the data of the lane that its address names (in bytes, 4 a lane); nothing from a lane that EXEC turns off.
void run_pull(Wave &wave, const Instruction &i) {
  Scratch address, result;
  find_addresses(wave, i, joined_offset(i), address);
  const u64 exec = wave.exec(), known = wave.defined[i.data.index];
  u64 undefined = 0;
  for (int lane = 0; lane < lane_count; ++lane) {
    const int from = static_cast<int>(address.lanes[lane] >> 2 & 63);
    const bool on = exec >> from & 1;
    result.lanes[lane] = on ? wave.v[i.data.index][from] : 0;
    if (on && !(known >> from & 1)) undefined |= u64{1} << lane;
  }
  commit(wave, i.destination.index, result.lanes, exec, undefined);
  wave.outstanding.add_local(i.loads);
}

void run_push(Wave &wave, const Instruction &i) {
  Scratch address, result{};
  find_addresses(wave, i, joined_offset(i), address);
  const u64 exec = wave.exec(), known = wave.defined[i.data.index];
  u64 undefined = 0;
  for (u64 left = exec; left; left &= left - 1) {
    const int lane = std::countr_zero(left), to = static_cast<int>(address.lanes[lane] >> 2 & 63);
    result.lanes[to] = wave.v[i.data.index][lane];
    if (!(known >> lane & 1)) undefined |= u64{1} << to;
  }
  commit(wave, i.destination.index, result.lanes, exec, undefined);
  wave.outstanding.add_local(i.loads);
}

void run_swizzle(Wave &wave, const Instruction &i) {
  const u32 pattern = joined_offset(i);
  if ((pattern & 0xe000) == 0xe000 || (pattern & 0xc000) == 0xc000) throw Trap("a DS swizzle mode that the emulator does not take");
  Scratch result;
  const u64 exec = wave.exec(), known = wave.defined[i.memory_address.index];
  u64 undefined = 0;
  for (int lane = 0; lane < lane_count; ++lane) {
    const u32 l = static_cast<u32>(lane);
    const u32 from = pattern & 0x8000 ? (l & ~3u) | (pattern >> (2 * (l & 3)) & 3)
                                      : (l & 32) | ((((l & 31) & (pattern & 31)) | (pattern >> 5 & 31)) ^ (pattern >> 10 & 31));
    const bool on = exec >> from & 1;
    result.lanes[lane] = on ? wave.v[i.memory_address.index][from] : 0;
    if (on && !(known >> from & 1)) undefined |= u64{1} << lane;
  }
  commit(wave, i.destination.index, result.lanes, exec, undefined);
  wave.outstanding.add_local(i.loads);
}

template <int bytes>
constexpr Row read(u16 opcode, const char *name, Extension extension = Extension::zeros) {
  return load_row(ds, opcode, name, run_read<bytes>, bytes, extension);
}
template <int bytes>
constexpr Row write(u16 opcode, const char *name, Extension extension = Extension::zeros) {
  return store_row(ds, opcode, name, run_write<bytes>, bytes, extension);
}
template <int bytes, int scale>
constexpr Row read2(u16 opcode, const char *name) {
  return {ds, opcode, name, run_read2<bytes, scale>, words_type(2 * bytes), {}, Layout::plain, nullptr, access(bytes)};
}
template <int bytes, int scale>
constexpr Row write2(u16 opcode, const char *name) {
  return {ds,      opcode,       name, run_write2<bytes, scale>, Type::none, {words_type(bytes), words_type(bytes)}, Layout::plain,
          nullptr, access(bytes)};
}
template <auto f, bool returns>
constexpr Row atomic(u16 opcode, const char *name) {
  return atomic_row(ds, opcode, name, run_atomic<f>, returns);
}

using enum Extension;
constexpr Row rows[] = {
    atomic<add_integer, false>(0x00, "ds_add_u32"),
    atomic<least_signed, false>(0x05, "ds_min_i32"),
    atomic<most_signed, false>(0x06, "ds_max_i32"),
    atomic<least_unsigned, false>(0x07, "ds_min_u32"),
    atomic<most_unsigned, false>(0x08, "ds_max_u32"),
    atomic<and_integer, false>(0x09, "ds_and_b32"),
    atomic<or_integer, false>(0x0a, "ds_or_b32"),
    atomic<add_float, false>(0x15, "ds_add_f32"),
    atomic<add_integer, true>(0x20, "ds_add_rtn_u32"),
    atomic<least_signed, true>(0x25, "ds_min_rtn_i32"),
    atomic<most_signed, true>(0x26, "ds_max_rtn_i32"),
    atomic<least_unsigned, true>(0x27, "ds_min_rtn_u32"),
    atomic<most_unsigned, true>(0x28, "ds_max_rtn_u32"),
    atomic<add_float, true>(0x35, "ds_add_rtn_f32"),
    write<4>(0x0d, "ds_write_b32"),
    write2<4, 1>(0x0e, "ds_write2_b32"),
    write2<4, 64>(0x0f, "ds_write2st64_b32"),
    write<1>(0x1e, "ds_write_b8"),
    write<2>(0x1f, "ds_write_b16"),
    read<4>(0x36, "ds_read_b32"),
    read2<4, 1>(0x37, "ds_read2_b32"),
    read2<4, 64>(0x38, "ds_read2st64_b32"),
    read<1>(0x39, "ds_read_i8", sign),
    read<1>(0x3a, "ds_read_u8"),
    read<2>(0x3b, "ds_read_i16", sign),
    read<2>(0x3c, "ds_read_u16"),
    {ds, 0x3d, "ds_swizzle_b32", run_swizzle, Type::b32},
    {ds, 0x3e, "ds_permute_b32", run_push, Type::b32, {Type::b32}},
    {ds, 0x3f, "ds_bpermute_b32", run_pull, Type::b32, {Type::b32}},
    write<8>(0x4d, "ds_write_b64"),
    write2<8, 1>(0x4e, "ds_write2_b64"),
    write2<8, 64>(0x4f, "ds_write2st64_b64"),
    write<1>(0x54, "ds_write_b8_d16_hi", high_half),
    write<2>(0x55, "ds_write_b16_d16_hi", high_half),
    read<1>(0x56, "ds_read_u8_d16", low_half),
    read<1>(0x57, "ds_read_u8_d16_hi", high_half),
    read<2>(0x5a, "ds_read_u16_d16", low_half),
    read<2>(0x5b, "ds_read_u16_d16_hi", high_half),
    read<8>(0x76, "ds_read_b64"),
    read2<8, 1>(0x77, "ds_read2_b64"),
    read2<8, 64>(0x78, "ds_read2st64_b64"),
    write<12>(0xde, "ds_write_b96"),
    write<16>(0xdf, "ds_write_b128"),
    read<12>(0xfe, "ds_read_b96"),
    read<16>(0xff, "ds_read_b128"),
};

}  // namespace

std::span<const Row> local_rows() { return rows; }

}  // namespace lamina::hip_emulator
