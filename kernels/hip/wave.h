// A workgroup's threads, as waves of 64 lanes.
#pragma once
#include "kernels/gpu/element.cuh"

namespace lamina::hip {

constexpr int wave_lanes = 64;

__device__ inline int thread_index() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
__device__ inline int lane_index() { return thread_index() % wave_lanes; }
// The same number in all lanes, and the compiler knows it: what depends on it stays in scalar registers.
__device__ inline int wave_index() { return __builtin_amdgcn_readfirstlane(thread_index() / wave_lanes); }
__device__ inline unsigned block_x() { return __builtin_amdgcn_workgroup_id_x(); }
__device__ inline unsigned block_y() { return __builtin_amdgcn_workgroup_id_y(); }
__device__ inline unsigned block_z() { return __builtin_amdgcn_workgroup_id_z(); }

// The kernel's one parameter where the launch put it, in constant memory: a copy that is indexed would lie in scratch.
template <class Job>
__device__ const Job &job_of_launch() {
  return *(const Job *)__builtin_amdgcn_kernarg_segment_ptr();
}

// All threads of the workgroup are here, and what they wrote to LDS is visible.  Loads from device memory may still be under way.
__device__ inline void barrier() {
  __builtin_amdgcn_fence(__ATOMIC_RELEASE, "workgroup", "local");
  __builtin_amdgcn_s_barrier();
  __builtin_amdgcn_fence(__ATOMIC_ACQUIRE, "workgroup", "local");
}

// x of the lane `by` further on in this lane's row of 16, around its end.
template <int by>
__device__ float rotated_in_row(float x) {
  return __builtin_bit_cast(float, __builtin_amdgcn_update_dpp(0, __builtin_bit_cast(int, x), 0x120 + by, 0xf, 0xf, true));
}
// The sum over 16 neighbouring lanes, in all of them.
__device__ inline float over_16_lanes(float x) {
  x += rotated_in_row<8>(x);
  x += rotated_in_row<4>(x);
  x += rotated_in_row<2>(x);
  return x + rotated_in_row<1>(x);
}

// 1 / x to the last bit but one: v_rcp_f32 and a Newton step.
__device__ inline float precise_reciprocal(float x) {
  const float guess = __builtin_amdgcn_rcpf(x);
  return __builtin_fmaf(__builtin_fmaf(-x, guess, 1.0f), guess, guess);
}
__device__ inline float reciprocal_root(float x) { return __builtin_amdgcn_rsqf(x); }

// The mean over a row that 16 lanes share, for gpu::moments_of.
class MeanOver16 {
 public:
  __device__ explicit MeanOver16(int channels) : inverse_(precise_reciprocal(static_cast<float>(channels))) {}
  __device__ float operator()(float sum) const { return over_16_lanes(sum) * inverse_; }

 private:
  float inverse_;
};

}  // namespace lamina::hip
