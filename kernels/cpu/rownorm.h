// LayerNorm of one row, and rows turned into panels whose lanes are positions.
// Include after simd_avx512.h or simd_avx2.h.
#pragma once

namespace lamina::cpu {

constexpr int64_t max_channels = 1024;

constexpr int64_t round_up(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Writes a vector of consecutive values as operand units: floats, or pairs of bfloat16.
template <class Product>
inline void store_units(float *units, int64_t at, Vector v) {
#ifdef LAMINA_PAIR_DOT
  if constexpr (Product::per_unit == 2) return store_pairs(units + at / 2, v);
#endif
  store(units + at, v);
}

struct RowNorm {
  const float *weight, *bias;  // [channels], padded with zeros to a vector; weight NULL: no norm
  float eps;
};
struct RowStatistics {
  float mean, scale;  // scale = 1 / sqrt(variance + eps)
};

// units = norm(row) for a row of `vectors` whole vectors, which stay in registers.
template <class Io, class Product, int vectors>
inline RowStatistics normalise_vectors(const char *row, const RowNorm &norm, float *units) {
  constexpr float count = vectors * width;
  Vector value[vectors], sums[2] = {zero(), zero()};
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) {
    value[v] = Io::load(row + v * width * Io::bytes, width);
    sums[v & 1] += value[v];
  }
  const float mean = sum(sums[0] + sums[1]) / count;
  const Vector shift = splat(mean);
  sums[0] = sums[1] = zero();
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v) {
    value[v] -= shift;
    sums[v & 1] = multiply_add(value[v], value[v], sums[v & 1]);
  }
  const float scale = 1 / __builtin_sqrtf(sum(sums[0] + sums[1]) / count + norm.eps);
#pragma GCC unroll 16
  for (int v = 0; v < vectors; ++v)
    store_units<Product>(units, v * width,
                         multiply_add(value[v] * splat(scale), load(norm.weight + v * width), load(norm.bias + v * width)));
  return {mean, scale};
}

// units = norm(row).  Two passes; the deviation is squared after the mean is gone, so large means cost no digits.
template <class Io, class Product>
inline RowStatistics normalise_row(const char *row, int64_t channels, const RowNorm &norm, float *units) {
  if (norm.weight && channels == 4 * width) return normalise_vectors<Io, Product, 4>(row, norm, units);
  if (norm.weight && channels == 8 * width) return normalise_vectors<Io, Product, 8>(row, norm, units);
  if (norm.weight && channels == 16 * width) return normalise_vectors<Io, Product, 16>(row, norm, units);
  float copy[max_channels];
  Vector sum0 = zero(), sum1 = zero();
  for (int64_t c = 0; c < channels; c += width) {
    const Vector v = Io::load(row + c * Io::bytes, static_cast<int>(channels - c < width ? channels - c : width));
    if (!norm.weight) store_units<Product>(units, c, v);
    store(copy + c, v);
    (c & width ? sum1 : sum0) += v;
  }
  if (!norm.weight) return {0, 1};
  const float count = static_cast<float>(channels), mean = sum(sum0 + sum1) / count;
  const Vector shift = splat(mean);
  sum0 = sum1 = zero();
  for (int64_t c = 0; c < channels; c += width) {
    const Vector v = keep_first(load(copy + c) - shift, static_cast<int>(channels - c < width ? channels - c : width));
    store(copy + c, v);
    Vector &square = c & width ? sum1 : sum0;
    square = multiply_add(v, v, square);
  }
  const float scale = 1 / __builtin_sqrtf(sum(sum0 + sum1) / count + norm.eps);
  for (int64_t c = 0; c < channels; c += width)
    store_units<Product>(units, c, multiply_add(load(copy + c) * splat(scale), load(norm.weight + c), load(norm.bias + c)));
  return {mean, scale};
}

// The same with the statistics known.
template <class Io, class Product>
inline void normalise_row_again(const char *row, int64_t channels, const RowNorm &norm, RowStatistics known, float *units) {
  const Vector shift = splat(known.mean), scale = splat(known.scale);
  int64_t c = 0;
  if (norm.weight)
#pragma GCC unroll 4
    for (; c + width <= channels; c += width)
      store_units<Product>(
          units, c, multiply_add((Io::load(row + c * Io::bytes, width) - shift) * scale, load(norm.weight + c), load(norm.bias + c)));
  for (; c < channels; c += width) {
    Vector v = Io::load(row + c * Io::bytes, static_cast<int>(channels - c < width ? channels - c : width));
    if (norm.weight) v = multiply_add((v - shift) * scale, load(norm.weight + c), load(norm.bias + c));
    store_units<Product>(units, c, v);
  }
}

// LayerNorm of 2 * width rows at once, lanes being rows: panel [unit][2 * width] becomes its norm.  Two passes, as above.  Lanes of a half
// from valid[half] on become the norm's bias, whatever eps is.  Sums run down the lanes, so nothing waits for a sum across a vector.
template <class Product>
inline void normalise_panel(float *panel, int64_t channels, const RowNorm &norm, const int64_t (&valid)[2], Vector (&mean)[2],
                            Vector (&scale)[2]) {
  constexpr int per_unit = Product::per_unit;
  const int64_t units = channels / per_unit;
  const auto values_of = [](const float *from, Vector(&values)[per_unit]) __attribute__((always_inline)) {
#ifdef LAMINA_PAIR_DOT
    if constexpr (per_unit == 2) return split_pairs(load(from), values[0], values[1]);
#endif
    values[0] = load(from);
  };
  // Calls use(n, values) for both halves of every unit; n counts the sums, of which there are enough to hide an addition's latency.
  const auto each = [&](auto use) __attribute__((always_inline)) {
    for (int64_t unit = 0; unit < units; unit += 2)
#pragma GCC unroll 4
      for (int64_t n = 0; n < 4; ++n) {
        Vector values[per_unit];
        values_of(panel + (unit + n / 2) * 2 * width + n % 2 * width, values);
        use(n, values);
      }
  };
  const Vector share = splat(1 / static_cast<float>(channels));
  Vector sums[4] = {zero(), zero(), zero(), zero()};
  each([&](int64_t n, Vector(&values)[per_unit]) __attribute__((always_inline)) {
    for (Vector v : values) sums[n] += v;
  });
  for (int half = 0; half < 2; ++half) mean[half] = (sums[half] + sums[half + 2]) * share;
  for (Vector &square : sums) square = zero();
  each([&](int64_t n, Vector(&values)[per_unit]) __attribute__((always_inline)) {
    for (Vector v : values) v -= mean[n % 2], sums[n] = multiply_add(v, v, sums[n]);
  });
  for (int half = 0; half < 2; ++half)
    scale[half] =
        keep_first_lanes(splat(1.f) / square_root(multiply_add(sums[half] + sums[half + 2], share, splat(norm.eps))), valid[half]);
  for (int64_t unit = 0; unit < units; ++unit)
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      float *at = panel + unit * 2 * width + half * width;
      Vector values[per_unit];
      values_of(at, values);
#pragma GCC unroll 2
      for (int n = 0; n < per_unit; ++n)
        values[n] = multiply_add((values[n] - mean[half]) * scale[half], splat(norm.weight[unit * per_unit + n]),
                                 splat(norm.bias[unit * per_unit + n]));
#ifdef LAMINA_PAIR_DOT
      if constexpr (per_unit == 2) values[0] = pairs(values[0], values[1]);
#endif
      store(at, values[0]);
    }
}

// rows: 2 * width rows of `units` units, `stride` apart, stride a multiple of width.  panel: [unit][2 * width], lanes are the rows.
inline void transpose_rows(const float *rows, int64_t stride, int64_t units, float *panel) {
  for (int half = 0; half < 2; ++half)
    for (int64_t unit = 0; unit < units; unit += width) {
      Vector block[width];
#pragma GCC unroll 16
      for (int row = 0; row < width; ++row) block[row] = load(rows + (half * width + row) * stride + unit);
      transpose(block);
#pragma GCC unroll 16
      for (int row = 0; row < width; ++row) store(panel + (unit + row) * 2 * width + half * width, block[row]);
    }
}

// LayerNorm across the rows of strip [channels][width]: every lane is a position of its own.
inline void strip_statistics(const float *strip, int64_t channels, float eps, Vector &mean, Vector &scale) {
  Vector sums[4] = {zero(), zero(), zero(), zero()};
  for (int64_t c = 0; c < channels; c += 4)
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) sums[q] += load(strip + (c + q) * width);
  const Vector share = splat(1 / static_cast<float>(channels));
  mean = (sums[0] + sums[1] + (sums[2] + sums[3])) * share;
  for (Vector &square : sums) square = zero();
  for (int64_t c = 0; c < channels; c += 4)
#pragma GCC unroll 4
    for (int q = 0; q < 4; ++q) {
      const Vector v = load(strip + (c + q) * width) - mean;
      sums[q] = multiply_add(v, v, sums[q]);
    }
  scale = splat(1.f) / square_root(multiply_add(sums[0] + sums[1] + (sums[2] + sums[3]), share, splat(eps)));
}

}  // namespace lamina::cpu
