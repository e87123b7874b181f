// Three kernels as layers have them, and thirteen mistakes that people make in them: LAMINA_MISTAKE chooses one.  The emulator must compute the
// right kernels right and must find every mistake.
#define DEVICE __attribute__((device)) inline __attribute__((always_inline))
#define KERNEL(threads) extern "C" __attribute__((global)) void __attribute__((amdgpu_flat_work_group_size(threads, threads)))
#define SHARED __attribute__((shared))

typedef __bf16 bfloat;
typedef short bfloat4 __attribute__((ext_vector_type(4)));
typedef __bf16 bfloat8 __attribute__((ext_vector_type(8)));
typedef float float16 __attribute__((ext_vector_type(16)));
typedef unsigned uint4 __attribute__((ext_vector_type(4)));

#ifndef LAMINA_MISTAKE
#define LAMINA_MISTAKE none
#endif
enum Mistake {
  none,
  gemm_no_barrier,          // the next tile is written while waves still read this one
  gemm_one_buffer,          // ... into the same buffer
  gemm_rows,                // the rows of the matrix unit's result taken for consecutive ones
  gemm_no_row_guard,        // rows past the last one are stored
  gemm_same_slice,          // K does not advance
  gemm_short_descriptor,    // the buffer ends a row early
  norm_no_barrier,          // waves' sums are read before they are written
  norm_same_slot,           // ... and written where others still read
  reduce_without_broadcast, // row sums do not reach the next row
  reduce_wrong_lane,        // the sum is taken from a lane that has not all of it
  softmax_one_too_many,     // the last column counted twice as the next row's first
  softmax_no_row_guard,     // rows past the last one
  softmax_no_rescale,       // lanes' sums are added though their maxima differ
};
static constexpr Mistake mistake = LAMINA_MISTAKE;

DEVICE int thread() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
DEVICE int group_x() { return static_cast<int>(__builtin_amdgcn_workgroup_id_x()); }
DEVICE int group_y() { return static_cast<int>(__builtin_amdgcn_workgroup_id_y()); }
DEVICE void barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
}
DEVICE float power2(float x) { return __builtin_amdgcn_exp2f(x); }

struct Sum {
  static constexpr float nothing = 0.f;
  DEVICE static float of(float a, float b) { return a + b; }
};
struct Most {
  static constexpr float nothing = -3.0e38f;
  DEVICE static float of(float a, float b) { return __builtin_fmaxf(a, b); }
};
template <int control, int rows>
DEVICE float neighbour(float nothing, float x) {
  return __builtin_bit_cast(float, __builtin_amdgcn_update_dpp(__builtin_bit_cast(int, nothing), __builtin_bit_cast(int, x), control, rows, 0xf, false));
}
// Over the 64 lanes: within rows of 16, then from row to row; the last lane has all of it.
template <class Operation>
DEVICE float reduce(float x) {
  constexpr float nothing = Operation::nothing;
  x = Operation::of(x, neighbour<0x111, 0xf>(nothing, x));
  x = Operation::of(x, neighbour<0x112, 0xf>(nothing, x));
  x = Operation::of(x, neighbour<0x114, 0xf>(nothing, x));
  x = Operation::of(x, neighbour<0x118, 0xf>(nothing, x));
  if (mistake != reduce_without_broadcast) x = Operation::of(x, neighbour<0x142, 0xa>(nothing, x));
  x = Operation::of(x, neighbour<0x143, 0xc>(nothing, x));
  return __builtin_bit_cast(float, __builtin_amdgcn_readlane(__builtin_bit_cast(int, x), mistake == reduce_wrong_lane ? 62 : 63));
}

// c[m][n] = gelu(a[m][k] * b[n][k] + bias[n]); k a multiple of 32.  Tiles of 64 x 64 x 32, a wave each quarter, LDS twice.
constexpr int stride = 40;
DEVICE float gelu(float x) {
  const float u = x * (0.7978845608f + 0.0356774081f * x * x);
  return x * __builtin_amdgcn_rcpf(1.f + power2(-2.88539008f * u));
}
KERNEL(256) gemm(const bfloat *a, const bfloat *b, const float *bias, bfloat *c, int rows, int columns, int depth) {
  SHARED __attribute__((aligned(16))) bfloat tile_a[2][64 * stride], tile_b[2][64 * stride];
  const int t = thread(), lane = t & 63, wave = t >> 6, first_row = group_y() * 64, first_column = group_x() * 64;
  const int wave_row = (wave >> 1) * 32, wave_column = (wave & 1) * 32, within = lane & 31, upper = lane >> 5;
  const int rows_seen = mistake == gemm_short_descriptor ? rows - 1 : rows;
  auto from_a = __builtin_amdgcn_make_buffer_rsrc(const_cast<bfloat *>(a), 0, rows_seen * depth * 2, 0x00020000);
  auto from_b = __builtin_amdgcn_make_buffer_rsrc(const_cast<bfloat *>(b), 0, columns * depth * 2, 0x00020000);
  const int load_row = t >> 2, load_column = (t & 3) * 8;
  uint4 next_a, next_b;
  const auto load = [&](int k) {
    next_a = __builtin_amdgcn_raw_buffer_load_b128(from_a, ((first_row + load_row) * depth + k + load_column) * 2, 0, 0);
    next_b = __builtin_amdgcn_raw_buffer_load_b128(from_b, ((first_column + load_row) * depth + k + load_column) * 2, 0, 0);
  };
  const auto place = [&](int buffer) {
    *reinterpret_cast<uint4 *>(&tile_a[buffer][load_row * stride + load_column]) = next_a;
    *reinterpret_cast<uint4 *>(&tile_b[buffer][load_row * stride + load_column]) = next_b;
  };
  float16 sum;
  for (int e = 0; e < 16; ++e) sum[e] = 0.f;
  load(0);
  place(0);
  barrier();
  for (int k = 0, buffer = 0; k < depth; k += 32, buffer ^= 1) {
    const bool more = k + 32 < depth;
    if (more) load(mistake == gemm_same_slice ? k : k + 32);
#if defined(__gfx950__)
#pragma unroll
    for (int j = 0; j < 32; j += 16) {
      const bfloat8 x = *reinterpret_cast<const bfloat8 *>(&tile_a[buffer][(wave_row + within) * stride + j + 8 * upper]);
      const bfloat8 y = *reinterpret_cast<const bfloat8 *>(&tile_b[buffer][(wave_column + within) * stride + j + 8 * upper]);
      sum = __builtin_amdgcn_mfma_f32_32x32x16_bf16(x, y, sum, 0, 0, 0);
    }
#else
#pragma unroll
    for (int j = 0; j < 32; j += 8) {
      const bfloat4 x = *reinterpret_cast<const bfloat4 *>(&tile_a[buffer][(wave_row + within) * stride + j + 4 * upper]);
      const bfloat4 y = *reinterpret_cast<const bfloat4 *>(&tile_b[buffer][(wave_column + within) * stride + j + 4 * upper]);
      sum = __builtin_amdgcn_mfma_f32_32x32x8bf16_1k(x, y, sum, 0, 0, 0);
    }
#endif
    if (more) place(mistake == gemm_one_buffer ? buffer : buffer ^ 1);
    if (mistake != gemm_no_barrier) barrier();
  }
#pragma unroll
  for (int e = 0; e < 16; ++e) {
    const int of_unit = mistake == gemm_rows ? e + 16 * upper : 8 * (e / 4) + 4 * upper + e % 4;
    const int row = first_row + wave_row + of_unit, column = first_column + wave_column + within;
    if ((row < rows || mistake == gemm_no_row_guard) && column < columns)
      c[static_cast<long>(row) * columns + column] = static_cast<bfloat>(gelu(sum[e] + bias[column]));
  }
}

// y = (x - mean) / deviation * scale + shift over rows of 1024: 256 threads a row.
struct alignas(8) Four {
  bfloat of[4];
};
KERNEL(256) layer_norm(const bfloat *x, const float *scale, const float *shift, bfloat *y, float eps) {
  SHARED float sums[2][4];
  const int t = thread();
  const long at = static_cast<long>(group_x()) * 1024 + t * 4;
  Four four = *reinterpret_cast<const Four *>(x + at);
  float value[4], sum = 0.f, squares = 0.f;
  for (int i = 0; i < 4; ++i) sum += value[i] = static_cast<float>(four.of[i]);
  sum = reduce<Sum>(sum);
  if (t % 64 == 0) sums[0][t / 64] = sum;
  if (mistake != norm_no_barrier) barrier();
  const float mean = (sums[0][0] + sums[0][1] + sums[0][2] + sums[0][3]) / 1024;
  for (int i = 0; i < 4; ++i) value[i] -= mean, squares += value[i] * value[i];
  squares = reduce<Sum>(squares);
  float(&second)[4] = sums[mistake == norm_same_slot ? 0 : 1];
  if (t % 64 == 0) second[t / 64] = squares;
  barrier();
  const float factor = __builtin_amdgcn_rsqf((second[0] + second[1] + second[2] + second[3]) / 1024 + eps);
  for (int i = 0; i < 4; ++i) four.of[i] = static_cast<bfloat>(value[i] * factor * scale[t * 4 + i] + shift[t * 4 + i]);
  *reinterpret_cast<Four *>(y + at) = four;
}

// A wave a row; each lane keeps its own maximum and sum until the end.
KERNEL(256) softmax(const bfloat *x, bfloat *y, int rows, int columns, float scale) {
  const int lane = thread() % 64, row = group_x() * 4 + thread() / 64;
  if (row >= rows && mistake != softmax_no_row_guard) return;
  const bfloat *from = x + static_cast<long>(row) * columns;
  bfloat *to = y + static_cast<long>(row) * columns;
  const float factor = scale * 1.44269504f;
  float most = -3.0e38f, sum = 0.f;
  for (int i = lane; i < columns; i += 64) {
    const float value = static_cast<float>(from[i]) * factor, higher = __builtin_fmaxf(most, value);
    sum = sum * power2(most - higher) + power2(value - higher);
    most = higher;
  }
  const float everywhere = reduce<Most>(most);
  const float inverse = __builtin_amdgcn_rcpf(reduce<Sum>(mistake == softmax_no_rescale ? sum : sum * power2(most - everywhere)));
  const int end = mistake == softmax_one_too_many ? columns + 1 : columns;
  for (int i = lane; i < end; i += 64) to[i] = static_cast<bfloat>(power2(static_cast<float>(from[i]) * factor - everywhere) * inverse);
}

// Division as the language has it: clang writes v_div_scale, v_rcp, five v_fma, v_div_fmas and v_div_fixup for it, and the result is rounded right.
KERNEL(64) divide(const float *a, const float *b, float *c) {
  const int t = group_x() * 64 + thread();
  c[t] = a[t] / b[t];
}
