// From a verified bundle to a library in memory.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <memory>

#include "hub_client/client.h"
#include "manifest/digest.h"
#include "manifest/elf_facts.h"
#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {
namespace {

constexpr uint64_t max_build = uint64_t{2} << 30;

// The bytes in a file that nobody can change any more: what was hashed is what the loader maps.  Never closed: a later file that
// got the same number would silently be taken for this library.
int sealed_file(const std::string &bytes, const std::string &name) {
  const int file = memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING);
  if (file < 0) throw Error(ErrorKind::io, "cannot make memory for " + name + ": " + std::strerror(errno));
  for (size_t at = 0; at < bytes.size();) {
    const ssize_t count = write(file, bytes.data() + at, bytes.size() - at);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      const int code = errno;
      close(file);
      throw Error(kind_of_errno(code), "cannot copy " + name + ": " + std::strerror(code));
    }
    at += static_cast<size_t>(count);
  }
  fcntl(file, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
  return file;
}

const lamina_library *open_library(const std::string &bytes, const std::string &path) {
  if (const auto wrong = manifest::audit_plugin(manifest::read_elf(bytes, path)); !wrong.empty())
    throw Error(ErrorKind::integrity, path + " is no plug-in: " + wrong.front());
  const int file = sealed_file(bytes, std::filesystem::path(path).filename().string());
  void *handle = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!handle) throw Error(ErrorKind::unsupported, path + " does not load: " + dlerror());
  const auto entry_point = reinterpret_cast<lamina_library_v1_function>(dlsym(handle, LAMINA_LIBRARY_SYMBOL));
  const lamina_library *library = entry_point ? entry_point() : nullptr;
  if (!library) throw Error(ErrorKind::unsupported, path + " does not speak version 1 of the ABI");
  if (library->abi_minor > LAMINA_ABI_MINOR)
    throw Error(ErrorKind::unsupported, path + " needs a newer host: ABI 1." + std::to_string(library->abi_minor));
  return library;
}

// The file's bytes, read once from one descriptor.  Where the receipt of an earlier check holds for that descriptor before and after, they
// are those that were hashed then; else they are hashed now.
std::string verified_bytes(const std::string &path, const manifest::BundleEntry &entry, const Receipt *receipt) {
  const auto changed = [&] { return Error(ErrorKind::integrity, path + " is not the file that was signed"); };
  const int file = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (file < 0) throw Error(kind_of_errno(errno), "cannot open " + path + ": " + std::strerror(errno));
  const std::unique_ptr<const int, void (*)(const int *)> closes(&file, [](const int *one) { close(*one); });
  const bool known = receipt && receipt->holds(entry.path, file);
  const std::string bytes = manifest::read_file("/proc/self/fd/" + std::to_string(file), max_build);
  if (bytes.size() != entry.size) throw changed();
  if (known && receipt->holds(entry.path, file)) return bytes;
  if (manifest::sha256_hex(bytes) != entry.sha256) throw changed();
  return bytes;
}

}  // namespace

const lamina_library *load_build(const std::string &path) { return open_library(manifest::read_file(path, max_build), path); }

Loaded load(Fetched fetched) {
  Loaded loaded;
  const std::string name = fetched.build.file;
  loaded.path = (fetched.directory / name).string();
  const manifest::BundleEntry *entry = fetched.bundle.file(name);
  if (!entry) throw Error(ErrorKind::integrity, name + " is not among the bundle's files");
  const std::string bytes = verified_bytes(loaded.path, *entry, fetched.receipt.get());
  loaded.library = open_library(bytes, loaded.path);
  if (loaded.library->build_id != fetched.build.build_id || loaded.library->name != fetched.manifest.layer)
    throw Error(ErrorKind::integrity, loaded.path + " is another build than its manifest says");
  loaded.fetched = std::move(fetched);
  return loaded;
}

}  // namespace lamina::hub
