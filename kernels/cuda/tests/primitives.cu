// One tiny kernel for each primitive of kernels/cuda: what it reads, moves or multiplies is written out for the host to check.
#include "jobs.h"
#include "kernels/cuda/mma_rows.cuh"
#include "kernels/cuda/turns.cuh"
#include "kernels/cuda/wgmma_mixed.cuh"
#include "kernels/cuda/wgmma_product.cuh"

namespace lamina::cuda::tests {

__device__ const uint32_t *words(const BufferJob &job) { return static_cast<const uint32_t *>(job.in); }

// Piece t of 16 bytes by thread t, in two groups; of every third piece nothing is read.  The first group's pieces are looked at while
// the second's may still be under way.
__device__ void copy_pieces_of(const BufferJob &job) {
  __shared__ uint4 tile[128];
  const uint4 *in = static_cast<const uint4 *>(job.in);
  uint4 *out = static_cast<uint4 *>(job.out);
  const int t = threadIdx.x;
  for (int group = 0; group < 2; ++group) {
    const int piece = group * 64 + t;
    copy_16_async(&tile[piece], in + piece, piece % 3 != 0);
    copy_commit();
  }
  copy_wait<1>();
  __syncthreads();
  out[t] = tile[63 - t];
  copy_wait<0>();
  __syncthreads();
  out[64 + t] = tile[127 - t];
}

// Four 8 x 8 matrices behind each other; lane l gives the address of line l.
template <bool transposed>
__device__ void matrices_of(const BufferJob &job) {
  alignas(16) __shared__ uint32_t lines[32][4];
  const int lane = threadIdx.x;
  for (int i = 0; i < 4; ++i) lines[lane][i] = words(job)[lane * 4 + i];
  __syncwarp();
  uint32_t to[4];
  if (transposed) load_matrices_transposed(to, shared_address(lines[lane]));
  else load_matrices(to, shared_address(lines[lane]));
  for (int i = 0; i < 4; ++i) static_cast<uint32_t *>(job.out)[lane * 4 + i] = to[i];
}

// 32 x 16 = A [32][chunk] or [chunk][32] times B [16][chunk] or [chunk][16], by one warp.
template <class T, Along along, Along b_along = Along::k>
__device__ void product_of(const ProductJob &job) {
  constexpr int depth = chunk<T>, rows = 32, columns = 16;
  constexpr int a_line = (along == Along::k ? depth : rows) + line_padding<T>,
                b_line = (b_along == Along::k ? depth : columns) + line_padding<T>;
  alignas(16) __shared__ T a[(along == Along::k ? rows : depth) * a_line], b[(b_along == Along::k ? columns : depth) * b_line];
  const T *from_a = static_cast<const T *>(job.a), *from_b = static_cast<const T *>(job.b);
  for (int i = threadIdx.x; i < rows * depth; i += 32) {
    const int row = i / depth, k = i % depth;
    a[along == Along::k ? row * a_line + k : k * a_line + row] = from_a[i];
  }
  for (int i = threadIdx.x; i < columns * depth; i += 32) {
    const int column = i / depth, k = i % depth;
    b[b_along == Along::k ? column * b_line + k : k * b_line + column] = from_b[i];
  }
  __syncwarp();
  WarpTile<2, 2> tile;
  if constexpr (b_along == Along::k) tile.multiply<T, along>(a, a_line, b, b_line);
  else RowsProduct<T, 2, 2>::template multiply<along, b_along>(tile, a, a_line, b, b_line);
  tile.for_each([&](int row, int column, float &value) { job.sum[row * columns + column] = value; });
}

#if defined(__CUDA_ARCH_FEAT_SM90_ALL) || !defined(__CUDA_ARCH__)

// A ring of two slots: warp 0 fills, warp 1 empties, `count` rounds; whoever runs ahead corrupts what the other sees.
__device__ void barrier_ring_of(const BufferJob &job) {
  __shared__ Barrier full[2], free[2];
  __shared__ uint32_t slot[2][32];
  const int lane = threadIdx.x % 32;
  if (threadIdx.x == 0) {
    for (Barrier &barrier : full) barrier.init(32);
    for (Barrier &barrier : free) barrier.init(32);
    publish_barriers();
  }
  __syncthreads();
  for (int round = 0; round < job.count; ++round) {
    const int at = round % 2, phase = round / 2 % 2;
    if (threadIdx.x < 32) {
      free[at].wait(phase ^ 1);  // the first wait on a fresh barrier returns at once
      if (round % 5 == 0) __nanosleep(2000);
      slot[at][lane] = words(job)[round * 32 + lane];
      full[at].arrive();
    } else {
      full[at].wait(phase);
      if (round % 7 == 0) __nanosleep(2000);
      static_cast<uint32_t *>(job.out)[round * 32 + lane] = slot[at][31 - lane];
      free[at].arrive();
    }
  }
}

// Registers move from the last warpgroup to the others, which then hold more values than the launch gave them.
__device__ void registers_of(const BufferJob &job) {
  const int group = threadIdx.x / 128;
  if (group == 2) {
    lower_registers<40>();
  } else {
    raise_registers<200>();
    uint32_t value[160];
#pragma unroll
    for (int i = 0; i < 160; ++i) value[i] = words(job)[(threadIdx.x + i) % 256];
    uint32_t sum = 0;
    for (int turn = 0; turn < job.count; ++turn)
#pragma unroll
      for (int i = 0; i < 160; ++i) sum += value[i] ^= sum + turn;
    static_cast<uint32_t *>(job.out)[threadIdx.x] = sum;
  }
}

// Three warpgroups log their turns; the last has one turn less, and each is late now and then.
__device__ void turns_of(const BufferJob &job) {
  __shared__ Turns<3> turns;
  __shared__ int logged;
  const int worker = threadIdx.x / 128;
  if (threadIdx.x == 0) {
    turns.init();
    publish_barriers();
    logged = 0;
  }
  __syncthreads();
  Turn<3, true> turn(turns, worker);
  for (int round = 0; round < job.count - (worker == 2); ++round) {
    if ((round + worker) % 4 == 0) __nanosleep(2000);
    turn.take();
    if (threadIdx.x % 128 == 0) static_cast<uint32_t *>(job.out)[logged++] = static_cast<uint32_t>(worker * 1000 + round);
    turn.give();
  }
  if (worker == 2) turn.pass(1);
}

// The first lets the next kernel start at once and writes late; the second waits for all that the first wrote.
__device__ void first_of_two_kernels(const BufferJob &job) {
  allow_next_kernel();
  __nanosleep(200000);
  static_cast<uint32_t *>(job.out)[threadIdx.x] = words(job)[threadIdx.x] + 1;
}
__device__ void second_of_two_kernels(const BufferJob &job) {
  wait_for_previous_kernel();
  static_cast<uint32_t *>(job.out)[threadIdx.x] = words(job)[threadIdx.x] * 3;
}

// A box there and back; `seen` is the box in order, so that the swizzle's formula is checked too.
template <int rank>
__device__ void boxes_of(const BoxJob &job) {
  alignas(1024) __shared__ __nv_bfloat16 box[box_rows * box_columns];
  __shared__ Barrier full;
  const int lane = threadIdx.x;
  if (lane == 0) {
    full.init(1);
    publish_barriers();
  }
  __syncwarp();
  if (lane == 0) {
    full.expect(sizeof box);
    if constexpr (rank == 2) load_box(job.from, full, box, job.x, job.y);
    else load_box(job.from, full, box, job.x, job.y, job.z);
  }
  full.wait(0);
  for (int piece = lane; piece < box_rows * 8; piece += 32) {
    const uint32_t at = swizzled(shared_address(box), piece / 8, piece % 8);
    uint4 value = load_shared_16(at);
    static_cast<uint4 *>(job.seen)[piece] = value;
    value.x ^= 0x80008000u, value.y ^= 0x80008000u, value.z ^= 0x80008000u, value.w ^= 0x80008000u;  // what goes back has other signs
    store_shared_16(at, value);
  }
  publish_shared();
  __syncwarp();
  if (lane == 0) {
    if constexpr (rank == 2) store_box(job.to, box, job.x, job.y);
    else store_box(job.to, box, job.x, job.y, job.z);
    commit_stores();
    wait_stores_read<0>();
    wait_stores<0>();
  }
}

// Lane l gives four registers; line l of four 8 x 8 matrices comes out.
template <bool transposed>
__device__ void stored_matrices_of(const BufferJob &job) {
  alignas(16) __shared__ uint32_t lines[32][4];
  const int lane = threadIdx.x;
  const uint32_t *from = words(job) + lane * 4;
  if (transposed) store_matrices_transposed(shared_address(lines[lane]), from[0], from[1], from[2], from[3]);
  else store_matrices(shared_address(lines[lane]), from[0], from[1], from[2], from[3]);
  __syncwarp();
  for (int i = 0; i < 4; ++i) static_cast<uint32_t *>(job.out)[lane * 4 + i] = lines[lane][i];
}

// For two floats: their pair, its halves as floats again, and the approximate tanh of the first.
__device__ void pairs_of(const BufferJob &job) {
  const float *in = static_cast<const float *>(job.in);
  float *out = static_cast<float *>(job.out);
  for (int i = threadIdx.x; i < job.count; i += 32) {
    const uint32_t pair = pack(in[2 * i], in[2 * i + 1]);
    out[4 * i] = __uint_as_float(pair), out[4 * i + 1] = low_half(pair), out[4 * i + 2] = high_half(pair);
    out[4 * i + 3] = tanh_approximate(in[2 * i]);
  }
}

template <int columns, Lines lines>
__device__ void load_operands(const GroupProductJob &job, Barrier &full, char *a, char *b) {
  if (threadIdx.x == 0) {
    full.init(1);
    publish_barriers();
    full.expect((64 + columns) * 64 * 2);
    load_box(job.a, full, a, 0, 0);
    if constexpr (lines == Lines::along_k) load_box(job.b, full, b, 0, 0);
    else
      for (int part = 0; part < columns / 64; ++part) load_box(job.b, full, b + part * 8192, part * 64, 0);
  }
  __syncthreads();
  full.wait(0);
}

template <int columns>
__device__ void write_sums(const GroupProductJob &job, const float (&sum)[columns / 2]) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
  for (int j = 0; j < columns / 8; ++j)
    for (int e = 0; e < 4; ++e) job.sum[(warp * 16 + lane / 4 + e / 2 * 8) * columns + j * 8 + lane % 4 * 2 + e % 2] = sum[4 * j + e];
}

// 64 x columns, 64 deep, both operands in shared memory; then once more on top, so that adding is seen.
template <int columns, Lines lines>
__device__ void group_product_of(const GroupProductJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Barrier &full = *reinterpret_cast<Barrier *>(dynamic + 49152);  // beside nothing static, so that `dynamic` begins at a multiple of 1024
  char *a = dynamic, *b = dynamic + 8192;
  load_operands<columns, lines>(job, full, a, b);
  const uint64_t left = operand(shared_address(a), 8192), right = operand(shared_address(b), 8192);
  float sum[columns / 2];
  begin_products();
#pragma unroll
  for (int k = 0; k < 8; ++k) multiply<lines>(sum, deeper<lines>(left, k % 4), deeper<lines>(right, k % 4), k > 0);
  commit_products();
  wait_products<0>();
  write_sums<columns>(job, sum);
}

// The same where the two may lie differently.
template <int columns, Lines a_lines, Lines b_lines>
__device__ void mixed_product_of(const GroupProductJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Barrier &full = *reinterpret_cast<Barrier *>(dynamic + 49152);
  char *a = dynamic, *b = dynamic + 8192;
  load_operands<columns, b_lines>(job, full, a, b);
  const uint64_t left = operand(shared_address(a), 8192), right = operand(shared_address(b), 8192);
  float sum[columns / 2];
  begin_products();
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    const uint64_t a_k = deeper<a_lines>(left, k % 4), b_k = deeper<b_lines>(right, k % 4);
    if constexpr (columns == 192) product<__nv_bfloat16, a_lines, b_lines>(sum, a_k, b_k, k > 0);
    else multiply_mixed<a_lines, b_lines>(sum, a_k, b_k, k > 0);
  }
  commit_products();
  wait_products<0>();
  write_sums<columns>(job, sum);
}

// The same with A in registers; b_lines of wgmma_mixed.cuh: 64 columns along k, 128 along their rows.
template <int columns, Lines b_lines>
__device__ void mixed_product_from_registers(const GroupProductJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Barrier &full = *reinterpret_cast<Barrier *>(dynamic + 49152);
  char *a = dynamic, *b = dynamic + 8192;
  load_operands<columns, b_lines>(job, full, a, b);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, matrix = lane / 8;
  uint32_t left[4][4];
  for (int k = 0; k < 4; ++k)
    load_matrices(left[k], swizzled(shared_address(a), warp * 16 + matrix % 2 * 8 + lane % 8, 2 * k + matrix / 2));
  const uint64_t right = operand(shared_address(b), 8192);
  float sum[columns / 2];
  begin_products();
#pragma unroll
  for (int k = 0; k < 8; ++k) {
    if constexpr (b_lines == Lines::along_k) multiply(sum, left[k % 4], deeper<b_lines>(right, k % 4), k > 0);
    else multiply_by_rows(sum, left[k % 4], deeper<b_lines>(right, k % 4), k > 0);
  }
  commit_products();
  wait_products<0>();
  write_sums<columns>(job, sum);
}

// A in registers, 64 or 128 columns along k.
template <int columns>
__device__ void group_product_from_registers(const GroupProductJob &job) {
  extern __shared__ __align__(1024) char dynamic[];
  Barrier &full = *reinterpret_cast<Barrier *>(dynamic + 49152);  // beside nothing static, so that `dynamic` begins at a multiple of 1024
  char *a = dynamic, *b = dynamic + 8192;
  load_operands<columns, Lines::along_k>(job, full, a, b);
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32, matrix = lane / 8;
  uint32_t left[4][4];
  for (int k = 0; k < 4; ++k)
    load_matrices(left[k], swizzled(shared_address(a), warp * 16 + matrix % 2 * 8 + lane % 8, 2 * k + matrix / 2));
  const uint64_t right = operand(shared_address(b), 8192);
  float sum[columns / 2];
  begin_products();
#pragma unroll
  for (int k = 0; k < 8; ++k) multiply<__nv_bfloat16>(sum, left[k % 4], deeper<Lines::along_k>(right, k % 4), k > 0);
  commit_products();
  wait_products<0>();
  write_sums<columns>(job, sum);
}

#endif

#define LAMINA_ROW(name, shared, threads, Job, call) \
  extern "C" __global__ void __launch_bounds__(threads, 1) name(const __grid_constant__ Job job) { call(job); }
LAMINA_PORTABLE_TESTS(LAMINA_ROW)
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
LAMINA_HOPPER_TESTS(LAMINA_ROW)
#endif
#undef LAMINA_ROW

}  // namespace lamina::cuda::tests
