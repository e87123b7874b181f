// Operands of an instruction as 64 values, with modifiers, DPP and SDWA applied; and results back into registers.
#pragma once
#include "conformance/hip_emulator/wave.h"

namespace lamina::hip_emulator {

struct alignas(64) Scratch {
  u32 lanes[lane_count];
};
struct alignas(64) WideScratch {
  u64 lanes[lane_count];
};

// A scalar operand, or a constant.  `known`: which of its bits were ever written.
u32 scalar_value(const Wave &, const Operand &, u32 &known);
u64 scalar_value64(const Wave &, const Operand &, u64 &known);
void write_scalar(Wave &, const Operand &, u32 value, u32 known);
void write_scalar64(Wave &, const Operand &, u64 value, u64 known);
// The value of a scalar that decides something: throws Trap where it was never written.
u32 sure(const Wave &, const Operand &);
u64 sure64(const Wave &, const Operand &);

// 64 values of 4 bytes: either where they lie, or in `scratch`.  Lanes that hold nothing are added to `undefined`.
const u32 *values(const Wave &, const Operand &, Scratch &scratch, u64 &undefined);
// The register `high` dwords after the first, without modifiers.
const u32 *raw_values(const Wave &, const Operand &, int high, Scratch &scratch, u64 &undefined);
// `undefined_low`: lanes whose low half holds nothing.
const u64 *wide_values(const Wave &, const Operand &, WideScratch &scratch, u64 &undefined, u64 &undefined_low);
const u64 *wide_values(const Wave &, const Operand &, WideScratch &scratch, u64 &undefined);

// DPP: the lanes of `from` as their neighbours see them.  Returns the lanes that are written.
u64 permute_lanes(const Wave &, const Dpp &, const u32 *from, u32 *to, u64 &undefined);

// Lanes of `active` get what `result` holds.
void commit(Wave &, int index, const u32 *result, u64 active, u64 undefined);

}  // namespace lamina::hip_emulator
