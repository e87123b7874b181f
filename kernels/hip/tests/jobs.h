// The parameters of primitives.hip's kernels.
#pragma once

namespace lamina::hip {

struct ProductJob {
  const void *a, *b;  // [32][16]
  float *sums;        // [32][32]
};
struct RowsJob {
  const float *from;
  float *to;
};
struct CheckedJob {
  const void *from;
  void *to;
  int bytes;
};

}  // namespace lamina::hip
