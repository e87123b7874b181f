// How a call through tvm-ffi fails: a Python exception's name and a sentence.
#pragma once
#include "runtime.h"

namespace lamina::tvm_ffi {

struct Failure {
  const char *kind = nullptr;  // "ValueError"; NULL: the runtime has raised an error already
  char message[320] = {};
};

// Writes the sentence and returns false.
__attribute__((format(printf, 3, 4))) bool fail(Failure &failure, const char *kind, const char *format, ...);

// A plug-in's own words; true where `status` is LAMINA_OK.
bool succeeded(lamina_status status, const lamina_error &error, Failure &failure);

}  // namespace lamina::tvm_ffi
