// What a fat binary holds: its cubins by compute capability, and of each cubin the kernels with their parameters.
#pragma once
#include <string_view>
#include <vector>

#include "conformance/fake_cuda/fake_cuda.h"

namespace lamina::fake_cuda {

struct Piece {
  bool machine_code;  // else PTX
  int capability;
  bool exact;  // sm_90a: this capability alone
  std::string_view bytes;
};

// Throws std::runtime_error where the bytes are no fat binary of one format that nvcc 13 writes.  `image` must stay.
std::vector<Piece> pieces_of(const void *image);
// Null if the device can't run any: no cubin of its major version at or below its minor one, no PTX to compile.
const Piece *choose(const std::vector<Piece> &, int capability);
// Of a cubin.  PTX is taken to hold the kernels of the first cubin beside it: both come from one source.
std::vector<Kernel> kernels_of(std::string_view cubin);
std::vector<Kernel> kernels_for(const std::vector<Piece> &, int capability);

}  // namespace lamina::fake_cuda
