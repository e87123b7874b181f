#include "conformance/plugin.h"

#include <dlfcn.h>

#include <climits>
#include <cstdlib>
#include <cstring>
#include <set>
#include <sstream>

#include "manifest/error.h"

namespace lamina::conformance {
namespace {

[[noreturn]] void refuse(const std::string &path, const std::string &what) { throw Error(ErrorKind::malformed, path + ": " + what); }

// The facts that a host relies on before it calls anything.
void check_op(const std::string &path, const lamina_op &op) {
  const std::string name = op.name && *op.name ? op.name : "";
  if (name.empty()) refuse(path, "an op has no name");
  if (op.struct_size < sizeof(lamina_op))
    refuse(path, "op '" + name + "': struct_size " + std::to_string(op.struct_size) + " is shorter than version 1.0");
  if (!op.plan_create || !op.plan_destroy || !op.plan_need || !op.run || !op.infer) refuse(path, "op '" + name + "' lacks a function");
  if (op.arg_count && !op.args) refuse(path, "op '" + name + "' has no argument table");
  if (op.attr_count && !op.attrs) refuse(path, "op '" + name + "' has no attribute table");
  if (op.arg_count > 64) refuse(path, "op '" + name + "': may_alias has bits for 64 arguments, the op has " + std::to_string(op.arg_count));
  std::set<std::string> names;
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    const lamina_arg &arg = op.args[i];
    if (!arg.name || !arg.shape || !names.insert(arg.name).second)
      refuse(path, "op '" + name + "': argument " + std::to_string(i) + " lacks a name of its own");
    if (arg.role < LAMINA_INPUT || arg.role > LAMINA_INOUT || !arg.dtypes || arg.dtypes >> element_count)
      refuse(path, "op '" + name + "': argument '" + arg.name + "' has a role or dtypes that version 1.0 does not know");
    if (arg.dtype_of >= static_cast<int32_t>(op.arg_count) || arg.dtype_of == static_cast<int32_t>(i))
      refuse(path, "op '" + name + "': argument '" + arg.name + "': dtype_of is " + std::to_string(arg.dtype_of));
    if (arg.align & (arg.align - 1)) refuse(path, "op '" + name + "': argument '" + arg.name + "': align is not a power of two");
  }
}

}  // namespace

Plugin::Plugin(const std::string &path, const lamina_library &library) : path_(path), library_(&library) { check(); }

Plugin::Plugin(const std::string &path) : path_(path) {
  char resolved[PATH_MAX];
  if (!realpath(path.c_str(), resolved)) throw Error(ErrorKind::not_found, path + ": no such file");
  void *handle = dlopen(resolved, RTLD_NOW | RTLD_LOCAL);
  if (!handle) refuse(path, std::string("does not load: ") + dlerror());
  const auto entry = reinterpret_cast<lamina_library_v1_function>(dlsym(handle, LAMINA_LIBRARY_SYMBOL));
  if (!entry) refuse(path, "exports no " LAMINA_LIBRARY_SYMBOL "; it is not a Lamina plug-in of ABI major 1");
  library_ = entry();
  if (!library_) refuse(path, LAMINA_LIBRARY_SYMBOL "() returned NULL");
  check();
}

void Plugin::check() const {
  const std::string &path = path_;
  if (library_->struct_size < sizeof(lamina_library))
    refuse(path, "lamina_library.struct_size is " + std::to_string(library_->struct_size) + ", shorter than version 1.0");
  if (library_->abi_minor > LAMINA_ABI_MINOR)
    throw Error(ErrorKind::unsupported,
                path + ": needs ABI 1." + std::to_string(library_->abi_minor) + ", this host speaks 1." + std::to_string(LAMINA_ABI_MINOR));
  if (!library_->name || !library_->version || !library_->target || !library_->build_id || !library_->contract || !library_->contract_size)
    refuse(path, "lamina_library lacks name, version, target, build_id or contract");
  if (!library_->op_count || !library_->ops) refuse(path, "has no ops");
  for (uint32_t i = 0; i < library_->op_count; ++i) check_op(path, *library_->ops[i]);
}

const lamina_op *Plugin::op(std::string_view name) const {
  for (uint32_t i = 0; i < library_->op_count; ++i)
    if (name == library_->ops[i]->name) return library_->ops[i];
  return nullptr;
}

std::vector<std::string> shape_words(const lamina_arg &arg) {
  std::vector<std::string> words;
  std::istringstream text(arg.shape);
  for (std::string word; text >> word;) words.push_back(word);
  return words;
}

int argument_named(const lamina_op &op, std::string_view name) {
  for (uint32_t i = 0; i < op.arg_count; ++i)
    if (name == op.args[i].name) return static_cast<int>(i);
  return -1;
}

int attribute_named(const lamina_op &op, std::string_view name) {
  for (uint32_t i = 0; i < op.attr_count; ++i)
    if (name == op.attrs[i].name) return static_cast<int>(i);
  return -1;
}

bool is_written(const lamina_op &op, const lamina_arg &arg) {
  switch (arg.role) {
    case LAMINA_OUTPUT:
    case LAMINA_INOUT: return true;
    case LAMINA_PACKED: return op.kind == LAMINA_PACK;
    case LAMINA_SAVED: return op.kind == LAMINA_FORWARD_TRAIN;
    default: return false;
  }
}

const char *name_of_status(lamina_status status) {
  constexpr const char *names[] = {"OK",        "INVALID_ARGUMENT", "UNSUPPORTED",  "WRONG_DEVICE",
                                   "WORKSPACE", "NO_MEMORY",        "DEVICE_ERROR", "INTERNAL"};
  return status >= 0 && status <= LAMINA_INTERNAL ? names[status] : "an unknown status";
}

std::string describe(const Outcome &outcome) {
  std::string text = name_of_status(outcome.status);
  if (!outcome.ok())
    text += " (argument " + std::to_string(outcome.arg) + ", dimension " + std::to_string(outcome.dim) + "): " + outcome.message;
  return text;
}

ErrorCatcher::ErrorCatcher() {
  std::memset(&room_, 0x5a, sizeof room_);
  room_.error.struct_size = sizeof(lamina_error);
}

Outcome ErrorCatcher::outcome(lamina_status status) const {
  Outcome result;
  result.status = status;
  const auto whole = [](const unsigned char *bytes, size_t size) {
    for (size_t i = 0; i < size; ++i)
      if (bytes[i] != 0x5a) return false;
    return true;
  };
  if (!whole(room_.before, sizeof room_.before) || !whole(room_.after, sizeof room_.after)) result.misuse = "wrote outside lamina_error";
  const lamina_error &error = room_.error;
  if (error.struct_size != sizeof(lamina_error)) result.misuse = "changed lamina_error.struct_size";
  if (status == LAMINA_OK) {
    if (!whole(reinterpret_cast<const unsigned char *>(&error) + sizeof error.struct_size, sizeof error - sizeof error.struct_size))
      result.misuse = "wrote lamina_error although it succeeded";
    return result;
  }
  result.arg = error.arg, result.dim = error.dim, result.native_code = error.native_code;
  const size_t length = strnlen(error.message, sizeof error.message);
  result.message.assign(error.message, length);
  if (length == sizeof error.message) result.misuse = "lamina_error.message is not NUL-terminated";
  if (length == 0) result.misuse = "failed without a message";
  if (status < 0 || status > LAMINA_INTERNAL) result.misuse = "returned status " + std::to_string(status) + ", which does not exist";
  return result;
}

}  // namespace lamina::conformance
