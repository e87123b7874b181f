#include "packager/elf_section.h"

#include <elf.h>

#include <cstring>

#include "manifest/error.h"

namespace lamina::packager {
namespace {

[[noreturn]] void refuse(const std::string &what, const std::string &why) { throw Error(ErrorKind::malformed, what + ": " + why); }

// `count` bytes at `offset`, if the file has them.
std::string_view slice(std::string_view bytes, uint64_t offset, uint64_t count, const std::string &what) {
  if (offset > bytes.size() || count > bytes.size() - offset) refuse(what, "an ELF header points outside the file");
  return bytes.substr(offset, count);
}

template <class T>
T read(std::string_view bytes, uint64_t offset, const std::string &what) {
  T value;
  std::memcpy(&value, slice(bytes, offset, sizeof value, what).data(), sizeof value);
  return value;
}

}  // namespace

std::string_view elf_section(std::string_view elf, std::string_view name, const std::string &what) {
  const auto header = read<Elf64_Ehdr>(elf, 0, what);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0 || header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB)
    refuse(what, "is no 64-bit little-endian ELF file");
  if (header.e_shentsize != sizeof(Elf64_Shdr) || header.e_shstrndx >= header.e_shnum) refuse(what, "has no usable section headers");
  const auto section = [&](unsigned index) { return read<Elf64_Shdr>(elf, header.e_shoff + uint64_t{index} * sizeof(Elf64_Shdr), what); };
  const Elf64_Shdr strings = section(header.e_shstrndx);
  const std::string_view names = slice(elf, strings.sh_offset, strings.sh_size, what);
  for (unsigned index = 0; index < header.e_shnum; ++index) {
    const Elf64_Shdr here = section(index);
    if (here.sh_name >= names.size() || here.sh_type == SHT_NOBITS) continue;
    const std::string_view rest = names.substr(here.sh_name);
    if (rest.substr(0, rest.find('\0')) == name) return slice(elf, here.sh_offset, here.sh_size, what);
  }
  throw Error(ErrorKind::not_found,
              what + " has no section " + std::string(name) + "; was it built by plugin/ and not stripped of sections?");
}

std::string_view embedded_contract(std::string_view elf, const std::string &what) { return elf_section(elf, ".lamina.contract", what); }

std::string embedded_build_id(std::string_view elf, const std::string &what) {
  std::string_view id = elf_section(elf, ".lamina.build_id", what);
  id = id.substr(0, id.find('\0'));
  if (id.size() < 8 || id.size() > 64 || id.find_first_not_of("0123456789abcdef") != std::string_view::npos)
    refuse(what, "its build id is not 8 to 64 hex digits");
  return std::string(id);
}

}  // namespace lamina::packager
