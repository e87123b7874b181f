// LayerNorm's statistics and values of one row.  Device code for the CUDA and the HIP compiler: how lanes add up is the caller's.
#pragma once
#include "element.cuh"

namespace lamina::gpu {

// What LayerNorm needs of one row.
struct Moments {
  float mean, scale;  // scale: 1 / deviation
};

// Each element of a row as float, once over all `lanes` that share the row; a lane takes eight neighbours at a time.
template <int lanes, class T, class F>
__device__ void for_row(const T *row, int channels, bool aligned, int lane, F use) {
  for (int channel = lane * 8; channel < channels; channel += lanes * 8) {
    if (channel + 8 <= channels) {
      const Eight<T> eight = load_eight(row + channel, aligned);
#pragma unroll
      for (int e = 0; e < 8; ++e) use(to_float(eight.value[e]));
    } else {
      for (int at = channel; at < channels; ++at) use(to_float(row[at]));
    }
  }
}

// In two passes, so that a mean far above the deviation costs no digits.  over_lanes(x): the sum over the row's lanes, in all of them;
// root(x): 1 / sqrt(x).
template <int lanes, class T, class OverLanes, class Root>
__device__ Moments row_moments(const T *row, int channels, bool aligned, int lane, float inverse_channels, float eps, OverLanes over_lanes,
                               Root root) {
  float sum = 0, square = 0;
  for_row<lanes>(row, channels, aligned, lane, [&](float x) { sum += x; });
  const float mean = over_lanes(sum) * inverse_channels;
  for_row<lanes>(row, channels, aligned, lane, [&](float x) { square = __builtin_fmaf(x - mean, x - mean, square); });
  return {mean, root(__builtin_fmaf(over_lanes(square), inverse_channels, eps))};
}

// Neighbouring channels of a row, normalised; weight and bias are theirs.
template <int count>
__device__ void normalise(float (&x)[count], const Moments &moments, const float *weight, const float *bias) {
#pragma unroll
  for (int e = 0; e < count; ++e) x[e] = __builtin_fmaf((x[e] - moments.mean) * moments.scale, weight[e], bias[e]);
}

}  // namespace lamina::gpu
