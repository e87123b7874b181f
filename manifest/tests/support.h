// What the tests of this folder share: a scratch folder, expecting an error, running a command.
#pragma once
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <optional>
#include <string>

#include <doctest/doctest.h>

#include "manifest/error.h"

namespace lamina::manifest::test {

// Below build/, removed at the end.
class Folder {
 public:
  Folder() {
    std::string name = "build/test-scratch/manifest-XXXXXX";
    std::filesystem::create_directories("build/test-scratch");
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = std::filesystem::absolute(name);
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  Folder(const Folder &) = delete;
  Folder &operator=(const Folder &) = delete;
  const std::filesystem::path &path() const { return path_; }
  std::filesystem::path operator/(const std::string &name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

inline void write(const std::filesystem::path &path, const std::string &bytes) {
  std::filesystem::create_directories(path.parent_path());
  std::ofstream(path, std::ios::binary) << bytes;
}
inline std::string read(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file.good());
  return {std::istreambuf_iterator<char>(file), {}};
}

// The sentence of the Error that `action` throws; it must be of this kind.
template <class Action>
std::string error_of(ErrorKind kind, Action action) {
  try {
    action();
  } catch (const Error &error) {
    CHECK_MESSAGE(name_of(error.kind) == std::string(name_of(kind)), error.what());
    return error.what();
  }
  FAIL_CHECK("no error where one of kind " << name_of(kind) << " was expected");
  return "";
}
inline bool has(const std::string &text, const std::string &part) { return text.find(part) != std::string::npos; }

// The command's output; it must succeed, or with `fails` must not.
inline std::string run(const std::string &command, bool fails = false) {
  FILE *pipe = popen((command + " 2>&1").c_str(), "r");
  REQUIRE(pipe != nullptr);
  std::string output;
  for (int c = fgetc(pipe); c != EOF; c = fgetc(pipe)) output += static_cast<char>(c);
  const int status = pclose(pipe);
  CHECK_MESSAGE((status != 0) == fails, command << ": " << output);
  return output;
}

}  // namespace lamina::manifest::test
