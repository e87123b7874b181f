// <layer>.h: the layer's arguments as a C struct with the contract's names, and inline calls that fill the ABI's table.
#pragma once
#include <string>

#include "manifest/contract.h"

namespace lamina::packager {

// C99, also C++11.  The same contract gives the same text.  [thread-safe]
std::string c_header(const manifest::Contract &contract);

}  // namespace lamina::packager
