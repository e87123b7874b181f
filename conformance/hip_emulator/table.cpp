// All rows of the table, found by format and opcode.
#include <map>

#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

using Key = std::pair<Format, u16>;

std::multimap<Key, const Row *> made() {
  std::multimap<Key, const Row *> table;
  for (const auto rows : {float_rows, double_rows, half_rows, integer_rows, compare_rows, lane_rows, packed_rows, matrix_rows, scalar_rows,
                          short_scalar_rows, control_rows, global_rows, buffer_rows, local_rows})
    for (const Row &row : rows()) {
      const Key key{row.format, row.opcode};
      for (auto [other, end] = table.equal_range(key); other != end; ++other)
        if (other->second->archs & row.archs)
          throw std::logic_error(std::string(row.name) + " and " + other->second->name + " have one opcode");
      table.emplace(key, &row);
    }
  return table;
}

}  // namespace

const Row *find_row(Format format, u16 opcode, Arch arch) {
  static const std::multimap<Key, const Row *> table = made();
  // Flat instructions are taken as global ones: generic pointers into LDS or scratch are not.
  const auto [begin, end] = table.equal_range({format == Format::flat ? Format::global : format, opcode});
  for (auto row = begin; row != end; ++row)
    if (row->second->archs & static_cast<u8>(arch)) return row->second;
  return nullptr;
}

}  // namespace lamina::hip_emulator
