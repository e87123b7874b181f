// The vector ALU's frame around the functions of one lane: sources, EXEC, DPP, SDWA, output modifiers.
#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

void modify_result(const Instruction &i, u32 *result) {
  const float scale = i.output_modifier == 1 ? 2.f : i.output_modifier == 2 ? 4.f : i.output_modifier == 3 ? 0.5f : 1.f;
  const bool is_half = i.row->result == Type::f16;
  if (!i.clamp && !i.output_modifier) return;
  for (int lane = 0; lane < lane_count; ++lane) {
    float value = is_half ? half_to_float(result[lane]) : as_float(result[lane]);
    value *= scale;
    if (i.clamp) value = value != value ? 0.f : minimum(maximum(value, 0.f), 1.f);
    result[lane] = is_half ? float_to_half(value) : as_bits(value);
  }
}

// Puts the low bits of `result` into a part of what the register held.
void place_part(const Instruction &i, const u32 *held, u32 *result) {
  const Part part = i.high_half ? Part::word1 : i.sdwa.destination;
  if (part == Part::whole) return;
  const bool byte = part <= Part::byte3;
  const int shift = byte ? 8 * static_cast<int>(part) : 16 * (static_cast<int>(part) - static_cast<int>(Part::word0));
  const u32 mask = (byte ? 0xffu : 0xffffu) << shift;
  const u8 unused = i.high_half ? 2 : i.sdwa.unused;
  for (int lane = 0; lane < lane_count; ++lane) {
    const u32 placed = result[lane] << shift & mask;
    const u32 sign = placed & mask & ~(mask >> 1) ? ~0u : 0u;
    const u32 above = ~(mask | (mask - 1));
    result[lane] = placed | (unused == 2 ? held[lane] & ~mask : unused == 1 ? sign & above : 0);
  }
}

}  // namespace

void run_lanes(Wave &wave, const Instruction &i) {
  Scratch scratch[3], result;
  const void *sources[3] = {};
  u64 undefined = 0, active = wave.exec();
  const int count = i.row->sources();
  if (i.has_dpp) {
    Scratch from;
    const u32 *given = raw_values(wave, i.source[0], 0, from, undefined);
    active = permute_lanes(wave, i.dpp, given, scratch[0].lanes, undefined);
    if (i.source[0].modified) {
      Operand seen = i.source[0];
      seen.kind = Operand::constant, seen.lanes = scratch[0].lanes;
      u64 none = 0;
      values(wave, seen, scratch[0], none);
    }
    sources[0] = scratch[0].lanes;
  } else if (count > 0) {
    sources[0] = values(wave, i.source[0], scratch[0], undefined);
  }
  for (int k = 1; k < count; ++k) sources[k] = values(wave, i.source[k], scratch[k], undefined);
  const int index = i.destination.index;
  if (i.plain_result && active == all_lanes) {
    i.function(wave.v[index], sources);
    wave.defined[index] = ~undefined;
    return;
  }
  i.function(result.lanes, sources);
  if (!i.plain_result) {
    modify_result(i, result.lanes);
    place_part(i, wave.v[index], result.lanes);
  }
  commit(wave, index, result.lanes, active, undefined);
}

void run_lanes_wide(Wave &wave, const Instruction &i) {
  Scratch narrow[3];
  WideScratch wide[3], result;
  const void *sources[3] = {};
  u64 undefined = 0, undefined_low = 0;
  for (int k = 0; k < i.row->sources(); ++k) {
    if (dwords_of(i.row->source[k]) == 2) {
      sources[k] = wide_values(wave, i.source[k], wide[k], undefined, undefined_low);
    } else {
      u64 missing = 0;
      sources[k] = values(wave, i.source[k], narrow[k], missing);
      undefined |= missing, undefined_low |= missing;
    }
  }
  i.function(result.lanes, sources);
  const u64 exec = wave.exec();
  if (dwords_of(i.row->result) == 1) return commit(wave, i.destination.index, reinterpret_cast<const u32 *>(result.lanes), exec, undefined);
  Scratch low, high;
  for (int lane = 0; lane < lane_count; ++lane) {
    low.lanes[lane] = static_cast<u32>(result.lanes[lane]);
    high.lanes[lane] = static_cast<u32>(result.lanes[lane] >> 32);
  }
  commit(wave, i.destination.index, low.lanes, exec, i.row->detail == low_from_low ? undefined_low : undefined);
  commit(wave, i.destination.index + 1, high.lanes, exec, undefined);
}

}  // namespace lamina::hip_emulator
