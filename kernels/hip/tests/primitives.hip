// Each word of kernels/hip in a kernel of its own, for primitives_test.cpp.
#include "jobs.h"
#include "kernels/hip/mma.h"

namespace lamina::hip {

// 32 x 32 sums of two matrices [32][16] whose lines are `line` elements apart.
template <class T>
__device__ void product(const ProductJob &job) {
  const T *a = static_cast<const T *>(job.a) + lane_line() * mma_depth + lane_half() * lane_depth;
  const T *b = static_cast<const T *>(job.b) + lane_line() * mma_depth + lane_half() * lane_depth;
  const Sums sums = multiply(load_fragment(a), load_fragment(b), Sums{});
  for (int r = 0; r < 16; ++r) job.sums[(8 * (r / 4) + 4 * lane_half() + r % 4) * 32 + lane_line()] = sums[r];
}

// The same through LDS lines of 64 bytes, a's rows placed, so that a lane's sums are 16 neighbouring rows.  Two waves fill the lines, one reads.
template <class T>
__device__ void placed_product(const ProductJob &job) {
  __shared__ Piece lines[2][32 * line_pieces];
  constexpr int here = mma_depth * static_cast<int>(sizeof(T)) / 16;  // pieces of a line
  const Piece *from[] = {static_cast<const Piece *>(job.a), static_cast<const Piece *>(job.b)};
  for (int side = 0; side < 2; ++side)
    for (int at = thread_index(); at < 32 * here; at += 2 * wave_lanes) {
      const int line = at / here;
      lines[side][piece_at(side == 0 ? place_of(line) : line, at % here)] = from[side][at];
    }
  barrier();
  if (wave_index() > 0) return;
  const Sums sums = multiply(load_fragment<T>(lines[0], lane_line(), 0), load_fragment<T>(lines[1], lane_line(), 0), Sums{});
  for (int r = 0; r < 16; ++r) job.sums[(16 * lane_half() + r) * 32 + lane_line()] = sums[r];
}

extern "C" __global__ void __launch_bounds__(64, 1) product_float32(ProductJob) { product<float>(job_of_launch<ProductJob>()); }
extern "C" __global__ void __launch_bounds__(64, 1) product_bfloat16(ProductJob) { product<bfloat16>(job_of_launch<ProductJob>()); }
extern "C" __global__ void __launch_bounds__(64, 1) product_float16(ProductJob) { product<float16>(job_of_launch<ProductJob>()); }
extern "C" __global__ void __launch_bounds__(128, 1) placed_float32(ProductJob) { placed_product<float>(job_of_launch<ProductJob>()); }
extern "C" __global__ void __launch_bounds__(128, 1) placed_bfloat16(ProductJob) { placed_product<bfloat16>(job_of_launch<ProductJob>()); }
extern "C" __global__ void __launch_bounds__(128, 1) placed_float16(ProductJob) { placed_product<float16>(job_of_launch<ProductJob>()); }

extern "C" __global__ void __launch_bounds__(256, 1) over_lanes(RowsJob) {
  const RowsJob &job = job_of_launch<RowsJob>();
  job.to[thread_index()] = over_16_lanes(job.from[thread_index()]);
}

// Pieces `inside` and `outside` of a memory of job.bytes bytes.
extern "C" __global__ void __launch_bounds__(64, 1) checked(CheckedJob) {
  const CheckedJob &job = job_of_launch<CheckedJob>();
  const CheckedMemory memory(job.from, job.bytes);
  const int lane = lane_index();
  static_cast<Piece *>(job.to)[lane] = memory.load(lane % 2 ? outside : lane * 16);
}

extern "C" __global__ void __launch_bounds__(64, 1) rounded(RowsJob) {
  const RowsJob &job = job_of_launch<RowsJob>();
  job.to[lane_index()] = precise_reciprocal(job.from[lane_index()]);
}

}  // namespace lamina::hip
