// Branches, waits, barriers, and loads into scalar registers.
#include "conformance/hip_emulator/memory_rows.h"

namespace lamina::hip_emulator {
namespace {

using enum Format;

void run_nothing(Wave &, const Instruction &) {}
void run_end(Wave &wave, const Instruction &) {
  wave.outstanding.wait_vector(0, *wave.local, wave.id);
  wave.done = true;
}
void run_barrier(Wave &wave, const Instruction &) {
  if (wave.outstanding.local()) throw Trap("a barrier while LDS accesses are under way: s_waitcnt lgkmcnt(0) is missing");
  wave.at_barrier = true;
}
void run_wait(Wave &wave, const Instruction &i) {
  const u32 counts = static_cast<u32>(i.immediate);
  wave.outstanding.wait_vector((counts & 15) | (counts >> 14 & 3) << 4, *wave.local, wave.id);
  wave.outstanding.wait_local(counts >> 8 & 15);
}
// The address after this instruction, as device code sees it.
void run_get_address(Wave &wave, const Instruction &i) { write_scalar64(wave, i.destination, wave.code + i.address + i.bytes, all_lanes); }
void run_trap(Wave &, const Instruction &) { throw Trap("s_trap: the program aborts"); }

// `detail`: the condition's opcode.
void run_branch(Wave &wave, const Instruction &i) {
  const auto vcc_known = [&] {
    if (wave.scalar64_defined(code::vcc) != all_lanes) throw Trap("branches on VCC, parts of which nothing has written");
  };
  bool taken = true;
  switch (i.row->opcode) {
    case 0x04:
    case 0x05:
      if (!wave.scc_defined) throw Trap("branches on SCC, which comes from a register that nothing has written");
      taken = wave.scc == (i.row->opcode == 0x05);
      break;
    case 0x06: vcc_known(), taken = wave.vcc() == 0; break;
    case 0x07: vcc_known(), taken = wave.vcc() != 0; break;
    case 0x08: taken = wave.exec() == 0; break;
    case 0x09: taken = wave.exec() != 0; break;
    default: break;
  }
  if (taken) wave.next = i.target;
}

template <int words>
void load_words(Wave &wave, const Instruction &i, u64 address) {
  wave.reach->check(address, 4 * words, false);
  u32 value[words];
  std::memcpy(value, reinterpret_cast<const u8 *>(address), sizeof value);
  for (int k = 0; k < words; ++k) wave.set_scalar(i.destination.index + k, value[k]);
  wave.outstanding.add_scalar(i.loads);
}

u32 scalar_offset(Wave &wave, const Instruction &i) { return i.scalar_offset.kind == Operand::none ? 0 : sure(wave, i.scalar_offset); }

template <int words>
void run_load(Wave &wave, const Instruction &i) {
  const u64 address = sure64(wave, i.base) + static_cast<u64>(i64{i.offset}) + scalar_offset(wave, i);
  load_words<words>(wave, i, address & ~u64{3});
}

template <int words>
void run_buffer_load(Wave &wave, const Instruction &i) {
  Operand word = i.base;
  word.dwords = 1;
  u32 descriptor[4];
  for (u32 &value : descriptor) value = sure(wave, word), ++word.index;
  if (descriptor[1] >> 16 & 0x3fff) throw Trap("a buffer descriptor with a stride, which the emulator does not take");
  const u64 offset = (static_cast<u64>(i64{i.offset}) + scalar_offset(wave, i)) & ~u64{3};
  if (offset + 4 * words > descriptor[2]) throw Trap("a scalar load past the end of its buffer");
  load_words<words>(wave, i, (join(descriptor[0], descriptor[1]) & 0xffffffffffff) + offset);
}

template <int words>
constexpr Row load(u16 opcode, const char *name) {
  constexpr Type type = words == 1 ? Type::b32 : words == 2 ? Type::b64 : words == 4 ? Type::b128 : words == 8 ? Type::b256 : Type::b512;
  return {smem, opcode, name, opcode < 8 ? run_load<words> : run_buffer_load<words>, type, {opcode < 8 ? Type::b64 : Type::b128}};
}

constexpr Row rows[] = {
    {sopp, 0x00, "s_nop", run_nothing},
    {sopp, 0x01, "s_endpgm", run_end},
    {sopp, 0x02, "s_branch", run_branch},
    {sopp, 0x04, "s_cbranch_scc0", run_branch},
    {sopp, 0x05, "s_cbranch_scc1", run_branch},
    {sopp, 0x06, "s_cbranch_vccz", run_branch},
    {sopp, 0x07, "s_cbranch_vccnz", run_branch},
    {sopp, 0x08, "s_cbranch_execz", run_branch},
    {sopp, 0x09, "s_cbranch_execnz", run_branch},
    {sopp, 0x0a, "s_barrier", run_barrier},
    {sopp, 0x0c, "s_waitcnt", run_wait},
    {sopp, 0x0e, "s_sleep", run_nothing},
    {sopp, 0x0f, "s_setprio", run_nothing},
    {sopp, 0x12, "s_trap", run_trap},
    {sop1, 0x1c, "s_getpc_b64", run_get_address, Type::b64},
    load<1>(0x00, "s_load_dword"),
    load<2>(0x01, "s_load_dwordx2"),
    load<4>(0x02, "s_load_dwordx4"),
    load<8>(0x03, "s_load_dwordx8"),
    load<16>(0x04, "s_load_dwordx16"),
    load<1>(0x08, "s_buffer_load_dword"),
    load<2>(0x09, "s_buffer_load_dwordx2"),
    load<4>(0x0a, "s_buffer_load_dwordx4"),
    load<8>(0x0b, "s_buffer_load_dwordx8"),
    load<16>(0x0c, "s_buffer_load_dwordx16"),
};

}  // namespace

std::span<const Row> control_rows() { return rows; }

}  // namespace lamina::hip_emulator
