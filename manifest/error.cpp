#include "manifest/error.h"

#include <cerrno>

namespace lamina {

const char *name_of(ErrorKind kind) {
  switch (kind) {
    case ErrorKind::internal: return "internal";
    case ErrorKind::invalid_argument: return "invalid_argument";
    case ErrorKind::not_found: return "not_found";
    case ErrorKind::network: return "network";
    case ErrorKind::integrity: return "integrity";
    case ErrorKind::signature: return "signature";
    case ErrorKind::untrusted: return "untrusted";
    case ErrorKind::unsupported: return "unsupported";
    case ErrorKind::no_space: return "no_space";
    case ErrorKind::permission: return "permission";
    case ErrorKind::offline: return "offline";
    case ErrorKind::conflict: return "conflict";
    case ErrorKind::malformed: return "malformed";
    case ErrorKind::failed: return "failed";
    case ErrorKind::io: return "io";
    case ErrorKind::interrupted: return "interrupted";
  }
  return "internal";
}

ErrorKind kind_of_errno(int code) {
  switch (code) {
    case ENOENT:
    case ENOTDIR: return ErrorKind::not_found;
    case EACCES:
    case EPERM:
    case EROFS: return ErrorKind::permission;
    case ENOSPC:
    case EDQUOT: return ErrorKind::no_space;
    case EEXIST: return ErrorKind::conflict;
    case ENOMEM: return ErrorKind::internal;
    default: return ErrorKind::io;
  }
}

}  // namespace lamina
