// Row-wise device code in one kernel, for both compilers: LayerNorm of a row by 32 lanes.
#include "kernels/gpu/rows.cuh"

using namespace lamina;

#ifdef __HIP__
__device__ inline int lane() { return static_cast<int>(__builtin_amdgcn_workitem_id_x()); }
__device__ inline float from_lane(float x, int other) {
  return __builtin_bit_cast(float, __builtin_amdgcn_ds_bpermute(other * 4, __builtin_bit_cast(int, x)));
}
__device__ inline float root(float x) { return __builtin_amdgcn_rsqf(x); }
#define LAMINA_BOUNDS __launch_bounds__(64, 1)
#else
__device__ inline int lane() { return static_cast<int>(threadIdx.x % 32); }
__device__ inline float from_lane(float x, int other) { return __shfl_sync(~0u, x, other); }
__device__ inline float root(float x) { return rsqrtf(x); }
#define LAMINA_BOUNDS
#endif

extern "C" __global__ void LAMINA_BOUNDS norm_row(const gpu::bfloat16 *x, const float *weight, const float *bias, gpu::bfloat16 *out,
                                                  int channels) {
  const auto mean_over = [channels](float sum) {
    for (int step = 16; step; step /= 2) sum += from_lane(sum, lane() ^ step);
    return sum / static_cast<float>(channels);
  };
  const gpu::Moments moments = gpu::row_moments<32>(x, channels, true, lane(), 1e-5f, mean_over, [](float square) { return root(square); });
  for (int channel = lane() * 8; channel < channels; channel += 32 * 8) {
    const gpu::Eight<gpu::bfloat16> eight = gpu::load_eight(x + channel, true);
    float u[8];
    for (int e = 0; e < 8; ++e) u[e] = gpu::to_float(eight.value[e]);
    gpu::normalise(u, moments, weight + channel, bias + channel);
    gpu::Eight<gpu::bfloat16> result;
    for (int e = 0; e < 8; ++e) result.value[e] = gpu::from_float<gpu::bfloat16>(u[e]);
    gpu::store_eight(out + channel, result, true);
  }
}
