#include "manifest/elf_file.h"

#include <algorithm>

#include "manifest/error.h"

namespace lamina::manifest {

namespace {

constexpr uint64_t max_segments = 1000, max_dynamic = 10000, max_symbols = 10'000'000, max_name = 1 << 16;

}  // namespace

void ElfFile::refuse(const std::string &why) const { throw Error(ErrorKind::malformed, what_ + " is no valid shared object: " + why); }

std::string_view ElfFile::range(uint64_t offset, uint64_t size) const {
  if (offset > bytes_.size() || size > bytes_.size() - offset) refuse("it is cut, or points outside itself");
  return bytes_.substr(offset, size);
}

uint64_t ElfFile::offset_of(uint64_t address, uint64_t size) const {
  for (const Elf64_Phdr &segment : segments_) {
    if (segment.p_type != PT_LOAD || address < segment.p_vaddr) continue;
    const uint64_t inside = address - segment.p_vaddr;
    if (inside <= segment.p_filesz && size <= segment.p_filesz - inside) return segment.p_offset + inside;
  }
  refuse("it names an address outside its loaded segments");
}

ElfFile::ElfFile(std::string_view bytes, const std::string &what) : bytes_(bytes), what_(what) {
  if (bytes.size() < sizeof header_ || !bytes.starts_with(ELFMAG)) refuse("it does not begin with an ELF header");
  header_ = at<Elf64_Ehdr>(0);
  if (header_.e_ident[EI_CLASS] != ELFCLASS64 || header_.e_ident[EI_DATA] != ELFDATA2LSB) refuse("it is not 64-bit little-endian");
  if (header_.e_phnum > max_segments || (header_.e_phnum != 0 && header_.e_phentsize != sizeof(Elf64_Phdr)))
    refuse("its program headers are not usable");
  const Elf64_Phdr *dynamic = nullptr;
  uint64_t end = 0;
  for (uint64_t i = 0; i < header_.e_phnum; ++i) {
    const Elf64_Phdr segment = at<Elf64_Phdr>(header_.e_phoff + i * sizeof(Elf64_Phdr));
    if (segment.p_type == PT_LOAD) {
      range(segment.p_offset, segment.p_filesz);
      // Ascending and disjoint, or the image would not be what any one reading of the file says.
      if (segment.p_filesz > segment.p_memsz || segment.p_vaddr < end || segment.p_memsz > UINT64_MAX - segment.p_vaddr)
        refuse("its segments overlap");
      end = segment.p_vaddr + segment.p_memsz;
    }
    segments_.push_back(segment);
  }
  for (const Elf64_Phdr &segment : segments_) {
    if (segment.p_type != PT_DYNAMIC) continue;
    if (dynamic) refuse("it has two dynamic sections");
    dynamic = &segment;
  }
  if (dynamic) read_dynamic(*dynamic);
}

void ElfFile::read_dynamic(const Elf64_Phdr &segment) {
  // The loader reads it at its address, whatever offset the header claims.
  const uint64_t offset = offset_of(segment.p_vaddr, segment.p_filesz);
  for (uint64_t i = 0; (i + 1) * sizeof(Elf64_Dyn) <= segment.p_filesz; ++i) {
    const Elf64_Dyn entry = at<Elf64_Dyn>(offset + i * sizeof(Elf64_Dyn));
    if (entry.d_tag == DT_NULL) break;
    if (i >= max_dynamic) refuse("its dynamic section is too long");
    dynamic_.push_back(entry);
  }
  const auto table = dynamic_value(DT_STRTAB), size = dynamic_value(DT_STRSZ);
  if (table && size) strings_ = range(offset_of(*table, *size), *size);
}

std::optional<uint64_t> ElfFile::dynamic_value(int64_t tag) const {
  std::optional<uint64_t> value;  // of repeated entries the loader keeps the last
  for (const Elf64_Dyn &entry : dynamic_)
    if (entry.d_tag == tag) value = entry.d_un.d_val;
  return value;
}

std::string ElfFile::text(uint64_t offset) const {
  const std::string_view rest = offset < strings_.size() ? strings_.substr(offset, max_name) : std::string_view();
  const size_t end = rest.find('\0');
  if (end == rest.npos) refuse("a name is longer than its string table, or than 64 KiB");
  return std::string(rest.substr(0, end));
}

// The last hashed symbol is the end of the chain of the highest bucket.
uint64_t ElfFile::count_by_gnu_hash(uint64_t address) const {
  const auto buckets = at_address<uint32_t>(address), first = at_address<uint32_t>(address + 4), bloom = at_address<uint32_t>(address + 8);
  const uint64_t bucket_table = address + 16 + uint64_t{8} * bloom, chains = bucket_table + uint64_t{4} * buckets;
  offset_of(bucket_table, uint64_t{4} * buckets);
  uint64_t last = 0;
  for (uint64_t i = 0; i < buckets; ++i) last = std::max<uint64_t>(last, at_address<uint32_t>(bucket_table + 4 * i));
  if (last == 0) return first;
  if (last < first) refuse("its symbol hash table is inconsistent");
  while (last < max_symbols && !(at_address<uint32_t>(chains + 4 * (last - first)) & 1)) ++last;
  return last + 1;
}

uint64_t ElfFile::count_by_section() const {
  if (header_.e_shoff == 0 || header_.e_shentsize != sizeof(Elf64_Shdr)) return 0;
  for (uint64_t i = 0; i < header_.e_shnum; ++i) {
    const auto section = at<Elf64_Shdr>(header_.e_shoff + i * sizeof(Elf64_Shdr));
    if (section.sh_type == SHT_DYNSYM) return section.sh_size / sizeof(Elf64_Sym);
  }
  return 0;
}

uint64_t ElfFile::symbol_count() const {
  if (!dynamic_value(DT_SYMTAB)) return 0;
  uint64_t count = count_by_section();
  if (const auto hash = dynamic_value(DT_HASH)) count = std::max<uint64_t>(count, at_address<uint32_t>(*hash + 4));
  if (const auto hash = dynamic_value(DT_GNU_HASH)) count = std::max(count, count_by_gnu_hash(*hash));
  if (count > max_symbols) refuse("it claims more than ten million symbols");
  offset_of(*dynamic_value(DT_SYMTAB), count * sizeof(Elf64_Sym));
  return count;
}

}  // namespace lamina::manifest
