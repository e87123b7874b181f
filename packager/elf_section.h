// The bytes of one named section of an ELF file: how a plug-in's contract and build id are read without loading it.
#pragma once
#include <string>
#include <string_view>

namespace lamina::packager {

// Points into `elf`.  Errors: malformed when it is no ELF64 file or a header points outside it, not_found without such a section.
std::string_view elf_section(std::string_view elf, std::string_view name, const std::string &what);

// The contract and the build id that plugin/ puts into every plug-in.  Errors: as above; malformed for an id that is none.
std::string_view embedded_contract(std::string_view elf, const std::string &what);
std::string embedded_build_id(std::string_view elf, const std::string &what);

}  // namespace lamina::packager
