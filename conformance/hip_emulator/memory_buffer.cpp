// Buffer loads and stores: a descriptor of four scalar registers, and offsets.  Raw buffers alone: no stride, no swizzle, no index.
#include "conformance/hip_emulator/memory_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

struct Buffer {
  u64 base;     // with the scalar offset, which the range check leaves out
  u32 records;  // bytes
};

Buffer read_descriptor(Wave &wave, const Instruction &i) {
  Operand word = i.base;
  word.dwords = 1;
  u32 words[4];
  for (u32 &value : words) value = sure(wave, word), ++word.index;
  if (words[1] >> 16 & 0x3fff) throw Trap("a buffer descriptor with a stride, which the emulator does not take");
  if (words[1] >> 30) throw Trap("a buffer descriptor with swizzling, which the emulator does not take");
  if (words[3] >> 23 & 1) throw Trap("a buffer descriptor that adds the thread's number, which the emulator does not take");
  const u64 base = join(words[0], words[1]) & 0xffffffffffff;
  return {base + sure(wave, i.scalar_offset), words[2]};
}

struct Offsets {
  alignas(64) u64 address[lane_count];
  alignas(64) u32 offset[lane_count];
};

// Offsets within the buffer, and what they mean as addresses.
Buffer find_offsets(Wave &wave, const Instruction &i, Offsets &found, int bytes, bool is_atomic = false) {
  const Buffer buffer = read_descriptor(wave, i);
  const u64 lanes = wave.exec();
  const u32 fixed = static_cast<u32>(i.offset);
  if (i.offset_enabled) {
    require_written(~wave.defined[i.memory_address.index], lanes, i.memory_address, "an offset");
    const u32 *given = wave.v[i.memory_address.index];
    for (int lane = 0; lane < lane_count; ++lane) found.offset[lane] = given[lane] + fixed;
  } else {
    for (u32 &offset : found.offset) offset = fixed;
  }
  for (int lane = 0; lane < lane_count; ++lane) found.address[lane] = buffer.base + found.offset[lane];
  if (wave.strictly_aligned || is_atomic) require_aligned(found.address, lanes, bytes);
  return buffer;
}

// Lanes whose `bytes`, from `skip` on, lie in the buffer: others read zeros and write nothing.
u64 within(const Buffer &buffer, const Offsets &offsets, u64 lanes, u32 skip, u32 bytes) {
  u64 inside = 0;
  for (int lane = 0; lane < lane_count; ++lane) inside |= u64{u64{offsets.offset[lane]} + skip + bytes <= buffer.records} << lane;
  return inside & lanes;
}

template <int bytes>
void run_load(Wave &wave, const Instruction &i) {
  Offsets at;
  const Buffer buffer = find_offsets(wave, i, at, bytes);
  const u64 lanes = wave.exec();
  constexpr int words = bytes < 4 ? 1 : bytes / 4;
  constexpr u32 part = bytes < 4 ? bytes : 4;
  Scratch loaded[words];
  const u64 whole = within(buffer, at, lanes, 0, bytes);
  wave.reach->check(at.address, whole, bytes, false);
  const u32 *held = wave.v[i.destination.index];
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    u32 value[words] = {};
    if (whole >> lane & 1) {
      std::memcpy(value, reinterpret_cast<const u8 *>(at.address[lane]), bytes);
    } else if constexpr (words > 1) {
      for (u32 k = 0; k < words; ++k) {  // each word is in or out by itself
        if (u64{at.offset[lane]} + 4 * k + part > buffer.records) continue;
        wave.reach->check(at.address[lane] + 4 * k, part, false);
        std::memcpy(&value[k], reinterpret_cast<const u8 *>(at.address[lane]) + 4 * k, part);
      }
    }
    if constexpr (bytes < 4) value[0] = extended(value[0], bytes, extension_of(i.row->detail), held[lane]);
    for (int k = 0; k < words; ++k) loaded[k].lanes[lane] = value[k];
  }
  if (!i.to_lds) {
    for (int k = 0; k < words; ++k) commit(wave, i.destination.index + k, loaded[k].lanes, lanes, 0);
    return wave.outstanding.add_vector(i.loads, *wave.local, wave.id);
  }
  Operand m0;
  m0.kind = Operand::scalar, m0.index = code::m0;
  const u32 begin = (sure(wave, m0) & 0xffff) + static_cast<u32>(i.offset);
  std::vector<Outstanding::Transfer> transfers;
  for (u64 left = lanes; left; left &= left - 1)
    for (int k = 0, lane = std::countr_zero(left); k < words; ++k)
      transfers.push_back({begin + static_cast<u32>(4 * words * lane + 4 * k), loaded[k].lanes[lane]});
  wave.outstanding.add_transfer(std::move(transfers), *wave.local, wave.id);
}

template <int bytes>
void run_store(Wave &wave, const Instruction &i) {
  Offsets at;
  const Buffer buffer = find_offsets(wave, i, at, bytes);
  const u64 lanes = wave.exec();
  constexpr int words = bytes < 4 ? 1 : bytes / 4;
  constexpr u32 part = bytes < 4 ? bytes : 4;
  const int shift = extension_of(i.row->detail) == Extension::high_half ? 16 : 0;
  for (u32 k = 0; k < words; ++k) {
    const u64 inside = within(buffer, at, lanes, 4 * k, part);
    require_written(~wave.defined[i.data.index + k], inside, i.data, "data of a store");
    for (u64 &address : at.address) address += k ? 4 : 0;
    wave.reach->check(at.address, inside, part, true);
    for (u64 left = inside; left; left &= left - 1) {
      const int lane = std::countr_zero(left);
      const u32 value = wave.v[i.data.index + k][lane] >> shift;
      std::memcpy(reinterpret_cast<u8 *>(at.address[lane]), &value, part);
    }
  }
  wave.outstanding.add_vector({}, *wave.local, wave.id);
}

template <auto f>
void run_atomic(Wave &wave, const Instruction &i) {
  Offsets at;
  const Buffer buffer = find_offsets(wave, i, at, 4, true);
  const u64 lanes = wave.exec(), inside = within(buffer, at, lanes, 0, 4);
  wave.reach->check(at.address, inside, 4, true);
  require_written(~wave.defined[i.data.index], inside, i.data, "data of an atomic");
  Scratch before;
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    before.lanes[lane] = inside >> lane & 1 ? atomically<f>(reinterpret_cast<u32 *>(at.address[lane]), wave.v[i.data.index][lane]) : 0;
  }
  if (i.destination.kind == Operand::vector) commit(wave, i.destination.index, before.lanes, lanes, 0);
  wave.outstanding.add_vector(i.loads, *wave.local, wave.id);
}

template <int bytes>
constexpr Row load(u16 opcode, const char *name, Extension extension = Extension::zeros) {
  return load_row(mubuf, opcode, name, run_load<bytes>, bytes, extension);
}
template <int bytes>
constexpr Row store(u16 opcode, const char *name, Extension extension = Extension::zeros) {
  return store_row(mubuf, opcode, name, run_store<bytes>, bytes, extension);
}
template <auto f>
constexpr Row atomic(u16 opcode, const char *name) {
  return atomic_row(mubuf, opcode, name, run_atomic<f>);
}

using enum Extension;
constexpr Row rows[] = {
    load<1>(0x10, "buffer_load_ubyte"),
    load<1>(0x11, "buffer_load_sbyte", sign),
    load<2>(0x12, "buffer_load_ushort"),
    load<2>(0x13, "buffer_load_sshort", sign),
    load<4>(0x14, "buffer_load_dword"),
    load<8>(0x15, "buffer_load_dwordx2"),
    load<12>(0x16, "buffer_load_dwordx3"),
    load<16>(0x17, "buffer_load_dwordx4"),
    store<1>(0x18, "buffer_store_byte"),
    store<1>(0x19, "buffer_store_byte_d16_hi", high_half),
    store<2>(0x1a, "buffer_store_short"),
    store<2>(0x1b, "buffer_store_short_d16_hi", high_half),
    store<4>(0x1c, "buffer_store_dword"),
    store<8>(0x1d, "buffer_store_dwordx2"),
    store<12>(0x1e, "buffer_store_dwordx3"),
    store<16>(0x1f, "buffer_store_dwordx4"),
    load<1>(0x20, "buffer_load_ubyte_d16", low_half),
    load<1>(0x21, "buffer_load_ubyte_d16_hi", high_half),
    load<2>(0x24, "buffer_load_short_d16", low_half),
    load<2>(0x25, "buffer_load_short_d16_hi", high_half),
    atomic<exchange>(0x40, "buffer_atomic_swap"),
    atomic<add_integer>(0x42, "buffer_atomic_add"),
    atomic<least_unsigned>(0x45, "buffer_atomic_umin"),
    atomic<most_unsigned>(0x47, "buffer_atomic_umax"),
    atomic<add_float>(0x4d, "buffer_atomic_add_f32"),
    atomic<add_halves>(0x4e, "buffer_atomic_pk_add_f16"),
};

}  // namespace

std::span<const Row> buffer_rows() { return rows; }

}  // namespace lamina::hip_emulator
