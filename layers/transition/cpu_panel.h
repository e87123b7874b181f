// One vector of lanes of a panel [units][2 * width] out of a weight with any strides.
#pragma once
#include "kernels/common/scalar.h"
#include "kernels/common/view.h"

namespace lamina::transition {

using cpu::micro_rows, cpu::round_up, cpu::Vector, cpu::width;
constexpr int64_t panel_lanes = 2 * width;

struct PanelSource {
  const View &weight;
  int64_t lane_stride, shared_stride;  // of the weight: along the panel's lanes, along the shared dimension
  int64_t offset;                      // of lane 0 at 0, in elements
  int lanes;                           // that exist, at most `width`; the others become zeros
  int64_t shared, padded;              // extent of the shared dimension in the weight and, filled up by zeros, in the panel
};

// Calls use(Io) for a weight's dtype.
template <class F>
void with_io(DType dtype, F use) {
  if (dtype == DType::float32) use(cpu::Float32{});
  else if (dtype == DType::float16) use(cpu::Float16{});
  else use(cpu::BFloat16{});
}

// A unit of the panel from the values of one step of the shared dimension, or of two.
template <class Product, class At>
inline Vector unit_of(int64_t unit, At at) {
#ifdef LAMINA_PAIR_DOT
  if constexpr (Product::per_unit == 2) return cpu::pairs(at(2 * unit), at(2 * unit + 1));
#endif
  return at(unit);
}

// Lanes lie side by side in the weight.
template <class Io, class Product>
void pack_adjacent(const PanelSource &from, float *to) {
  const char *base = static_cast<const char *>(from.weight.data) + from.offset * Io::bytes;
  for (int64_t unit = 0; unit < from.padded / Product::per_unit; ++unit, to += panel_lanes)
    cpu::store(to, unit_of<Product>(unit, [&](int64_t k) {
                 return k < from.shared && from.lanes ? Io::load(base + k * from.shared_stride * Io::bytes, from.lanes) : cpu::zero();
               }));
}

// The shared dimension lies side by side: blocks of width x width are turned.
template <class Io, class Product>
void pack_turned(const PanelSource &from, float *to) {
  constexpr int64_t step = width * Product::per_unit;
  const int64_t units = from.padded / Product::per_unit;
  for (int64_t k = 0; k < from.padded; k += step) {
    alignas(64) float rows[width][width];
    for (int lane = 0; lane < width; ++lane)
      for (int64_t part = 0; part < step; part += width) {
        const int64_t left = from.shared - k - part;
        const bool exists = lane < from.lanes && left > 0;
        const char *row = static_cast<const char *>(from.weight.data) + (from.offset + lane * from.lane_stride + k + part) * Io::bytes;
        cpu::store_units<Product>(rows[lane], part, exists ? Io::load(row, static_cast<int>(left < width ? left : width)) : cpu::zero());
      }
    Vector block[width];
#pragma GCC unroll 16
    for (int lane = 0; lane < width; ++lane) block[lane] = cpu::load(rows[lane]);
    cpu::transpose(block);
    const int64_t first = k / Product::per_unit;
#pragma GCC unroll 16
    for (int unit = 0; unit < width; ++unit)
      if (first + unit < units) cpu::store(to + (first + unit) * panel_lanes, block[unit]);
  }
}

template <class Product>
void pack_strided(const PanelSource &from, float *to) {
  for (int64_t unit = 0; unit < from.padded / Product::per_unit; ++unit, to += panel_lanes)
    cpu::store(to, unit_of<Product>(unit, [&](int64_t k) {
                 alignas(64) float values[width] = {};
                 for (int lane = 0; lane < from.lanes && k < from.shared; ++lane)
                   values[lane] = static_cast<float>(
                       load_scalar(from.weight.data, from.weight.dtype, from.offset + lane * from.lane_stride + k * from.shared_stride));
                 return cpu::load(values);
               }));
}

// Every unit of the vector of lanes at `to` is written.  Extents are multiples of 8, as all widths of this layer are.
template <class Product>
void pack_lanes(const PanelSource &from, float *to) {
  with_io(from.weight.dtype, [&](auto io) {
    if (from.lane_stride == 1) return pack_adjacent<decltype(io), Product>(from, to);
    if (from.shared_stride == 1) return pack_turned<decltype(io), Product>(from, to);
    pack_strided<Product>(from, to);
  });
}

}  // namespace lamina::transition
