// Checked access to the parts of an ELF64 file that the dynamic loader uses; for elf_facts.cpp.
#pragma once
#include <elf.h>

#include <cstdint>
#include <cstring>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace lamina::manifest {

class ElfFile {
 public:
  // Checks header and program headers.  `bytes` must outlive it.  Errors: malformed.
  ElfFile(std::string_view bytes, const std::string &what);

  const Elf64_Ehdr &header() const { return header_; }
  const std::vector<Elf64_Phdr> &segments() const { return segments_; }
  // Entries of the dynamic section up to its end mark; empty without one.
  const std::vector<Elf64_Dyn> &dynamic() const { return dynamic_; }
  std::optional<uint64_t> dynamic_value(int64_t tag) const;

  // A copy of the struct at a file offset, or at an address of the loaded image.
  template <class T>
  T at(uint64_t offset) const {
    T value;
    std::memcpy(&value, range(offset, sizeof(T)).data(), sizeof(T));
    return value;
  }
  template <class T>
  T at_address(uint64_t address) const {
    return at<T>(offset_of(address, sizeof(T)));
  }
  std::string_view range(uint64_t offset, uint64_t size) const;
  uint64_t offset_of(uint64_t address, uint64_t size) const;
  // A string of the dynamic string table.
  std::string text(uint64_t offset) const;
  // How many entries the dynamic symbol table has, by hash tables and section header, whichever says more.
  uint64_t symbol_count() const;

  [[noreturn]] void refuse(const std::string &why) const;

 private:
  void read_dynamic(const Elf64_Phdr &segment);
  uint64_t count_by_gnu_hash(uint64_t address) const;
  uint64_t count_by_section() const;

  std::string_view bytes_;
  const std::string &what_;
  Elf64_Ehdr header_{};
  std::vector<Elf64_Phdr> segments_;
  std::vector<Elf64_Dyn> dynamic_;
  std::string_view strings_;
};

}  // namespace lamina::manifest
