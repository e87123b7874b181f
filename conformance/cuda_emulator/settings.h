// The words of LAMINA_CUDA_EMULATOR; README.md says what they mean.
#pragma once
#include "conformance/cuda_emulator/cluster.h"

namespace lamina::cuda_emulator {

struct Settings {
  unsigned seed = 1;
  ProductTime products = ProductTime::any;
  bool products_by_launch = true;  // early, late or any, another each launch
  bool report = false;
};
const Settings &settings();  // read once; a word that is unknown ends the program

}  // namespace lamina::cuda_emulator
