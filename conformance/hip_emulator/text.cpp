// Instructions as LLVM's assembler writes them, for messages.  What the table does not know is shown by its words.
#include <cstdio>

#include "conformance/hip_emulator/lane_rows.h"
#include "conformance/hip_emulator/program.h"

namespace lamina::hip_emulator {

std::string hexadecimal(u64 value) {
  char text[20];
  std::snprintf(text, sizeof text, "0x%llx", static_cast<unsigned long long>(value));
  return text;
}

namespace {

constexpr u16 does_nothing = 0x00, moves_accumulator = 0x52;

std::string range(const char *letter, int first, int count) {
  if (count == 1) return letter + std::to_string(first);
  return std::string(letter) + "[" + std::to_string(first) + ":" + std::to_string(first + count - 1) + "]";
}

std::string scalar_name(int index, int count) {
  const auto special = [&](const char *name, int first) {
    std::string text = name;
    if (count == 1) text += index == first ? "_lo" : "_hi";
    return text;
  };
  if (index == code::vcc || index == code::vcc + 1) return special("vcc", code::vcc);
  if (index == code::exec || index == code::exec + 1) return special("exec", code::exec);
  if (index == code::flat_scratch || index == code::flat_scratch + 1) return special("flat_scratch", code::flat_scratch);
  if (index == code::m0) return "m0";
  if (index == code::scc) return "src_scc";
  if (index == code::vcc_is_zero) return "src_vccz";
  if (index == code::exec_is_zero) return "src_execz";
  return range("s", index, count);
}

// A constant as its code says; literals in hexadecimal.
std::string constant_name(u16 source, u32 literal) {
  constexpr const char *floats[] = {"0.5", "-0.5", "1.0", "-1.0", "2.0", "-2.0", "4.0", "-4.0", "0.15915494"};
  if (source == code::literal) return hexadecimal(literal);
  if (source >= code::inline_float) return floats[source - code::inline_float];
  return std::to_string(source < code::inline_negative ? source - code::inline_integer : 192 - source);
}

std::string name_of(const Operand &operand, u16 source, const Fields &f) {
  if (operand.kind == Operand::scalar) return scalar_name(operand.index, operand.dwords);
  if (operand.kind == Operand::constant) return constant_name(source, f.literal);
  return operand.index >= 256 ? range("a", operand.index - 256, operand.dwords) : range("v", operand.index, operand.dwords);
}

const char *part_name(Part part) {
  constexpr const char *names[] = {"BYTE_0", "BYTE_1", "BYTE_2", "BYTE_3", "WORD_0", "WORD_1", "DWORD"};
  return names[static_cast<int>(part)];
}

std::string list(const char *name, int bits, int count) {
  std::string text = std::string(" ") + name + ":[";
  for (int k = 0; k < count; ++k) text += (k ? "," : "") + std::to_string(bits >> k & 1);
  return text + "]";
}

std::string dpp_text(const Dpp &dpp, Arch arch) {
  const int control = dpp.control, amount = control & 15;
  std::string text = " ";
  if (control < 0x100) {
    text += "quad_perm:[";
    for (int k = 0; k < 4; ++k) text += (k ? "," : "") + std::to_string(control >> (2 * k) & 3);
    text += "]";
  } else if (control < 0x110) {
    text += "row_shl:" + std::to_string(amount);
  } else if (control < 0x120) {
    text += "row_shr:" + std::to_string(amount);
  } else if (control < 0x130) {
    text += "row_ror:" + std::to_string(amount);
  } else if (control >= 0x150) {
    text += "row_newbcast:" + std::to_string(amount);
  } else {
    const char *names[] = {"wave_shl:1",
                           "",
                           "",
                           "",
                           "wave_rol:1",
                           "",
                           "",
                           "",
                           "wave_shr:1",
                           "",
                           "",
                           "",
                           "wave_ror:1",
                           "",
                           "",
                           "",
                           "row_mirror",
                           "row_half_mirror",
                           "row_bcast:15",
                           "row_bcast:31"};
    text += control - 0x130 < 20 ? names[control - 0x130] : "?";
  }
  (void)arch;
  text += " row_mask:" + hexadecimal(dpp.row_mask) + " bank_mask:" + hexadecimal(dpp.bank_mask);
  return text + (dpp.bound_control ? " bound_ctrl:1" : "");
}

class Writer {
 public:
  Writer(const Fields &fields, const Instruction &instruction, Arch arch) : f(fields), i(instruction), arch_(arch), text_(i.row->name) {}
  std::string write() {
    switch (f.format) {
      case Format::sopp: control(); break;
      case Format::sopk:
        add(scalar_name(f.destination, 1));
        add(hexadecimal(static_cast<u16>(f.immediate)));
        break;
      case Format::smem:
        add(i.destination, 0), add(i.base, 0);
        add(i.scalar_offset.kind != Operand::none ? name_of(i.scalar_offset, 0, f) : hexadecimal(static_cast<u32>(i.offset)));
        if (i.scalar_offset.kind != Operand::none && f.has_offset) tail_ += " offset:" + hexadecimal(static_cast<u32>(i.offset));
        break;
      case Format::ds: local(); break;
      case Format::flat:
      case Format::global: global(); break;
      case Format::mubuf: buffer(); break;
      default: arithmetic();
    }
    return text_ + tail_;
  }

 private:
  void add(const std::string &operand) {
    text_ += (first_ ? " " : ", ") + operand;
    first_ = false;
  }
  void add(const Operand &operand, u16 source) {
    if (operand.kind != Operand::none) add(name_of(operand, source, f));
  }

  void control() {
    const u32 count = static_cast<u16>(f.immediate);
    if (f.opcode == 0x0c) {
      std::string waits;
      const u32 vector = (count & 15) | (count >> 14 & 3) << 4;
      if (vector != 63) waits += " vmcnt(" + std::to_string(vector) + ")";
      if ((count >> 4 & 7) != 7) waits += " expcnt(" + std::to_string(count >> 4 & 7) + ")";
      if ((count >> 8 & 15) != 15) waits += " lgkmcnt(" + std::to_string(count >> 8 & 15) + ")";
      text_ += waits;
    } else if (f.opcode != 0x01 && f.opcode != 0x0a) {
      add(std::to_string(count));
    }
  }

  void local() {
    add(i.destination, 0), add(i.memory_address, 0), add(i.data, 0), add(i.data1, 0);
    const std::string name = i.row->name;
    const bool two = name.find("read2") != std::string::npos || name.find("write2") != std::string::npos;
    if (two) {
      if (f.offset) tail_ += " offset0:" + std::to_string(f.offset);
      if (f.offset1) tail_ += " offset1:" + std::to_string(f.offset1);
    } else if (f.offset || f.offset1) {
      tail_ += " offset:" + std::to_string(f.offset | f.offset1 << 8);
    }
  }

  void cache_policy() {
    const bool newer = arch_ != Arch::gfx90a;
    if (f.cache_policy & 1) tail_ += newer ? " sc0" : " glc";
    if (f.cache_policy & 2) tail_ += newer ? " nt" : " slc";
    if (f.cache_policy & 4) tail_ += newer ? " sc1" : " scc";
  }

  void global() {
    if (f.format == Format::flat) text_.replace(0, 6, "flat");
    add(i.destination, 0), add(i.memory_address, 0), add(i.data, 0);
    if (f.format == Format::global) add(i.base.kind == Operand::none ? "off" : name_of(i.base, 0, f));
    if (f.offset) tail_ += " offset:" + std::to_string(f.offset);
    cache_policy();
  }

  void buffer() {
    if (!f.to_lds) i.data.kind != Operand::none ? add(i.data, 0) : add(i.destination, 0);
    add(i.memory_address.kind == Operand::none ? "off" : name_of(i.memory_address, 0, f));
    add(i.base, 0);
    add(i.scalar_offset, f.scalar_offset);
    if (f.offset_enabled) tail_ += " offen";
    if (f.offset) tail_ += " offset:" + std::to_string(f.offset);
    cache_policy();
    if (f.to_lds) tail_ += " lds";
  }

  std::string modified(int k) const {
    const Operand &operand = i.source[k];
    std::string name = name_of(operand, source_code(k), f);
    const bool packed = f.format == Format::vop3p && i.row->layout != Layout::mixed;
    if (packed) return name;
    const bool absolute = i.row->layout == Layout::mixed ? operand.negative_high : operand.absolute;
    if (absolute) name = "|" + name + "|";
    if (f.has_sdwa && operand.sign_extend) name = "sext(" + name + ")";
    return operand.negative ? "-" + name : name;
  }

  u16 source_code(int k) const {
    if (i.row->layout == Layout::literal_middle) return k == 1 ? u16{code::literal} : f.source[k ? 1 : 0];
    if (i.row->layout == Layout::literal_last && k == 2) return code::literal;
    return f.source[k];
  }

  void suffix() {
    if (i.row->layout == Layout::literal_last || i.row->layout == Layout::literal_middle) return;
    const bool short_form = f.format == Format::vop1 || f.format == Format::vop2 || f.format == Format::vopc;
    const bool one_form = i.row->layout == Layout::reads_lane || i.row->layout == Layout::swaps ||
                          (f.format == Format::vop1 && (f.opcode == does_nothing || f.opcode == moves_accumulator));
    if (!short_form || (one_form && f.format != Format::vop2)) return;
    text_ += f.has_dpp ? "_dpp" : f.has_sdwa ? "_sdwa" : f.long_form ? "_e64" : "_e32";
  }

  void arithmetic() {
    suffix();
    add(i.destination, 0);
    if (i.mask_destination.kind != Operand::none) add(i.mask_destination, 0);
    const int sources = i.row->sources() - (i.row->layout == Layout::accumulates);
    for (int k = 0; k < sources; ++k) add(modified(k));
    if (i.mask_source.kind != Operand::none) add(i.mask_source, 0);
    if (f.format == Format::vop3p) packed_modifiers(sources);
    if (f.format != Format::vop3p && f.select)
      tail_ += list("op_sel", (f.select & ((1 << sources) - 1)) | (f.select >> 3 & 1) << sources, sources + 1);
    if (i.row->layout == Layout::truth_table)
      tail_ += " bitop3:" + (i.immediate < 10 ? std::to_string(i.immediate) : hexadecimal(static_cast<u32>(i.immediate)));
    if (i.clamp) tail_ += " clamp";
    constexpr const char *scales[] = {"", " mul:2", " mul:4", " div:2"};
    tail_ += scales[i.output_modifier];
    if (f.has_dpp) tail_ += dpp_text(f.dpp, arch_);
    if (f.has_sdwa) {
      constexpr const char *unused[] = {"UNUSED_PAD", "UNUSED_SEXT", "UNUSED_PRESERVE", "?"};
      if (f.format != Format::vopc)
        tail_ += std::string(" dst_sel:") + part_name(f.sdwa.destination) + " dst_unused:" + unused[f.sdwa.unused];
      for (int k = 0; k < sources; ++k) tail_ += " src" + std::to_string(k) + "_sel:" + part_name(f.sdwa.source[k]);
    }
  }

  void packed_modifiers(int sources) {
    if (i.row->layout == Layout::matrix || i.row->run == run_lanes) return;
    const int mask = (1 << sources) - 1, high = i.row->layout == Layout::mixed ? 0 : mask;
    if (f.select & mask) tail_ += list("op_sel", f.select, sources);
    if ((f.select_high & mask) != high) tail_ += list("op_sel_hi", f.select_high, sources);
    if (i.row->layout == Layout::mixed) return;
    if (f.negative & mask) tail_ += list("neg_lo", f.negative, sources);
    if (f.negative_high & mask) tail_ += list("neg_hi", f.negative_high, sources);
  }

  const Fields &f;
  const Instruction &i;
  Arch arch_;
  std::string text_, tail_;
  bool first_ = true;
};

}  // namespace

std::string text_of(std::span<const u32> words, u32 address, Arch arch) {
  try {
    Program program;
    const Fields fields = read_fields(words);
    return Writer(fields, decode_instruction(words, address, arch, program), arch).write();
  } catch (const Refusal &) {
    std::string text = "the instruction";
    try {
      const Fields fields = read_fields(words);
      words = words.first(fields.words);
      if (const Row *row = find_row(fields.format, fields.opcode, arch)) text = row->name;
    } catch (const Refusal &) { words = words.first(std::min<size_t>(words.size(), 1)); }
    char word[16];
    for (const u32 value : words) {
      std::snprintf(word, sizeof word, " %08x", value);
      text += word;
    }
    return text;
  }
}

}  // namespace lamina::hip_emulator
