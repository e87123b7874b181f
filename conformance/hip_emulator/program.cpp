// A kernel's program: every instruction that can be reached from its entry, decoded once.
#include "conformance/hip_emulator/program.h"

#include <algorithm>

#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

bool is_branch(const Fields &f) { return f.format == Format::sopp && f.opcode >= 0x02 && f.opcode <= 0x09; }
bool is_end(const Fields &f) { return f.format == Format::sopp && (f.opcode == 0x01 || f.opcode == 0x02); }

// Which words of the image begin an instruction that can be reached, and what cannot be read.
class Discovery {
 public:
  Discovery(std::span<const u8> image, Arch arch)
      : arch_(arch), words_(reinterpret_cast<const u32 *>(image.data()), image.size() / 4), begins_(words_.size()) {}

  void follow(u32 entry) {
    std::vector<u32> open{entry};
    while (!open.empty() && refusals_.size() < most_refusals) {
      u32 address = open.back();
      open.pop_back();
      while (visit(address)) {
        try {
          const Fields f = read_fields(at(address));
          if (!find_row(f.format, f.opcode, arch_)) refuse(address, "not known");
          const u32 next = address + f.words * 4u;
          if (is_branch(f)) open.push_back(next + static_cast<u32>(f.immediate * 4));
          if (is_end(f)) break;
          address = next;
        } catch (const Refusal &refusal) {
          refuse(address, refusal.what());
          break;
        }
      }
    }
  }
  std::span<const u32> at(u32 address) const {
    const size_t first = std::min<size_t>(address / 4, words_.size());
    return words_.subspan(first, std::min<size_t>(3, words_.size() - first));
  }
  void refuse(u32 address, const std::string &why) {
    if (refusals_.size() < most_refusals)
      refusals_.push_back(text_of(at(address), address, arch_) + " at " + hexadecimal(address) + ": " + why);
  }
  void throw_refusals() const {
    if (refusals_.empty()) return;
    std::string all = "instructions that the emulator does not take:";
    for (const std::string &one : refusals_) all += "\n  " + one;
    throw Refusal(all);
  }
  std::vector<u32> addresses() const {
    std::vector<u32> all;
    for (size_t i = 0; i < begins_.size(); ++i)
      if (begins_[i]) all.push_back(static_cast<u32>(4 * i));
    return all;
  }

 private:
  static constexpr size_t most_refusals = 16;
  bool visit(u32 address) {
    if (address % 4 || address / 4 >= words_.size()) throw Refusal("the code runs out of the code object at " + hexadecimal(address));
    if (begins_[address / 4]) return false;
    return begins_[address / 4] = true;
  }

  Arch arch_;
  std::span<const u32> words_;
  std::vector<bool> begins_;
  std::vector<std::string> refusals_;
};

}  // namespace

Program decode_program(std::span<const u8> image, u32 entry, Arch arch) {
  Discovery discovery(image, arch);
  discovery.follow(entry);
  discovery.throw_refusals();
  const std::vector<u32> addresses = discovery.addresses();
  const auto index_of = [&](u32 address) {
    return static_cast<u32>(std::lower_bound(addresses.begin(), addresses.end(), address) - addresses.begin());
  };
  Program program;
  program.code.reserve(addresses.size());
  for (const u32 address : addresses) {
    try {
      program.code.push_back(decode_instruction(discovery.at(address), address, arch, program));
    } catch (const Refusal &refusal) { discovery.refuse(address, refusal.what()); }
  }
  discovery.throw_refusals();
  for (size_t k = 0; k < program.code.size(); ++k) {
    Instruction &i = program.code[k];
    const u32 next = i.address + i.bytes;
    const bool sopp = i.row->format == Format::sopp;
    if (sopp && i.row->opcode >= 0x02 && i.row->opcode <= 0x09) i.target = index_of(next + static_cast<u32>(i.immediate * 4));
    if (sopp && (i.row->opcode == 0x01 || i.row->opcode == 0x02)) continue;
    if (k + 1 == program.code.size() || program.code[k + 1].address != next)
      throw Refusal("code that jumps into the middle of an instruction");
  }
  program.entry = index_of(entry);
  return program;
}

}  // namespace lamina::hip_emulator
