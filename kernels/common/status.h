// How a kernel library says that something did not work: a status and a sentence.  The numbers are the ABI's.
#pragma once
#include <cstdarg>
#include <cstdint>
#include <cstdio>

namespace lamina {

enum class Status : int32_t {
  ok = 0,
  invalid_argument = 1,
  unsupported = 2,
  wrong_device = 3,
  workspace = 4,
  no_memory = 5,
  device_error = 6,
  internal = 7
};

struct Failure {
  int32_t arg = -1, dim = -1, native_code = 0;
  char message[240] = {};
};

// `return fail(failure, Status::unsupported, "needs %s", name);`
[[gnu::format(printf, 3, 4)]] inline Status fail(Failure &failure, Status status, const char *format, ...) {
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(failure.message, sizeof failure.message, format, arguments);
  va_end(arguments);
  return status;
}

#define LAMINA_TRY(expression)                                                                          \
  do {                                                                                                  \
    if (const ::lamina::Status status_ = (expression); status_ != ::lamina::Status::ok) return status_; \
  } while (0)

}  // namespace lamina
