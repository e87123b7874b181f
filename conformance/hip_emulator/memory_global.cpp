// Global loads, stores and atomics: 64-bit addresses in registers, or a scalar base and 32-bit offsets.
#include "conformance/hip_emulator/memory_rows.h"

namespace lamina::hip_emulator {

void require_written(u64 undefined, u64 lanes, const Operand &operand, const char *what) {
  const u64 missing = undefined & lanes;
  if (!missing) return;
  const bool accumulator = operand.kind == Operand::vector && operand.index >= 256;
  std::string name(1, operand.kind != Operand::vector ? 's' : accumulator ? 'a' : 'v');
  name += std::to_string(operand.index - (accumulator ? 256 : 0));
  throw Trap(name + " is used as " + what + ", but nothing has written it (lane " + std::to_string(std::countr_zero(missing)) + ")");
}

void require_aligned(const u64 *address, u64 lanes, int bytes) {
  const u64 below = bytes >= 4 ? 3 : static_cast<u64>(bytes) - 1;
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    if (address[lane] & below)
      throw Trap("an access of " + std::to_string(bytes) + " bytes is not aligned (lane " + std::to_string(lane) + ")");
  }
}

namespace {

using enum Format;

struct Addresses {
  alignas(64) u64 at[lane_count];
};

void find_addresses(Wave &wave, const Instruction &i, Addresses &found, int bytes, bool is_atomic = false) {
  const u64 lanes = wave.exec(), offset = static_cast<u64>(i64{i.offset});
  u64 undefined = ~wave.defined[i.memory_address.index];
  const u32 *low = wave.v[i.memory_address.index];
  if (i.base.kind == Operand::scalar) {
    const u64 base = sure64(wave, i.base) + offset;
    for (int lane = 0; lane < lane_count; ++lane) found.at[lane] = base + low[lane];
  } else {
    const u32 *high = wave.v[i.memory_address.index + 1];
    undefined |= ~wave.defined[i.memory_address.index + 1];
    for (int lane = 0; lane < lane_count; ++lane) found.at[lane] = join(low[lane], high[lane]) + offset;
  }
  require_written(undefined, lanes, i.memory_address, "an address");
  if (wave.strictly_aligned || is_atomic) require_aligned(found.at, lanes, bytes);
}

const u8 *pointer(u64 address) { return reinterpret_cast<const u8 *>(address); }
u8 *writable(u64 address) { return reinterpret_cast<u8 *>(address); }

template <int bytes>
void run_load(Wave &wave, const Instruction &i) {
  Addresses address;
  find_addresses(wave, i, address, bytes);
  const u64 lanes = wave.exec();
  wave.reach->check(address.at, lanes, bytes, false);
  constexpr int words = bytes < 4 ? 1 : bytes / 4;
  Scratch loaded[words];
  const u32 *held = wave.v[i.destination.index];
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    u32 value[words] = {};
    std::memcpy(value, pointer(address.at[lane]), bytes);
    if constexpr (bytes < 4) value[0] = extended(value[0], bytes, extension_of(i.row->detail), held[lane]);
    for (int k = 0; k < words; ++k) loaded[k].lanes[lane] = value[k];
  }
  for (int k = 0; k < words; ++k) commit(wave, i.destination.index + k, loaded[k].lanes, lanes, 0);
  wave.outstanding.add_vector(i.loads, *wave.local, wave.id);
}

template <int bytes>
void run_store(Wave &wave, const Instruction &i) {
  Addresses address;
  find_addresses(wave, i, address, bytes);
  const u64 lanes = wave.exec();
  wave.reach->check(address.at, lanes, bytes, true);
  constexpr int words = bytes < 4 ? 1 : bytes / 4;
  const u32 *from[words];
  for (int k = 0; k < words; ++k) {
    from[k] = wave.v[i.data.index + k];
    require_written(~wave.defined[i.data.index + k], lanes, i.data, "data of a store");
  }
  const int shift = extension_of(i.row->detail) == Extension::high_half ? 16 : 0;
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    u32 value[words];
    for (int k = 0; k < words; ++k) value[k] = from[k][lane];
    if constexpr (bytes < 4) value[0] >>= shift;
    std::memcpy(writable(address.at[lane]), value, bytes);
  }
  wave.outstanding.add_vector({}, *wave.local, wave.id);
}

// Memory straight to LDS: lane l's bytes go to M0 + offset + l * bytes, once the wait is over.
template <int bytes>
void run_load_to_lds(Wave &wave, const Instruction &i) {
  Addresses address;
  find_addresses(wave, i, address, bytes);
  const u64 lanes = wave.exec();
  wave.reach->check(address.at, lanes, bytes, false);
  Operand m0;
  m0.kind = Operand::scalar, m0.index = code::m0;
  const u32 begin = (sure(wave, m0) & 0xffff) + static_cast<u32>(i.offset);
  std::vector<Outstanding::Transfer> transfers;
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    for (int k = 0; k < bytes / 4; ++k) {
      u32 value;
      std::memcpy(&value, pointer(address.at[lane]) + 4 * k, 4);
      transfers.push_back({begin + static_cast<u32>(bytes * lane + 4 * k), value});
    }
  }
  wave.outstanding.add_transfer(std::move(transfers), *wave.local, wave.id);
}

template <auto f>
void run_atomic(Wave &wave, const Instruction &i) {
  Addresses address;
  find_addresses(wave, i, address, 4, true);
  const u64 lanes = wave.exec();
  wave.reach->check(address.at, lanes, 4, true);
  require_written(~wave.defined[i.data.index], lanes, i.data, "data of an atomic");
  Scratch before;
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    before.lanes[lane] = atomically<f>(reinterpret_cast<u32 *>(address.at[lane]), wave.v[i.data.index][lane]);
  }
  if (i.destination.kind == Operand::vector) commit(wave, i.destination.index, before.lanes, lanes, 0);
  wave.outstanding.add_vector(i.loads, *wave.local, wave.id);
}

template <int bytes>
constexpr Row load(u16 opcode, const char *name, Extension extension = Extension::zeros) {
  return load_row(global, opcode, name, run_load<bytes>, bytes, extension);
}
template <int bytes>
constexpr Row store(u16 opcode, const char *name, Extension extension = Extension::zeros) {
  return store_row(global, opcode, name, run_store<bytes>, bytes, extension);
}
template <int bytes>
constexpr Row to_lds(u16 opcode, const char *name) {
  return Row{global, opcode, name, run_load_to_lds<bytes>, Type::none, {}, Layout::plain, nullptr, access(bytes)};
}
template <auto f>
constexpr Row atomic(u16 opcode, const char *name) {
  return atomic_row(global, opcode, name, run_atomic<f>);
}

using enum Extension;
constexpr Row rows[] = {
    load<1>(0x10, "global_load_ubyte"),
    load<1>(0x11, "global_load_sbyte", sign),
    load<2>(0x12, "global_load_ushort"),
    load<2>(0x13, "global_load_sshort", sign),
    load<4>(0x14, "global_load_dword"),
    load<8>(0x15, "global_load_dwordx2"),
    load<12>(0x16, "global_load_dwordx3"),
    load<16>(0x17, "global_load_dwordx4"),
    store<1>(0x18, "global_store_byte"),
    store<1>(0x19, "global_store_byte_d16_hi", high_half),
    store<2>(0x1a, "global_store_short"),
    store<2>(0x1b, "global_store_short_d16_hi", high_half),
    store<4>(0x1c, "global_store_dword"),
    store<8>(0x1d, "global_store_dwordx2"),
    store<12>(0x1e, "global_store_dwordx3"),
    store<16>(0x1f, "global_store_dwordx4"),
    load<1>(0x20, "global_load_ubyte_d16", low_half),
    load<1>(0x21, "global_load_ubyte_d16_hi", high_half),
    load<2>(0x24, "global_load_short_d16", low_half),
    load<2>(0x25, "global_load_short_d16_hi", high_half),
    to_lds<4>(0x2a, "global_load_lds_dword").on(Arch::gfx942, Arch::gfx950),
    to_lds<16>(0x7d, "global_load_lds_dwordx4").on(Arch::gfx950),
    atomic<exchange>(0x40, "global_atomic_swap"),
    atomic<add_integer>(0x42, "global_atomic_add"),
    atomic<subtract_integer>(0x43, "global_atomic_sub"),
    atomic<least_signed>(0x44, "global_atomic_smin"),
    atomic<least_unsigned>(0x45, "global_atomic_umin"),
    atomic<most_signed>(0x46, "global_atomic_smax"),
    atomic<most_unsigned>(0x47, "global_atomic_umax"),
    atomic<and_integer>(0x48, "global_atomic_and"),
    atomic<or_integer>(0x49, "global_atomic_or"),
    atomic<xor_integer>(0x4a, "global_atomic_xor"),
    atomic<add_float>(0x4d, "global_atomic_add_f32"),
    atomic<add_halves>(0x4e, "global_atomic_pk_add_f16"),
};

}  // namespace

std::span<const Row> global_rows() { return rows; }

}  // namespace lamina::hip_emulator
