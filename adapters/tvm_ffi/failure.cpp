#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

namespace lamina::tvm_ffi {

bool fail(Failure &failure, const char *kind, const char *format, ...) {
  failure.kind = kind;
  va_list values;
  va_start(values, format);
  vsnprintf(failure.message, sizeof failure.message, format, values);
  va_end(values);
  return false;
}

bool succeeded(lamina_status status, const lamina_error &error, Failure &failure) {
  // Names that tvm-ffi turns into Python's exceptions; it knows no NotImplementedError, which is a RuntimeError in Python too.
  switch (status) {
    case LAMINA_OK: return true;
    case LAMINA_INVALID_ARGUMENT:
    case LAMINA_WRONG_DEVICE:
    case LAMINA_WORKSPACE: return fail(failure, "ValueError", "%s", error.message);
    case LAMINA_NO_MEMORY: return fail(failure, "MemoryError", "%s", error.message);
    default: return fail(failure, "RuntimeError", "%s", error.message);
  }
}

}  // namespace lamina::tvm_ffi
