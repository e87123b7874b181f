// The one exception of the host side.  The kind decides the program's exit code and the C API's status; the sentence names the
// thing that is wrong and what to do about it.
#pragma once
#include <stdexcept>
#include <string>

namespace lamina {

// The number is the exit code of `lamina`; docs/exit-codes.md explains each.  Numbers are never reused.
enum class ErrorKind : int {
  internal = 1,          // a bug of ours, or out of memory
  invalid_argument = 2,  // the caller's command line, option or call is wrong
  not_found = 3,         // no such file, repository, revision, variant, host or parameter
  network = 4,           // connection, TLS or HTTP failure
  integrity = 5,         // size or hash is not what was promised
  signature = 6,         // the signature is missing, malformed or wrong
  untrusted = 7,         // the signature is right, but by a key nobody here trusts
  unsupported = 8,       // well formed, but this machine, build or version cannot do it
  no_space = 9,          // the disk or quota is full
  permission = 10,       // the operating system or the hub refused access
  offline = 11,          // it would need the network, which is switched off
  conflict = 12,         // exists already, or someone else changed it meanwhile
  malformed = 13,        // a file or an answer is not what its format says
  failed = 14,           // a check ran and its verdict is no: conformance, verification, doctor
  io = 15,               // reading or writing failed otherwise
  interrupted = 130,     // the user stopped it
};

// The process exit code of a kind: its number.  [thread-safe]
constexpr int exit_code(ErrorKind kind) { return static_cast<int>(kind); }

// The kind's name as printed in JSON and logs: "not_found".  [thread-safe]
const char *name_of(ErrorKind kind);

// The kind that fits an errno of a file operation: ENOENT not_found, EACCES permission, ENOSPC no_space, else io.  [thread-safe]
ErrorKind kind_of_errno(int code);

class Error : public std::runtime_error {
 public:
  Error(ErrorKind error_kind, const std::string &sentence) : std::runtime_error(sentence), kind(error_kind) {}
  ErrorKind kind;
};

}  // namespace lamina
