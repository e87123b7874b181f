// From the fields of an encoding and its row in the table to an instruction that can run.
#include <algorithm>

#include "conformance/hip_emulator/lane_rows.h"
#include "conformance/hip_emulator/program.h"

namespace lamina::hip_emulator {
namespace {

constexpr u16 reads_accumulator = 0x58, writes_accumulator = 0x59, moves_accumulator = 0x52, no_base = 0x7f, refines_quotient = 0x1e2;

bool is_float(Type type) { return type == Type::f16 || type == Type::f32 || type == Type::f64; }
bool is_16(Type type) { return type == Type::f16 || type == Type::b16; }
bool is_wide(Type type) { return type == Type::b64 || type == Type::f64 || type == Type::i64; }

u64 inline_float(u16 which, Type type) {
  constexpr double values[9] = {0.5, -0.5, 1, -1, 2, -2, 4, -4, 0.15915494309189535};
  const double value = values[which];
  if (type == Type::f64 || type == Type::b64 || type == Type::i64) return std::bit_cast<u64>(which == 8 ? 0.15915494309189532 : value);
  if (is_16(type) || type == Type::f16x2) return float_to_half(static_cast<float>(value));
  return as_bits(static_cast<float>(value));
}

class Decoder {
 public:
  Decoder(std::span<const u32> words, u32 address, Arch arch, Program &program) : f(read_fields(words)), program_(program) {
    i.address = address, i.bytes = f.words * 4u;
    i.row = find_row(f.format, f.opcode, arch);
  }
  bool known() const { return i.row != nullptr; }
  Instruction decode() {
    i.run = i.row->run, i.function = i.row->function;
    switch (f.format) {
      case Format::sop1:
      case Format::sop2:
      case Format::sopc: scalar(); break;
      case Format::sopk: scalar_short(); break;
      case Format::sopp: i.immediate = f.immediate, condition(); break;
      case Format::smem: scalar_memory(); break;
      case Format::vop1:
      case Format::vop2:
      case Format::vopc:
      case Format::vop3: vector(); break;
      case Format::vop3p: i.row->layout == Layout::matrix ? matrix() : packed(); break;
      case Format::ds: local(); break;
      case Format::flat:
      case Format::global: global(); break;
      case Format::mubuf: buffer(); break;
    }
    return i;
  }

 private:
  [[noreturn]] static void refuse(const std::string &what) { throw Refusal(what); }
  static Operand scalar_register(u16 code, int dwords) {
    if (code + dwords > 128) refuse("scalar registers past the last one");
    Operand operand;
    operand.kind = Operand::scalar, operand.index = code, operand.dwords = static_cast<u8>(dwords);
    return operand;
  }
  static Operand vector_register(u16 number, int dwords, bool accumulator) {
    if (number + dwords > 256) refuse("vector registers past the last one");
    Operand operand;
    operand.kind = Operand::vector, operand.dwords = static_cast<u8>(dwords),
    operand.index = static_cast<u16>(number + (accumulator ? 256 : 0));
    return operand;
  }
  Operand constant(u64 value) {
    Operand operand;
    operand.kind = Operand::constant, operand.value = value;
    const auto [at, made] = program_.constants.try_emplace(static_cast<u32>(value));
    Program::Constant &lanes = at->second;
    if (made) std::fill(std::begin(lanes.lanes), std::end(lanes.lanes), static_cast<u32>(value));
    operand.lanes = lanes.lanes;
    return operand;
  }
  Operand literal(Type type) {
    if (type == Type::f64) return constant(u64{f.literal} << 32);
    if (is_wide(type) && f.literal >> 31) refuse("a negative literal for 64 bits, whose extension is not certain");
    return constant(f.literal);
  }
  Operand source(u16 given, Type type, bool accumulator = false) {
    const int dwords = dwords_of(type);
    Operand operand;
    if (given >= code::vector) operand = vector_register(given - code::vector, dwords, accumulator);
    else if (given < code::inline_integer) operand = scalar_register(given, dwords);
    else if (given < code::inline_negative) operand = constant(given - code::inline_integer);
    else if (given <= 208) operand = constant(static_cast<u64>(-i64{given - 192}));
    else if (given >= code::inline_float && given <= 248) operand = constant(inline_float(given - code::inline_float, type));
    else if (given == code::literal) operand = literal(type);
    else if (given == code::vcc_is_zero || given == code::exec_is_zero || given == code::scc)
      operand.kind = Operand::scalar, operand.index = given;
    else refuse("source " + std::to_string(given) + ": apertures and LDS as an operand are not taken");
    operand.type = type;
    return operand;
  }
  static int first_of(const Operand &operand) { return operand.index + (operand.kind == Operand::scalar ? RegisterSet::scalars : 0); }
  static void add(RegisterSet &set, const Operand &operand) {
    if (operand.kind == Operand::vector || (operand.kind == Operand::scalar && operand.index < 128))
      set.add(first_of(operand), operand.dwords);
  }
  void touch(const Operand &operand) { add(i.touches, operand); }

  void scalar() {
    for (int k = 0; k < i.row->sources(); ++k) touch(i.source[k] = source(f.source[k], i.row->source[k]));
    if (i.row->result != Type::none) touch(i.destination = scalar_register(f.destination, dwords_of(i.row->result)));
  }
  void scalar_short() {
    const Operand given = constant(static_cast<u32>(f.immediate)), held = scalar_register(f.destination, 1);
    i.source = i.row->sources() == 1 ? std::array<Operand, 3>{given} : std::array<Operand, 3>{held, given};
    if (i.row->result != Type::none) i.destination = held;
    touch(held);
  }
  void condition() {
    if (f.opcode == 0x06 || f.opcode == 0x07) touch(scalar_register(code::vcc, 2));
    if (f.opcode == 0x08 || f.opcode == 0x09) touch(scalar_register(code::exec, 2));
  }
  void scalar_memory() {
    touch(i.base = scalar_register(f.base, dwords_of(i.row->source[0])));
    if (f.has_scalar_offset) touch(i.scalar_offset = scalar_register(f.scalar_offset, 1));
    i.offset = f.offset;
    i.destination = scalar_register(f.data, dwords_of(i.row->result));
    touch(i.destination);  // scalar loads return in any order
    add(i.loads, i.destination);
  }

  void modifiers(Operand &operand, int k) {
    operand.absolute = f.absolute >> k & 1, operand.negative = f.negative >> k & 1;
    if ((operand.absolute || operand.negative) && !is_float(operand.type)) refuse("a sign modifier on a source that is no floating point");
    if (f.select >> k & 1) {
      if (!is_16(operand.type)) refuse("op_sel on a source of 32 bits");
      operand.part = Part::word1;
    }
    if (f.has_sdwa && k < 2) operand.part = f.sdwa.source[k], operand.sign_extend = f.sdwa.sign_extend[k];
    operand.modified = operand.absolute || operand.negative || operand.part != Part::whole;
  }

  std::array<u16, 3> arranged_sources() const {
    std::array<u16, 3> codes = f.source;
    if (i.row->layout == Layout::accumulates) codes[2] = static_cast<u16>(code::vector + f.destination);
    if (i.row->layout == Layout::literal_last) codes[2] = code::literal;
    if (i.row->layout == Layout::literal_middle) codes[2] = codes[1], codes[1] = code::literal;
    return codes;
  }

  void vector() {
    const Row &row = *i.row;
    if (row.layout == Layout::truth_table) {
      i.immediate = f.negative | f.absolute << 3 | f.output_modifier << 6;
      f.negative = f.absolute = f.output_modifier = 0;
    }
    const std::array<u16, 3> codes = arranged_sources();
    for (int k = 0; k < row.sources(); ++k) {
      const bool accumulator = f.format == Format::vop1 && f.opcode == moves_accumulator;
      i.source[k] = source(codes[k], row.source[k], accumulator);
      if (row.layout != Layout::accumulates || k < 2) modifiers(i.source[k], k);
      touch(i.source[k]);
    }
    const bool takes_mask = row.layout == Layout::selects || row.layout == Layout::carries_on;
    if (f.format == Format::vop3 && f.opcode == refines_quotient) touch(scalar_register(code::vcc, 2));
    if (takes_mask) touch(i.mask_source = scalar_register(f.long_form ? f.source[2] : code::vcc, 2));
    if (row.layout == Layout::carries || row.layout == Layout::carries_on || row.layout == Layout::compares)
      touch(i.mask_destination = scalar_register(f.scalar_destination, 2));
    if (row.layout == Layout::reads_lane) i.destination = scalar_register(f.destination, 1);
    else if (row.result != Type::none)
      i.destination = vector_register(f.destination, dwords_of(row.result), f.format == Format::vop1 && f.opcode == moves_accumulator);
    if (i.destination.kind != Operand::none) touch(i.destination);
    result_modifiers();
    cross_lane_modifiers();
  }

  void result_modifiers() {
    const Row &row = *i.row;
    const bool rounds = row.run == run_lanes && (row.result == Type::f32 || row.result == Type::f16);
    i.clamp = f.clamp, i.output_modifier = f.output_modifier;
    if ((i.clamp || i.output_modifier) && !rounds) refuse("a result modifier that the emulator does not take");
    if (f.select & 8) {
      if (row.run != run_lanes || !is_16(row.result)) refuse("op_sel on a result of 32 bits");
      i.high_half = true;
    }
    i.plain_result = !i.clamp && !i.output_modifier && !i.high_half;
  }

  void cross_lane_modifiers() {
    const Row &row = *i.row;
    const bool simple = row.run == run_lanes && (row.layout == Layout::plain || row.layout == Layout::accumulates);
    if (f.has_dpp) {
      if (!simple && row.layout != Layout::selects) refuse("DPP on an instruction for which the emulator does not take it");
      i.has_dpp = true, i.dpp = f.dpp;
      touch(i.destination);
    }
    if (f.has_sdwa) {
      const bool whole_result = f.sdwa.destination == Part::whole;
      const bool fits = simple || row.layout == Layout::compares || (row.layout == Layout::selects && whole_result);
      if (!fits || (row.layout == Layout::compares && row.source[0] == Type::f64))
        refuse("SDWA on an instruction for which the emulator does not take it");
      i.sdwa = f.sdwa;
      if (!whole_result) i.plain_result = false;
    }
  }

  void packed() {
    const Row &row = *i.row;
    for (int k = 0; k < row.sources(); ++k) {
      Operand &operand = i.source[k] = source(f.source[k], row.source[k], f.opcode == reads_accumulator);
      operand.select = f.select >> k & 1, operand.select_high = f.select_high >> k & 1;
      operand.negative = f.negative >> k & 1, operand.negative_high = f.negative_high >> k & 1;
      if (row.layout == Layout::mixed && operand.kind != Operand::vector && operand.select_high) refuse("a scalar as a half in v_fma_mix");
      if (row.layout == Layout::mixed && operand.kind == Operand::constant && f.source[k] >= code::inline_float)
        operand = [&] {
          Operand again = source(f.source[k], Type::f32);
          again.negative = operand.negative, again.negative_high = operand.negative_high;
          return again;
        }();
      touch(operand);
    }
    i.clamp = f.clamp && f.opcode != writes_accumulator;
    const bool integer = row.run != run_lanes && row.source[0] == Type::b16;
    if (integer && (f.clamp || f.negative || f.negative_high)) refuse("a modifier on packed integers that the emulator does not take");
    touch(i.destination = vector_register(f.destination, dwords_of(row.result), f.opcode == writes_accumulator));
  }

  void matrix() {
    const Row &row = *i.row;
    if (f.broadcast_size || f.broadcast_block || f.broadcast_lanes) refuse("cbsz, abid or blgp");
    for (int k = 0; k < 2; ++k) {
      if (f.source[k] < code::vector) refuse("a scalar as a factor of a matrix instruction");
      touch(i.source[k] = source(f.source[k], row.source[k], f.accumulator_source[k]));
    }
    i.source[2] =
        f.source[2] >= code::vector ? source(f.source[2], row.source[2], f.accumulator_destination) : source(f.source[2], Type::f32);
    if (i.source[2].kind == Operand::scalar) refuse("a scalar register as the sum of a matrix instruction");
    touch(i.source[2]);
    touch(i.destination = vector_register(f.destination, dwords_of(row.result), f.accumulator_destination));
  }

  // The destination of a load is touched later, but for what a d16 load keeps of it, which comes from a load as well.
  void loaded(u16 number) {
    i.destination = vector_register(number, dwords_of(i.row->result), f.accumulator);
    add(i.loads, i.destination);
  }

  void local() {
    const Row &row = *i.row;
    i.offset = f.offset, i.offset1 = f.offset1;
    touch(i.memory_address = vector_register(f.address, 1, false));
    if (row.source[0] != Type::none) touch(i.data = vector_register(f.data, dwords_of(row.source[0]), f.accumulator));
    if (row.source[1] != Type::none) touch(i.data1 = vector_register(f.data1, dwords_of(row.source[1]), f.accumulator));
    if (row.result != Type::none) loaded(f.destination);
  }

  void global() {
    const Row &row = *i.row;
    i.offset = f.offset;
    const bool scalar_base = f.base != no_base && f.format == Format::global;
    if (scalar_base) touch(i.base = scalar_register(f.base, 2));
    touch(i.memory_address = vector_register(f.address, scalar_base ? 1 : 2, false));
    if (row.source[0] != Type::none) touch(i.data = vector_register(f.data, dwords_of(row.source[0]), f.accumulator));
    const bool atomic = row.source[0] != Type::none && row.result != Type::none;
    if (row.result != Type::none && (!atomic || f.cache_policy & 1)) loaded(f.destination);
    if (f.to_lds) refuse("the LDS bit of a global load");
    if (row.result == Type::none && row.source[0] == Type::none) touch(scalar_register(code::m0, 1));
  }

  void buffer() {
    const Row &row = *i.row;
    if (f.index_enabled) refuse("idxen: structured buffers");
    i.offset = f.offset, i.offset_enabled = f.offset_enabled, i.to_lds = f.to_lds;
    touch(i.base = scalar_register(f.base, 4));
    touch(i.scalar_offset = source(f.scalar_offset, Type::b32));
    if (f.offset_enabled) touch(i.memory_address = vector_register(f.address, 1, false));
    if (row.source[0] != Type::none) touch(i.data = vector_register(f.data, dwords_of(row.source[0]), f.accumulator));
    if (f.to_lds) {
      if (row.source[0] != Type::none || (row.opcode != 0x14 && row.opcode != 0x17))
        refuse("LDS transfers of other sizes than 4 and 16 bytes");
      i.destination = vector_register(0, dwords_of(row.result), false);
      return touch(scalar_register(code::m0, 1));
    }
    const bool atomic = row.source[0] != Type::none && row.result != Type::none;
    if (row.result != Type::none && (!atomic || f.cache_policy & 1)) loaded(f.destination);
  }

  Fields f;
  Instruction i;
  Program &program_;
};

}  // namespace

Instruction decode_instruction(std::span<const u32> words, u32 address, Arch arch, Program &program) {
  Decoder decoder(words, address, arch, program);
  if (!decoder.known()) throw Refusal("no row of the table");
  return decoder.decode();
}

}  // namespace lamina::hip_emulator
