// All rows of the table, found by format and opcode.
#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

constexpr size_t formats = 15, opcodes = 1024;

// For each arch, format and opcode.
struct Table {
  const Row *rows[3][formats][opcodes] = {};
  Table() {
    for (const auto all : {float_rows, double_rows, half_rows, integer_rows, compare_rows, lane_rows, packed_rows, matrix_rows, scalar_rows,
                           short_scalar_rows, scalar_compare_rows, control_rows, global_rows, buffer_rows, local_rows})
      for (const Row &row : all())
        for (int arch = 0; arch < 3; ++arch) {
          if (!(row.archs >> arch & 1)) continue;
          const Row *&place = rows[arch][static_cast<size_t>(row.format)][row.opcode];
          if (place) throw std::logic_error(std::string(row.name) + " and " + place->name + " have one opcode");
          place = &row;
        }
  }
};

}  // namespace

const Row *find_row(Format format, u16 opcode, Arch arch) {
  static const Table *const table = new Table;
  // Flat instructions are taken as global ones: generic pointers into LDS or scratch are not.
  if (format == Format::flat) format = Format::global;
  return opcode < opcodes ? table->rows[std::countr_zero(static_cast<u8>(arch))][static_cast<size_t>(format)][opcode] : nullptr;
}

}  // namespace lamina::hip_emulator
