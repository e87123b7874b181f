// How a call through an adapter fails: what kind of mistake it is, for the host's own kinds of errors, and a sentence.
#pragma once
#include "abi/lamina_abi.h"

namespace lamina::adapters {

enum class Mistake {
  none,
  type,         // a value of the wrong kind, or a name that nobody knows
  value,        // LAMINA_INVALID_ARGUMENT, LAMINA_WRONG_DEVICE, LAMINA_WORKSPACE
  unsupported,  // LAMINA_UNSUPPORTED
  memory,       // LAMINA_NO_MEMORY
  internal,     // LAMINA_DEVICE_ERROR, LAMINA_INTERNAL, and what the adapter itself could not do
  raised        // the host's own function failed and has said why already
};

struct Failure {
  Mistake mistake = Mistake::none;
  char message[400] = {};
};

// Writes the sentence and returns false.
__attribute__((format(printf, 3, 4))) bool fail(Failure &failure, Mistake mistake, const char *format, ...);

// A plug-in's own words; true where `status` is LAMINA_OK.
bool succeeded(lamina_status status, const lamina_error &error, Failure &failure);

}  // namespace lamina::adapters
