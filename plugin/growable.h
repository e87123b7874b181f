// Reading structs that may be older or newer than ours: shorter is zero-filled, of a longer one the tail must be zero.
#pragma once
#include <cstring>

#include "kernels/common/status.h"

namespace lamina::plugin {

// `what` names the struct in the message.
template <class T>
Status read_struct(const T *source, T &copy, const char *what, Failure &failure) {
  if (!source) return fail(failure, Status::invalid_argument, "%s is NULL", what);
  uint32_t size;
  memcpy(&size, source, sizeof size);
  if (size < 2 * sizeof(uint32_t))
    return fail(failure, Status::invalid_argument, "%s.struct_size is %u; set it to sizeof(%s)", what, size, what);
  if (size > 1u << 16) return fail(failure, Status::invalid_argument, "%s.struct_size is %u, which no version ever had", what, size);
  memset(static_cast<void *>(&copy), 0, sizeof copy);
  memcpy(static_cast<void *>(&copy), source, size < sizeof copy ? size : sizeof copy);
  for (size_t i = sizeof copy; i < size; ++i)
    if (reinterpret_cast<const unsigned char *>(source)[i])
      return fail(failure, Status::unsupported, "%s uses members this plug-in does not know (byte %zu of %u)", what, i, size);
  return Status::ok;
}

}  // namespace lamina::plugin
