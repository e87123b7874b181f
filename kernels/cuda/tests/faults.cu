// Faults that compute-sanitizer is there to find, one a kernel, and a kernel without any.
#include "jobs.h"

namespace lamina::cuda::tests {

// `in` and `out` hold `count` words; one CTA of 64 threads.
__device__ const uint32_t *words(const BufferJob &job) { return static_cast<const uint32_t *>(job.in); }
__device__ uint32_t *results(const BufferJob &job) { return static_cast<uint32_t *>(job.out); }

__device__ void no_fault(const BufferJob &job) {
  __shared__ uint32_t turned[64];
  turned[threadIdx.x] = words(job)[threadIdx.x];
  __syncthreads();
  results(job)[threadIdx.x] = turned[63 - threadIdx.x];
}

__device__ void out_of_bounds(const BufferJob &job) { results(job)[threadIdx.x + job.count - 63] = words(job)[threadIdx.x]; }

__device__ void race(const BufferJob &job) {
  __shared__ uint32_t turned[64];
  turned[threadIdx.x] = words(job)[threadIdx.x];
  results(job)[threadIdx.x] = turned[63 - threadIdx.x];  // another warp's word, and no barrier between
}

// Half of the second warp waits at a barrier of lanes that does not name it.
__device__ void barrier(const BufferJob &job) {
  results(job)[threadIdx.x] = words(job)[threadIdx.x];
  __syncwarp(threadIdx.x < 32 ? ~0u : 0xffffu);
}

__device__ void uninitialised(const BufferJob &job) { results(job)[threadIdx.x] += words(job)[threadIdx.x]; }  // nobody wrote them

#define LAMINA_ROW(name, shared, threads, Job, call) \
  extern "C" __global__ void name(const __grid_constant__ Job job) { call(job); }
LAMINA_FAULTS(LAMINA_ROW)
#undef LAMINA_ROW

}  // namespace lamina::cuda::tests
