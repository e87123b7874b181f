// Parameters of any strides and dtypes into the packed bytes that front and back read; blockIdx.y chooses the part.
#pragma once
#include "cuda_operands.cuh"
#include "kernels/cuda/barrier.cuh"

namespace lamina::triangle_multiplication {

struct PackedRow {  // what row of which linear layer a packed row holds
  const Linear *linear;
  int64_t row;  // -1: padding
  float factor = 1;
};

enum class Part { front, out, out_gate };

__device__ inline PackedRow packed_row(const PackJob &job, Part part, int64_t row) {
  if (part == Part::out) return {&job.out_projection, row < job.C ? row : -1};
  if (part == Part::out_gate) return {&job.out_gate, row < job.gate_width ? row : -1};
  const int64_t channel = row / 16 * 8 + row % 8;
  const bool gate = row % 16 >= 8;
  const float factor = gate ? gate_factor : 1;
  if (channel < job.H) return {gate ? &job.a_gate : &job.a_projection, channel, factor};
  return {gate ? &job.b_gate : &job.b_projection, channel < 2 * job.H ? channel - job.H : -1, factor};
}

// The neighbour of a 16-bit number upwards or downwards; 0 stays.
template <class Operand>
__device__ Operand next_to(Operand x, bool up) {
  uint16_t bits = __builtin_bit_cast(uint16_t, x);
  if (!(bits & 0x7fff)) return x;
  bits = static_cast<uint16_t>(bits + ((bits >> 15 != 0) == up ? -1 : 1));
  return __builtin_bit_cast(Operand, bits);
}

// A row that sums to zero shall do so when it is rounded, too: what is left is multiplied by the mean of the rows that this is multiplied
// with.  `missing` is what rounding took from a lane's numbers; as many lanes as it needs, in their order, give their first one a step.
template <class Operand>
__device__ Operand balanced(Operand first, float missing) {
  missing = Row<32>::over_lanes(missing);
  const Operand moved = next_to(first, missing > 0);
  const float step = fabsf(gpu::to_float(moved) - gpu::to_float(first));
  float until = step;  // steps of the lanes up to this one
#pragma unroll
  for (int distance = 1; distance < 32; distance *= 2) {
    const int lane = static_cast<int>(threadIdx.x % 32);
    const float other = __shfl_sync(~0u, until, (lane - distance) & 31);
    if (lane >= distance) until += other;
  }
  return until - step / 2 < fabsf(missing) ? moved : first;
}

// A lane's share of up to 256 neighbours of a row: every 32nd.  All loads are on their way before the first one is used, and nothing
// depends on what they bring: packing is short, so it waits for memory once.
constexpr int pack_share = 8;
struct PackShare {
  float value[pack_share];

  // Elements from `first` on, `stride` apart, `count` of them; zeros beyond.
  __device__ void load(const View &from, int64_t first, int64_t stride, int64_t count) {
    const int lane = threadIdx.x % 32;
    const auto each = [&](auto element) {
#pragma unroll
      for (int i = 0; i < pack_share; ++i) value[i] = lane + i * 32 < count ? element(first + (lane + i * 32) * stride) : 0.0f;
    };
    const auto typed = [&]<class T>(const T *data) { each([=](int64_t at) { return to_float(data[at]); }); };
    switch (from.dtype) {
      case DType::float32: return typed(static_cast<const float *>(from.data));
      case DType::float16: return typed(static_cast<const float16 *>(from.data));
      default: return typed(static_cast<const bfloat16 *>(from.data));  // the contract has no other parameters
    }
  }
};

// Up to 256 numbers of a packed row, and of the LayerNorm to fold in.
struct PackPiece {
  PackShare row, weight, bias;

  __device__ PackPiece(const PackedRow &source, const Norm *norm, int64_t first, int64_t depth) {
    const View &from = source.linear->weight;
    row.load(from, source.row * from.stride[0] + first * from.stride[1], from.stride[1], source.row < 0 ? 0 : depth - first);
    if (!norm) return;
    weight.load(norm->weight, first * norm->weight.stride[0], norm->weight.stride[0], depth - first);
    bias.load(norm->bias, first * norm->bias.stride[0], norm->bias.stride[0], depth - first);
  }
};

// A warp a row.  norm: the LayerNorm to fold in, or null.
template <class Operand>
__device__ void pack_linear(const PackJob &job, Part which, const PackedPart &part, const Norm *norm, int64_t warp, int64_t warps) {
  constexpr int64_t piece_depth = 32 * pack_share;
  Operand *weight = reinterpret_cast<Operand *>(job.packed + part.weight);
  float *bias = reinterpret_cast<float *>(job.packed + part.bias);
  const int lane = threadIdx.x % 32;
  for (int64_t row = warp; row < part.rows; row += warps) {
    const PackedRow source = packed_row(job, which, row);
    const View &from_bias = source.linear->bias;
    float own_bias = 0;  // asked for before it is needed, too
    if (lane == 0 && source.row >= 0 && from_bias.present)
      own_bias = source.factor * gpu::load_any(from_bias.data, from_bias.dtype, source.row * from_bias.stride[0]);
    PackPiece piece(source, norm, 0, part.depth);
    float mean = 0, shift = 0;
    if (norm) {
      for (int64_t from = 0; from < part.depth; from += piece_depth) {
        if (from > 0) piece = PackPiece(source, norm, from, part.depth);
#pragma unroll
        for (int i = 0; i < pack_share; ++i) {
          const float value = source.factor * piece.row.value[i];
          mean += value * piece.weight.value[i], shift += value * piece.bias.value[i];
        }
      }
      mean = Row<32>::over_lanes(mean) / static_cast<float>(part.depth), shift = Row<32>::over_lanes(shift);
    }
    float missing = 0;
    Operand first{};
    for (int64_t from = 0; from < part.depth; from += piece_depth) {
      if (part.depth > piece_depth) piece = PackPiece(source, norm, from, part.depth);
#pragma unroll
      for (int i = 0; i < pack_share; ++i) {
        const int64_t k = from + lane + i * 32;
        if (k >= part.depth) continue;
        const float value = source.factor * piece.row.value[i], exact = norm ? value * piece.weight.value[i] - mean : value;
        const Operand rounded = gpu::from_float<Operand>(exact);
        weight[row * part.depth + k] = rounded, missing += exact - gpu::to_float(rounded);
        if (k == lane) first = rounded;
      }
    }
    if constexpr (sizeof(Operand) == 2)  // folded parts are 128 wide at least: every lane has a number
      if (norm) weight[row * part.depth + lane] = balanced(first, missing);
    if (lane == 0) bias[row] = shift + own_bias;
  }
}

__device__ inline void pack_norm(const Norm &norm, int64_t channels, float *to, int64_t thread, int64_t threads) {
  for (int64_t at = thread; at < 2 * channels; at += threads) {
    to[at] = gpu::load_or(at < channels ? norm.weight : norm.bias, at % channels, 0.0f);
  }
}

template <class Operand>
__device__ void pack(const PackJob &job) {
#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900  // launched early there, see packs_early
  cuda::wait_for_previous_kernel();
  cuda::allow_next_kernel();
#endif
  const int64_t thread = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x,
                threads = static_cast<int64_t>(gridDim.x) * blockDim.x;
  const int64_t warp = thread / 32, warps = threads / 32;
  const PackedLayout &layout = job.layout;
  switch (blockIdx.y) {
    case 0: return pack_linear<Operand>(job, Part::front, layout.front, nullptr, warp, warps);
    case 1: return pack_linear<Operand>(job, Part::out, layout.out, nullptr, warp, warps);
    case 2: return pack_linear<Operand>(job, Part::out_gate, layout.out_gate, nullptr, warp, warps);
    case 3: return pack_linear<Operand>(job, Part::front, layout.folded_front, &job.norm_in, warp, warps);
    case 4: return pack_linear<Operand>(job, Part::out, layout.folded_out, &job.norm_out, warp, warps);
    case 5: return pack_linear<Operand>(job, Part::out_gate, layout.folded_gate, &job.norm_in, warp, warps);
    default:
      pack_norm(job.norm_in, job.C, reinterpret_cast<float *>(job.packed + layout.norm_in), thread, threads);
      pack_norm(job.norm_out, job.H, reinterpret_cast<float *>(job.packed + layout.norm_out), thread, threads);
  }
}

}  // namespace lamina::triangle_multiplication
