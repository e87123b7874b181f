// Element values across dtypes, for hosts that hold weights or inputs in another dtype than they compute in.
#pragma once
#include <vector>

#include "manifest/tensor.h"

namespace lamina::manifest {

// One element as a double: exact for every floating dtype, bool and integers up to 32 bits; 64-bit integers round to nearest.
// Errors: unsupported for a dtype without a name.  [thread-safe]
double load_element(const void *from, lamina_dtype dtype);

// Rounds to nearest, ties to even, once: no detour over float32.  Too large for a floating dtype becomes infinity.  Integers and bool take
// whole values in range only.  Errors: invalid_argument when they cannot hold it, unsupported.  [thread-safe]
void store_element(void *to, lamina_dtype dtype, double value);

// The elements of a view in another dtype, row-major.  Errors: as above.  [thread-safe]
std::vector<unsigned char> converted(const TensorView &view, lamina_dtype dtype);

}  // namespace lamina::manifest
