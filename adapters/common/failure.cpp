#include "failure.h"

#include <stdarg.h>
#include <stdio.h>

namespace lamina::adapters {

bool fail(Failure &failure, Mistake mistake, const char *format, ...) {
  failure.mistake = mistake;
  va_list values;
  va_start(values, format);
  vsnprintf(failure.message, sizeof failure.message, format, values);
  va_end(values);
  return false;
}

bool succeeded(lamina_status status, const lamina_error &error, Failure &failure) {
  switch (status) {
    case LAMINA_OK: return true;
    case LAMINA_INVALID_ARGUMENT:
    case LAMINA_WRONG_DEVICE:
    case LAMINA_WORKSPACE: return fail(failure, Mistake::value, "%s", error.message);
    case LAMINA_UNSUPPORTED: return fail(failure, Mistake::unsupported, "%s", error.message);
    case LAMINA_NO_MEMORY: return fail(failure, Mistake::memory, "%s", error.message);
    default: return fail(failure, Mistake::internal, "%s", error.message);
  }
}

}  // namespace lamina::adapters
