// What every fuzzing target is made of: LLVMFuzzerTestOneInput gives it bytes, and anything but a lamina::Error is a finding.
#pragma once
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>
#include <string_view>

#include <sys/mman.h>
#include <unistd.h>

#include "manifest/error.h"

namespace lamina::fuzz {

// Runs what may refuse its input by an Error with a sentence.  Returns whether it accepted it.
template <class Body>
bool accepts(Body body) {
  try {
    body();
    return true;
  } catch (const Error &error) {
    if (std::string_view(error.what()).empty()) std::abort();
  }
  return false;
}

inline void require(bool true_of_every_input) {
  if (!true_of_every_input) std::abort();
}

// A file with these bytes, in memory; its path is good while the object lives.
class MemoryFile {
 public:
  explicit MemoryFile(std::string_view bytes) : file_(memfd_create("fuzz", MFD_CLOEXEC)) {
    require(write(file_, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
  }
  ~MemoryFile() { close(file_); }
  MemoryFile(const MemoryFile &) = delete;
  MemoryFile &operator=(const MemoryFile &) = delete;
  std::string path() const { return "/proc/self/fd/" + std::to_string(file_); }

 private:
  int file_;
};

// A folder of this process's own below the working directory.
inline std::filesystem::path scratch() {
  static const std::filesystem::path made = [] {
    std::filesystem::path path = std::filesystem::absolute("scratch-" + std::to_string(getpid()));
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
    return path;
  }();
  return made;
}

// The next line of the input, taken off it.
inline std::string next_line(std::string_view &input) {
  const size_t end = std::min(input.find('\n'), input.size());
  const std::string line(input.substr(0, end));
  input.remove_prefix(std::min(end + 1, input.size()));
  return line;
}

}  // namespace lamina::fuzz

#define FUZZ(input)                                                          \
  static void fuzz_one(std::string_view input);                              \
  extern "C" int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) { \
    fuzz_one({reinterpret_cast<const char *>(bytes), size});                 \
    return 0;                                                                \
  }                                                                          \
  static void fuzz_one(std::string_view input)
