#include "conformance/cuda_emulator/product.h"

#include <cstring>

#include "conformance/cuda_emulator/cta.h"
#include "conformance/cuda_emulator/failure.h"
#include "conformance/cuda_emulator/numbers.h"

namespace lamina::cuda_emulator {
namespace {

constexpr int rows = 64, depth = 16, most_columns = 256;

bool same(const ProductOperands &x, const ProductOperands &y) {
  return x.half == y.half && x.add == y.add && x.a_along_rows == y.a_along_rows && x.b_along_rows == y.b_along_rows &&
         x.columns == y.columns && !x.a_registers == !y.a_registers && x.a == y.a && x.b == y.b;
}

// PTX ISA, "Matrix descriptor format": addresses and offsets in units of 16 bytes; 1 in the two highest bits is the swizzle of 128 bytes.
struct Descriptor {
  uint32_t start, leading, stride;
  explicit Descriptor(uint64_t bits)
      : start((bits & 0x3fff) << 4), leading((bits >> 16 & 0x3fff) << 4), stride((bits >> 32 & 0x3fff) << 4) {
    if (bits >> 62 != 1) fail("wgmma: a descriptor without the 128-byte swizzle, which is all that the emulator knows");
    if (bits >> 49 & 7) fail("wgmma: a descriptor with a base offset, which the emulator does not know");
  }
};

// The eight elements at an address, as floats.
void read_eight(Cta &cta, bool half, uint32_t address, float *to, int step) {
  const uint32_t at = swizzled_128(address);
  cta.require_published(at, 16, "a product");
  uint16_t bits[8];
  std::memcpy(bits, cta.pointer(at), sizeof bits);
  for (int i = 0; i < 8; ++i) to[i * step] = half ? half_value(bits[i]) : bfloat_value(bits[i]);
}

// `lines` rows of an operand, 16 deep: element [row][k] at to[row * row_step + k * k_step].
void read_operand(Cta &cta, bool half, const Descriptor &from, bool along_rows, int lines, float *to, int row_step, int k_step) {
  if (along_rows) {
    for (int k = 0; k < depth; ++k)
      for (int row = 0; row < lines; row += 8)
        read_eight(cta, half, from.start + row / 64 * from.leading + k / 8 * from.stride + k % 8 * 128 + row % 64 * 2,
                   to + row * row_step + k * k_step, row_step);
  } else {
    for (int row = 0; row < lines; ++row)
      for (int k = 0; k < depth; k += 8)
        read_eight(cta, half, from.start + row / 8 * from.stride + row % 8 * 128 + k * 2, to + row * row_step + k * k_step, k_step);
  }
}

// Where thread t of a warpgroup has its sums: sums 4j, 4j + 1 of row 16 (t / 32) + t % 32 / 4, columns 8j + 2 (t % 4) and the next;
// 4j + 2 and 4j + 3 eight rows below.
template <class Move>
void each_sum(Product &product, float (&tile)[rows][most_columns], Move move) {
  for (int thread = 0; thread < 128; ++thread)
    for (int j = 0; j < product.operands.columns / 8; ++j)
      for (int i = 0; i < 4; ++i)
        move(product.sums[thread][4 * j + i], tile[thread / 32 * 16 + thread % 32 / 4 + i / 2 * 8][8 * j + 2 * (thread % 4) + i % 2]);
}

void read_registers(const Product &product, float (&a)[rows][depth]) {
  for (int thread = 0; thread < 128; ++thread)
    for (int i = 0; i < 4; ++i)
      for (int e = 0; e < 2; ++e) {
        const auto bits = static_cast<uint16_t>(product.registers[thread][i] >> 16 * e);
        a[thread / 32 * 16 + thread % 32 / 4 + i % 2 * 8][i / 2 * 8 + thread % 4 * 2 + e] =
            product.operands.half ? half_value(bits) : bfloat_value(bits);
      }
}

__attribute__((target_clones("avx512f", "avx2", "default"))) void add_products(float (&tile)[rows][most_columns],
                                                                               const float (&a)[rows][depth],
                                                                               const float (&b)[depth][most_columns], int columns) {
  for (int row = 0; row < rows; ++row)
    for (int k = 0; k < depth; ++k)
      for (int column = 0; column < columns; ++column) tile[row][column] += a[row][k] * b[k][column];
}

void execute_one(Cta &cta, Product &product) {
  const ProductOperands &operands = product.operands;
  static float tile[rows][most_columns], a[rows][depth], b[depth][most_columns];
  if (operands.a_registers) read_registers(product, a);
  else read_operand(cta, operands.half, Descriptor(operands.a), operands.a_along_rows, rows, &a[0][0], depth, 1);
  read_operand(cta, operands.half, Descriptor(operands.b), operands.b_along_rows, operands.columns, &b[0][0], 1, most_columns);
  if (operands.add) each_sum(product, tile, [](float &sum, float &cell) { cell = sum; });
  else std::memset(tile, 0, sizeof tile);
  add_products(tile, a, b, operands.columns);
  each_sum(product, tile, [](float &sum, float &cell) { sum = cell; });
}

}  // namespace

void Warpgroup::issue(int thread, float *sums, const ProductOperands &operands) {
  if (!fenced_[thread]) fail("a product without wgmma.fence since its thread began or waited for products");
  const uint64_t index = issued_[thread]++ - executed_;
  if (index == products_.size()) products_.emplace_back().operands = operands;
  Product &product = products_[index];
  if (!same(product.operands, operands)) fail("the threads of a warpgroup do not issue the same product");
  product.sums[thread] = sums;
  if (operands.a_registers) std::memcpy(product.registers[thread], operands.a_registers, sizeof product.registers[thread]);
}

void Warpgroup::commit(int thread) {
  const uint64_t group = commits_[thread]++;
  if (group == ends_.size()) ends_.push_back(issued_[thread]), committers_.push_back(0);
  if (ends_[group] != issued_[thread]) fail("the threads of a warpgroup commit different products");
  ++committers_[group];
}

bool Warpgroup::all_committed(uint64_t groups) const { return groups <= committers_.size() && committers_[groups - 1] == 128; }

void Warpgroup::execute(Cta &cta, uint64_t groups) {
  for (; groups_executed_ < groups; ++groups_executed_)
    for (; executed_ < ends_[groups_executed_]; ++executed_, products_.pop_front()) execute_one(cta, products_.front());
}

bool Warpgroup::execute_next(Cta &cta) {
  if (groups_executed_ == ends_.size() || !all_committed(groups_executed_ + 1)) return false;
  execute(cta, groups_executed_ + 1);
  return true;
}

}  // namespace lamina::cuda_emulator
