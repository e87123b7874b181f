// LayerNorm of one row, and its gradient.  Device code for the CUDA and the HIP compiler: how lanes share a row, add up, divide and take
// roots is the caller's.
#pragma once
#include "element.cuh"

namespace lamina::gpu {

// What LayerNorm needs of one row.
struct Moments {
  float mean, scale;  // scale: 1 / deviation
};

// In two passes, so that a mean far above the deviation costs no digits.
//   first(use)      calls use(x) for every element of the row that this lane has
//   again(use)      the same in the same order; first may have brought what again finds in registers
//   mean_over(sum)  the mean over the row, in all of its lanes, of what each of them has added up
//   root(x)         1 / sqrt(x)
template <class First, class Again, class MeanOver, class Root>
__device__ Moments moments_of(float eps, First first, Again again, MeanOver mean_over, Root root) {
  float sum = 0, square = 0;
  first([&](float x) { sum += x; });
  const float mean = mean_over(sum);
  again([&](float x) { square = __builtin_fmaf(x - mean, x - mean, square); });
  return {mean, root(mean_over(square) + eps)};
}
// The same of a row whose elements each(use) hands out as float &: they are left less their mean, and `scale` comes back.
template <class Each, class MeanOver, class Root>
__device__ float centre(float eps, Each each, MeanOver mean_over, Root root) {
  float sum = 0, square = 0;
  each([&](float &x) { sum += x; });
  const float mean = mean_over(sum);
  each([&](float &x) { x -= mean, square = __builtin_fmaf(x, x, square); });
  return root(mean_over(square) + eps);
}

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

// moments_of a row in memory.
template <int lanes, class T, class MeanOver, class Root>
__device__ Moments row_moments(const T *row, int channels, bool aligned, int lane, float eps, MeanOver mean_over, Root root) {
  const auto each = [&](auto use) { for_row<lanes>(row, channels, aligned, lane, use); };
  return moments_of(eps, each, each, mean_over, root);
}

// An element at mean 0 and deviation 1 of its row, and that times its channel's weight, plus its bias; `scaled` takes it less its mean.
__device__ inline float standardised(float x, const Moments &of_row) { return (x - of_row.mean) * of_row.scale; }
__device__ inline float scaled(float centred, float scale, float weight, float bias) {
  return __builtin_fmaf(centred * scale, weight, bias);
}
__device__ inline float normalised(float x, const Moments &of_row, float weight, float bias) {
  return scaled(x - of_row.mean, of_row.scale, weight, bias);
}

// Neighbouring channels of a row; weight and bias are theirs.
template <int count>
__device__ void normalise(float (&x)[count], const Moments &of_row, const float *weight, const float *bias) {
#pragma unroll
  for (int e = 0; e < count; ++e) x[e] = normalised(x[e], of_row, weight[e], bias[e]);
}

// The gradient of an element.  `hat` is the standardised element, `gradient` that of hat: the normalised element's times its weight;
// slope and along: the row's means of gradient and of gradient * hat.
__device__ inline float input_gradient(float gradient, float hat, float scale, float slope, float along) {
  return scale * (gradient - slope - hat * along);
}

}  // namespace lamina::gpu
