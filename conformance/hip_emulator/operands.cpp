#include "conformance/hip_emulator/operands.h"

namespace lamina::hip_emulator {
namespace {

void modify32(const Operand &operand, const u32 *from, u32 *to) {
  const u32 keep = operand.absolute ? 0x7fffffffu : ~0u, flip = operand.negative ? 0x80000000u : 0;
  for (int lane = 0; lane < lane_count; ++lane) to[lane] = (from[lane] & keep) ^ flip;
}

void modify16(const Operand &operand, const u32 *from, u32 *to) {
  const u32 keep = operand.absolute ? 0x7fffu : 0xffffu, flip = operand.negative ? 0x8000u : 0;
  for (int lane = 0; lane < lane_count; ++lane) to[lane] = (from[lane] & keep) ^ flip;
}

void take_part(const Operand &operand, const u32 *from, u32 *to) {
  const bool byte = operand.part <= Part::byte3;
  const int shift = byte ? 8 * static_cast<int>(operand.part) : 16 * (static_cast<int>(operand.part) - static_cast<int>(Part::word0));
  const int unused = byte ? 24 : 16;
  if (operand.sign_extend)
    for (int lane = 0; lane < lane_count; ++lane) to[lane] = static_cast<u32>(static_cast<i32>(from[lane] >> shift << unused) >> unused);
  else
    for (int lane = 0; lane < lane_count; ++lane) to[lane] = from[lane] >> shift << unused >> unused;
}

bool is_half(Type type) { return type == Type::f16; }

}  // namespace

u32 scalar_value(const Wave &wave, const Operand &operand, u32 &known) {
  if (operand.kind == Operand::constant) return static_cast<u32>(operand.value);
  if (operand.index < 128) {
    known &= wave.scalar_defined[operand.index];
    return wave.s[operand.index];
  }
  if (operand.index == code::scc) {
    if (!wave.scc_defined) known = 0;
    return wave.scc;
  }
  if (operand.index == code::vcc_is_zero) return wave.vcc() == 0;
  return wave.exec() == 0;
}

u64 scalar_value64(const Wave &wave, const Operand &operand, u64 &known) {
  if (operand.kind == Operand::constant) return operand.value;
  known &= wave.scalar64_defined(operand.index);
  return wave.scalar64(operand.index);
}

void write_scalar(Wave &wave, const Operand &operand, u32 value, u32 known) {
  if (operand.index >= code::exec && known != ~0u) throw Trap("EXEC is set from a register that nothing has written");
  wave.set_scalar(operand.index, value, known);
}

void write_scalar64(Wave &wave, const Operand &operand, u64 value, u64 known) {
  if (operand.index >= code::exec && known != all_lanes) throw Trap("EXEC is set from a register that nothing has written");
  wave.set_scalar64(operand.index, value, known);
}

u32 sure(const Wave &wave, const Operand &operand) {
  u32 known = ~0u;
  const u32 value = scalar_value(wave, operand, known);
  if (known != ~0u) throw Trap("uses scalar register " + std::to_string(operand.index) + ", which nothing has written");
  return value;
}

u64 sure64(const Wave &wave, const Operand &operand) {
  u64 known = all_lanes;
  const u64 value = scalar_value64(wave, operand, known);
  if (known != all_lanes) throw Trap("uses scalar registers from " + std::to_string(operand.index) + ", which nothing has written");
  return value;
}

const u32 *raw_values(const Wave &wave, const Operand &operand, int high, Scratch &scratch, u64 &undefined) {
  switch (operand.kind) {
    case Operand::vector: undefined |= ~wave.defined[operand.index + high]; return wave.v[operand.index + high];
    case Operand::constant:
      if (high == 0 || operand.dwords == 1) return operand.lanes;
      for (u32 &lane : scratch.lanes) lane = static_cast<u32>(operand.value >> 32);
      return scratch.lanes;
    default: break;
  }
  u32 known = ~0u;
  Operand shifted = operand;
  shifted.index += static_cast<u16>(high);
  const u32 value = scalar_value(wave, shifted, known);
  if (known != ~0u) undefined = all_lanes;
  for (u32 &lane : scratch.lanes) lane = value;
  return scratch.lanes;
}

const u32 *values(const Wave &wave, const Operand &operand, Scratch &scratch, u64 &undefined) {
  const u32 *found = raw_values(wave, operand, 0, scratch, undefined);
  if (!operand.modified) return found;
  if (operand.part != Part::whole) take_part(operand, found, scratch.lanes), found = scratch.lanes;
  if (operand.negative || operand.absolute) {
    if (is_half(operand.type)) modify16(operand, found, scratch.lanes);
    else modify32(operand, found, scratch.lanes);
    found = scratch.lanes;
  }
  return found;
}

const u64 *wide_values(const Wave &wave, const Operand &operand, WideScratch &scratch, u64 &undefined, u64 &undefined_low) {
  if (operand.kind == Operand::vector) {
    const u32 *low = wave.v[operand.index], *high = wave.v[operand.index + 1];
    undefined |= ~wave.defined[operand.index] | ~wave.defined[operand.index + 1];
    undefined_low |= ~wave.defined[operand.index];
    for (int lane = 0; lane < lane_count; ++lane) scratch.lanes[lane] = join(low[lane], high[lane]);
  } else {
    u64 known = all_lanes;
    const u64 value = scalar_value64(wave, operand, known);
    if (known != all_lanes) undefined = all_lanes;
    if (static_cast<u32>(known) != ~0u) undefined_low = all_lanes;
    for (u64 &lane : scratch.lanes) lane = value;
  }
  if (operand.absolute)
    for (u64 &lane : scratch.lanes) lane &= ~(u64{1} << 63);
  if (operand.negative)
    for (u64 &lane : scratch.lanes) lane ^= u64{1} << 63;
  return scratch.lanes;
}

const u64 *wide_values(const Wave &wave, const Operand &operand, WideScratch &scratch, u64 &undefined) {
  u64 low = 0;
  return wide_values(wave, operand, scratch, undefined, low);
}

namespace {

// The lane whose value `lane` sees, or -1 where there is none.
int neighbour(u16 control, int lane) {
  const int row = lane & ~15, place = lane & 15, amount = control & 15;
  if (control < 0x100) return (lane & ~3) | (control >> (2 * (lane & 3)) & 3);              // quad_perm
  if (control > 0x100 && control < 0x110) return place + amount < 16 ? lane + amount : -1;  // row_shl
  if (control > 0x110 && control < 0x120) return place >= amount ? lane - amount : -1;      // row_shr
  if (control > 0x120 && control < 0x130) return row | ((place - amount) & 15);             // row_ror
  if (control >= 0x150 && control < 0x160) return row | amount;                             // row_newbcast
  switch (control) {
    case 0x130: return lane < 63 ? lane + 1 : -1;  // wave_shl
    case 0x134: return (lane + 1) & 63;            // wave_rol
    case 0x138: return lane - 1;                   // wave_shr
    case 0x13c: return (lane - 1) & 63;            // wave_ror
    case 0x140: return row | (15 - place);         // row_mirror
    case 0x141: return (lane & ~7) | (7 - (lane & 7));
    case 0x142: return row - 1;               // row_bcast15: row 0 has no row before it
    case 0x143: return lane >= 32 ? 31 : -1;  // row_bcast31
    default: return -2;
  }
}

}  // namespace

u64 permute_lanes(const Wave &wave, const Dpp &dpp, const u32 *from, u32 *to, u64 &undefined) {
  const u64 exec = wave.exec(), known = ~undefined;
  u64 written = 0, missing = 0;
  for (int lane = 0; lane < lane_count; ++lane) {
    int source = neighbour(dpp.control, lane);
    if (source == -2) throw Trap("an unknown DPP control");
    if (source >= 0 && !(exec >> source & 1)) source = -1;  // a lane that EXEC turns off has no value
    to[lane] = source >= 0 ? from[source] : 0;
    if (source >= 0 && !(known >> source & 1)) missing |= u64{1} << lane;
    const bool enabled = (dpp.row_mask >> (lane / 16) & 1) && (dpp.bank_mask >> (lane % 16 / 4) & 1);
    if (enabled && (source >= 0 || dpp.bound_control)) written |= u64{1} << lane;
  }
  undefined = missing;
  return written & exec;
}

void commit(Wave &wave, int index, const u32 *result, u64 active, u64 undefined) {
  u32 *to = wave.v[index];
  if (active == all_lanes) {
    std::memcpy(to, result, sizeof(Lanes));
  } else {
    for (int half = 0; half < 2; ++half) {
      const u32 mask = static_cast<u32>(active >> (32 * half));
      for (int lane = 0; lane < 32; ++lane) {
        const u32 keep = (mask >> lane & 1) - 1;
        to[32 * half + lane] = (to[32 * half + lane] & keep) | (result[32 * half + lane] & ~keep);
      }
    }
  }
  wave.define(index, active, undefined);
}

}  // namespace lamina::hip_emulator
