// Step 2: o[h] = a[h] b[h]' for every channel h and batch, a 128 x 128 tile of o a CTA.
#pragma once
#include "cuda_job.h"
#include "kernels/cuda/mma.cuh"

namespace lamina::triangle_multiplication {

constexpr int contract_tile = 128, contract_threads = 256, contract_stages = 3;

template <class T>
struct alignas(16) ContractStage {
  static constexpr int line = cuda::chunk<T> + cuda::line_padding<T>;
  T a[contract_tile * line], b[contract_tile * line];
};
template <class T>
constexpr uint32_t contract_shared_bytes = contract_stages * sizeof(ContractStage<T>);

// Rows from `row` on of one [N][pitch] matrix; zeros beyond row N and beyond column pitch.  Columns N..pitch-1 hold zeros already.
template <class T>
__device__ void copy_tile(const T *matrix, int N, int pitch, int row, int k, T *tile) {
  constexpr int pieces = 4, elements = 16 / sizeof(T);  // 64 bytes a row and chunk
  for (int piece = threadIdx.x; piece < contract_tile * pieces; piece += contract_threads) {
    const int within = piece / pieces, at = piece % pieces * elements;
    const bool valid = row + within < N && k + at < pitch;
    const T *from = matrix + (valid ? static_cast<int64_t>(row + within) * pitch + k + at : 0);
    cuda::copy_16_async(tile + within * ContractStage<T>::line + at, from, valid);
  }
}

template <class T>
__device__ void contract(const ContractJob &job) {
  extern __shared__ __align__(128) char dynamic[];
  ContractStage<T> *stages = reinterpret_cast<ContractStage<T> *>(dynamic);
  constexpr int line = ContractStage<T>::line;
  const int tiles = (job.N + contract_tile - 1) / contract_tile;
  const int row = static_cast<int>(blockIdx.x) / tiles * contract_tile, column = static_cast<int>(blockIdx.x) % tiles * contract_tile;
  const int64_t matrix = blockIdx.y * job.plane + blockIdx.z * static_cast<int64_t>(job.N) * job.pitch;
  const T *a = static_cast<const T *>(job.a) + matrix, *b = static_cast<const T *>(job.b) + matrix;

  const int chunks = (job.pitch + cuda::chunk<T> - 1) / cuda::chunk<T>;
  const auto fetch = [&](int index) {
    if (index < chunks) {
      ContractStage<T> &stage = stages[index % contract_stages];
      copy_tile(a, job.N, job.pitch, row, index * cuda::chunk<T>, stage.a);
      copy_tile(b, job.N, job.pitch, column, index * cuda::chunk<T>, stage.b);
    }
    cuda::copy_commit();  // an empty group keeps the count
  };
  for (int index = 0; index < contract_stages - 1; ++index) fetch(index);

  const int warp = threadIdx.x / 32, warp_row = warp % 4 * 32, warp_column = warp / 4 * 64;
  cuda::WarpTile<2, 8> sum;
  for (int index = 0; index < chunks; ++index) {
    cuda::copy_wait<contract_stages - 2>();
    __syncthreads();  // this chunk is here, and nobody reads the stage that is filled next
    fetch(index + contract_stages - 1);
    const ContractStage<T> &stage = stages[index % contract_stages];
    sum.template multiply<T, cuda::Along::k>(stage.a + warp_row * line, line, stage.b + warp_column * line, line);
  }

  T *o = static_cast<T *>(job.o) + matrix;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int m = 0; m < 2; ++m)
#pragma unroll
    for (int n = 0; n < 8; ++n)
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int i = row + warp_row + m * 16 + lane / 4 + half * 8, j = column + warp_column + n * 8 + lane % 4 * 2;
        if (i >= job.N || j >= job.pitch) continue;
        struct alignas(2 * sizeof(T)) Two {
          T value[2];
        };
        const Two two = {{gpu::from_float<T>(sum.sum[m][n][2 * half]), gpu::from_float<T>(sum.sum[m][n][2 * half + 1])}};
        *reinterpret_cast<Two *>(o + static_cast<int64_t>(i) * job.pitch + j) = two;
      }
}

}  // namespace lamina::triangle_multiplication
