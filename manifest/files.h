// Bounded reading, atomic writing, and which relative paths are allowed to exist in a bundle.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::manifest {

// The whole file as bytes.  Errors: not_found, permission, io; malformed when it is longer than `max_bytes` or no regular file
// (a symbolic link to one is followed).  [thread-safe]
std::string read_file(const std::filesystem::path &path, uint64_t max_bytes);

// Writes `bytes` beside `path`, syncs, and renames over it: readers see the old or the new file, never half of one.  `mode` is
// applied exactly, whatever the umask.  The folder must exist.  On error nothing is left behind.  Errors: not_found, permission,
// no_space, io.  [thread-safe]
void write_file_atomically(const std::filesystem::path &path, std::string_view bytes, unsigned mode = 0644);

enum class Bytecode { refused, allowed };

// Throws Error(malformed) naming the path and the reason unless `path` is one that may be created under a folder: segments of
// [A-Za-z0-9._-] joined by '/', not empty, none is "." or "..", none begins with '-', each at most 255 bytes, at most 4096 in
// total.  With Bytecode::refused also *.pyc and anything under __pycache__, which Python would run unverified.  [thread-safe]
void check_relative_path(std::string_view path, Bytecode bytecode = Bytecode::refused);

// Relative paths of all regular files below `root`, sorted by bytes.  A symbolic link to a file counts as a file (the Hugging Face
// cache is made of them); a link to a folder, a dangling link or a special file is Error(malformed).  More than `max_files` too.
// Paths are not checked by check_relative_path.  [thread-safe]
std::vector<std::string> list_files(const std::filesystem::path &root, size_t max_files = 10000);

}  // namespace lamina::manifest
