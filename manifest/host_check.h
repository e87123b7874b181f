// Does a host binding fit its layer's contract?  For host_binding.cpp.
#pragma once
#include "manifest/host_binding.h"

namespace lamina::manifest {

// Everything that a schema cannot see: names that must exist, shapes that must come out, arguments that must be fed.  Shapes are tried
// with distinct made-up extents, so a slice of the wrong half, a forgotten transpose or H for C is found without a checkpoint.
// Errors: malformed, invalid_argument.
void check_host_binding(const HostBinding &binding, const Contract &contract);

}  // namespace lamina::manifest
