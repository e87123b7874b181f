// A plug-in as a host sees it: dlopen, one symbol, the C header.  Never closed: plug-ins are linked nodelete.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "abi/lamina_abi.h"
#include "conformance/element.h"

namespace lamina::conformance {

class Plugin {
 public:
  // Throws lamina::Error when the file does not load, lacks the symbol, or its tables are not well formed.
  explicit Plugin(const std::string &path);
  // One that somebody else loaded; `path` is for messages.  Throws as above for its tables.
  Plugin(const std::string &path, const lamina_library &library);

  const std::string &path() const { return path_; }
  const lamina_library &library() const { return *library_; }
  std::string_view contract() const { return {library_->contract, static_cast<size_t>(library_->contract_size)}; }
  const lamina_op *op(std::string_view name) const;  // NULL if there is none of that name

 private:
  void check() const;
  std::string path_;
  const lamina_library *library_;
};

// One word per dimension of lamina_arg.shape: "B", "N" or a number.
std::vector<std::string> shape_words(const lamina_arg &);
int argument_named(const lamina_op &, std::string_view name);   // or -1
int attribute_named(const lamina_op &, std::string_view name);  // or -1
bool is_written(const lamina_op &, const lamina_arg &);         // by a run of this op

// What a call said.
struct Outcome {
  lamina_status status = LAMINA_OK;
  int arg = -1, dim = -1, native_code = 0;
  std::string message;
  std::string misuse;  // how the plug-in broke the rules of lamina_error; empty if it did not
  bool ok() const { return status == LAMINA_OK; }
};
const char *name_of_status(lamina_status);  // "INVALID_ARGUMENT"
std::string describe(const Outcome &);

// The caller's error struct between canaries: finds messages that are empty, not terminated, written on success or past the end.
class ErrorCatcher {
 public:
  ErrorCatcher();
  lamina_error *get() { return &room_.error; }
  Outcome outcome(lamina_status) const;

 private:
  struct Room {
    unsigned char before[64];
    lamina_error error;
    unsigned char after[64];
  } room_;
};

}  // namespace lamina::conformance
