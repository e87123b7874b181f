// Step 3: out from o and pair.  A CTA holds both normalised tiles of its positions before it writes anything, so out may be the memory of
// pair or residual.
#pragma once
#include "cuda_operands.cuh"
#include "gpu_finish.cuh"

namespace lamina::triangle_multiplication {

// The chunks of weights in the order of use: for each block of 128 outputs the gate's and then the projection's; or, with the gate before
// the projection, all of the gate's blocks first.
template <class Operand>
class BackSchedule {
 public:
  const int gate_chunks, out_chunks, gate_blocks, out_blocks;

  __device__ BackSchedule(const BackJob &job, WeightStream<Operand> &weights)
      : gate_chunks((job.C + cuda::chunk<Operand> - 1) / cuda::chunk<Operand>),
        out_chunks((job.H + cuda::chunk<Operand> - 1) / cuda::chunk<Operand>),
        gate_blocks(((job.gate_before_projection ? job.H : job.C) + tile_outputs - 1) / tile_outputs),
        out_blocks((job.C + tile_outputs - 1) / tile_outputs),
        job_(job),
        weights_(weights) {}

  __device__ void fetch() {
    const int depth = gate_ ? job_.C : job_.H;
    const Operand *rows = static_cast<const Operand *>((gate_ ? job_.gate : job_.linear).weight) + block_ * tile_outputs * depth;
    weights_.fetch(block_ < (gate_ ? gate_blocks : out_blocks) ? rows : nullptr, depth, chunk_ * cuda::chunk<Operand>);
    if (++chunk_ < (gate_ ? gate_chunks : out_chunks)) return;
    chunk_ = 0;
    if (!job_.gate_before_projection) {
      if (!gate_) ++block_;
      gate_ = !gate_;
    } else if (++block_ == gate_blocks && gate_) {
      gate_ = false, block_ = 0;
    }
  }

 private:
  const BackJob &job_;
  WeightStream<Operand> &weights_;
  bool gate_ = true;
  int block_ = 0, chunk_ = 0;
};

template <class Io, class Plane, class Operand, int positions>
__device__ void back(const BackJob &job) {
  using Layout = WarpLayout<positions>;
  constexpr int widest = sizeof(Plane) > sizeof(Operand) ? sizeof(Plane) : sizeof(Operand);
  extern __shared__ __align__(128) char dynamic[];
  const int z_line = line_bytes(job.C, sizeof(Operand)) / static_cast<int>(sizeof(Operand));
  const int o_line = line_bytes(job.H, widest) / static_cast<int>(sizeof(Operand));
  Operand *z = reinterpret_cast<Operand *>(dynamic + stage_count * stage_bytes), *o = z + positions * z_line;

  const int64_t first = static_cast<int64_t>(blockIdx.x) * positions;
  WeightStream<Operand> weights(dynamic);
  BackSchedule<Operand> schedule(job, weights);
  for (int stage = 0; stage < stage_count - 1; ++stage) schedule.fetch();
  load_pair<positions, Io>(job.pair, job.pair_aligned, job.cells, job.norm_in, first, z);
  load_planes<positions, Plane, Operand>(static_cast<const Plane *>(job.o), job.cells.count, job.norm_out, first,
                                         reinterpret_cast<char *>(o));

  const auto multiply = [&](typename Layout::Tile &sum, const Operand *tile, int line, int chunks) {
    for (int chunk = 0; chunk < chunks; ++chunk) {
      const Operand *stage = weights.next();
      schedule.fetch();
      sum.template multiply<Operand, cuda::Along::k>(tile + Layout::row() * line + chunk * cuda::chunk<Operand>, line,
                                                     stage + Layout::column() * weights.line, weights.line);
    }
  };
  const auto gates = [&](int block) {
    typename Layout::Tile gate;
    multiply(gate, z, z_line, schedule.gate_chunks);
    const float *bias = job.gate.bias + block * tile_outputs + Layout::column();
    gate.for_each([&](int, int column, float &value) { value = gpu::sigmoid(value + bias[column]); });
    return gate;
  };

  if (job.gate_before_projection) {
    for (int block = 0; block < schedule.gate_blocks; ++block) {
      typename Layout::Tile gate = gates(block);
      gate.for_each([&](int row, int column, float &value) {
        const int channel = block * tile_outputs + Layout::column() + column;
        if (channel >= job.H) return;
        Operand &x = o[(Layout::row() + row) * o_line + channel];
        x = from_float<Operand>(to_float(x) * value);
      });
    }
  }
  for (int block = 0; block < schedule.out_blocks; ++block) {
    typename Layout::Tile sum, gate;
    if (!job.gate_before_projection) gate = gates(block);
    multiply(sum, o, o_line, schedule.out_chunks);
    const float *bias = job.linear.bias + block * tile_outputs + Layout::column();
    const int lane = threadIdx.x % 32;
#pragma unroll
    for (int m = 0; m < Layout::rows / 16; ++m)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const Cell cell(job.cells, first + Layout::row() + m * 16 + lane / 4 + half * 8);
        if (!cell.inside) continue;
        const RowOffsets offsets(job, cell);
#pragma unroll
        for (int n = 0; n < Layout::columns / 8; ++n) {
          const int column = n * 8 + lane % 4 * 2, channel = block * tile_outputs + Layout::column() + column;
          if (channel >= job.C) continue;
          float u[2];
#pragma unroll
          for (int e = 0; e < 2; ++e) {
            u[e] = sum.sum[m][n][half * 2 + e] + bias[column + e];
            if (!job.gate_before_projection) u[e] *= gate.sum[m][n][half * 2 + e];
          }
          finish<Io>(job, offsets, channel, u);
        }
      }
  }
}

}  // namespace lamina::triangle_multiplication
