// What a shared object says about itself, read from its bytes; nothing is executed or loaded.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::manifest {

struct UndefinedSymbol {
  std::string name;
  std::string version;  // "GLIBC_2.17", empty if unversioned
  std::string library;  // "libc.so.6", empty if unversioned
  bool weak = false;
};

struct ElfFacts {
  std::string machine;         // "x86_64", "aarch64", else "machine-<number>"
  bool shared_object = false;  // ET_DYN
  std::string soname;
  std::vector<std::string> needed;  // DT_NEEDED
  std::string rpath, runpath;
  bool executable_stack = false;  // PT_GNU_STACK asks for it, or is missing
  bool text_relocations = false;
  bool writable_code = false;         // a segment is both writable and executable
  std::vector<std::string> exported;  // defined dynamic symbols of any binding but local, sorted
  std::vector<std::string> unique;    // those of them that are STB_GNU_UNIQUE
  std::vector<UndefinedSymbol> undefined;
  std::vector<std::string> required_versions;  // every version of DT_VERNEED: "libc.so.6 GLIBC_2.17"
  std::string max_glibc;                       // "2.28"; empty if none is asked for
  uint64_t init_entries = 0;                   // of DT_PREINIT_ARRAY, DT_INIT_ARRAY, and one for DT_INIT
  uint64_t fini_entries = 0;
  uint64_t ifunc_relocations = 0;  // resolvers that the loader would call
  std::vector<std::string> loads;  // libraries named by DT_FILTER, DT_AUXILIARY, DT_AUDIT or DT_DEPAUDIT
  std::string build_id;            // hex of the GNU build-id note, empty if none
};

// Reads ELF64 little-endian.  Every offset, count and string is checked against `bytes`.  `what` names the file in messages.
// Errors: malformed.  [thread-safe]
ElfFacts read_elf(std::string_view bytes, const std::string &what);

// How `facts` break the rules of a plug-in, one sentence each; empty means none: shared object, exports lamina_library_v1 alone (and
// __tvm_ffi_<op> where it imports tvm-ffi's runtime weakly), needs
// glibc's own libraries only, at most GLIBC_<floor>, no rpath, no executable stack, no text relocations, no writable code, no unique
// symbols, none that no library was said to have, nothing run at load or unload.  [thread-safe]
std::vector<std::string> audit_plugin(const ElfFacts &facts, const std::string &glibc_floor = "2.28");

// Compares dotted numbers: negative, zero, positive as a is older than, equal to, newer than b.
int compare_versions(std::string_view a, std::string_view b);

}  // namespace lamina::manifest
