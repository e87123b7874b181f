#include "conformance/hip_emulator/code_object.h"

#include <elf.h>

#include <algorithm>
#include <cstdlib>
#include <map>

#include "conformance/hip_emulator/reach.h"

namespace lamina::hip_emulator {
namespace {

constexpr u16 machine_amdgpu = 224;
constexpr u32 note_metadata = 32;
constexpr u64 most_bytes = u64{1} << 30;
struct Named {
  u32 machine;
  const char *name;
  Arch arch;
};
constexpr Named archs[] = {{0x3f, "gfx90a", Arch::gfx90a}, {0x4c, "gfx942", Arch::gfx942}, {0x4f, "gfx950", Arch::gfx950}};

template <class T>
T read_at(const void *image, u64 offset) {
  T value;
  std::memcpy(&value, static_cast<const u8 *>(image) + offset, sizeof value);
  return value;
}

Elf64_Ehdr header_of(const void *image) {
  if (!image) throw Refusal("no code object is given");
  const auto header = read_at<Elf64_Ehdr>(image, 0);
  if (std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) throw Refusal("the image is no ELF file");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB || header.e_machine != machine_amdgpu)
    throw Refusal("the ELF file is not for AMD GPUs");
  if (header.e_ident[EI_OSABI] != 64) throw Refusal("the ELF file is not for the HSA runtime");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_shentsize != sizeof(Elf64_Shdr) || header.e_phnum > 64 ||
      header.e_shnum > 4096 || header.e_phoff > most_bytes || header.e_shoff > most_bytes)
    throw Refusal("the ELF file's header is damaged");
  return header;
}

// The section headers end the file.  Nothing else says how long an image in memory is.
u64 end_of(const Elf64_Ehdr &header) { return header.e_shoff + u64{header.e_shnum} * sizeof(Elf64_Shdr); }

std::vector<Elf64_Phdr> segments_of(const void *image, const Elf64_Ehdr &header) {
  std::vector<Elf64_Phdr> all;
  const u64 end = end_of(header);
  if (header.e_phoff + u64{header.e_phnum} * sizeof(Elf64_Phdr) > end) throw Refusal("the ELF file's header is damaged");
  for (int i = 0; i < header.e_phnum; ++i) {
    all.push_back(read_at<Elf64_Phdr>(image, header.e_phoff + static_cast<u64>(i) * sizeof(Elf64_Phdr)));
    const Elf64_Phdr &segment = all.back();
    if (segment.p_offset > end || segment.p_filesz > end - segment.p_offset || segment.p_vaddr > most_bytes ||
        segment.p_memsz > most_bytes || (segment.p_type == PT_LOAD && segment.p_filesz > segment.p_memsz))
      throw Refusal("a segment of the code object is damaged");
  }
  return all;
}

std::span<const u8> find_metadata(const void *image, const std::vector<Elf64_Phdr> &segments) {
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type != PT_NOTE) continue;
    const auto *bytes = static_cast<const u8 *>(image) + segment.p_offset;
    for (u64 at = 0; at + sizeof(Elf64_Nhdr) <= segment.p_filesz;) {
      const auto note = read_at<Elf64_Nhdr>(bytes, at);
      const u64 text = at + sizeof note + ((note.n_namesz + u64{3}) & ~u64{3});
      if (text + note.n_descsz > segment.p_filesz) throw Refusal("a note of the code object is damaged");
      if (note.n_type == note_metadata) return {bytes + text, note.n_descsz};
      at = text + ((note.n_descsz + u64{3}) & ~u64{3});
    }
  }
  throw Refusal("the code object has no note about its kernels");
}

// Names of the dynamic symbols, and where they lie in the image.
std::map<std::string, u64> symbols_of(const void *image, const Elf64_Ehdr &header) {
  std::map<std::string, u64> found;
  const auto section = [&](u32 index) {
    if (index >= header.e_shnum) throw Refusal("a section of the code object is damaged");
    const auto read = read_at<Elf64_Shdr>(image, header.e_shoff + u64{index} * sizeof(Elf64_Shdr));
    const bool in_file = read.sh_type != SHT_NOBITS && read.sh_type != SHT_NULL;
    if (in_file && (read.sh_offset > end_of(header) || read.sh_size > end_of(header) - read.sh_offset))
      throw Refusal("a section of the code object is damaged");
    return read;
  };
  for (u32 i = 0; i < header.e_shnum; ++i) {
    const Elf64_Shdr symbols = section(i);
    if (symbols.sh_type == SHT_RELA && symbols.sh_size) throw Refusal("the code object has relocations, which the emulator does not apply");
    if (symbols.sh_type != SHT_DYNSYM) continue;
    const Elf64_Shdr names = section(symbols.sh_link);
    for (u64 at = 0; at + sizeof(Elf64_Sym) <= symbols.sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = read_at<Elf64_Sym>(image, symbols.sh_offset + at);
      if (symbol.st_name >= names.sh_size) throw Refusal("a symbol of the code object is damaged");
      const auto *name = static_cast<const char *>(image) + names.sh_offset + symbol.st_name;
      found[std::string(name, strnlen(name, names.sh_size - symbol.st_name))] = symbol.st_value;
    }
  }
  return found;
}

Descriptor descriptor_at(std::span<const u8> image, u64 address) {
  if (address > image.size() || image.size() - address < 64) throw Refusal("a kernel descriptor lies outside the code object");
  const u8 *bytes = image.data() + address;
  const u64 entry = address + static_cast<u64>(read_at<i64>(bytes, 16));
  if (entry >= image.size() || entry % 4) throw Refusal("a kernel's entry lies outside the code object");
  return {read_at<u32>(bytes, 0),  read_at<u32>(bytes, 4),  static_cast<u32>(entry), read_at<u32>(bytes, 48),
          read_at<u32>(bytes, 52), read_at<u16>(bytes, 56), read_at<u16>(bytes, 58)};
}

}  // namespace

Arch arch_named(const std::string &name) {
  for (const Named &one : archs)
    if (name == one.name) return one.arch;
  throw Refusal("no such arch: " + name + " (gfx90a, gfx942, gfx950)");
}

const char *CodeObject::arch_name(const void *image) {
  const u32 machine = header_of(image).e_flags & 0xff;
  for (const Named &one : archs)
    if (machine == one.machine) return one.name;
  return nullptr;
}

CodeObject::CodeObject(const void *image) {
  const Elf64_Ehdr header = header_of(image);
  const char *name = arch_name(image);
  if (!name) throw Refusal("the code object is for a GPU that the emulator is none of");
  arch_ = arch_named(name);
  const std::vector<Elf64_Phdr> segments = segments_of(image, header);
  u64 top = 0;
  for (const Elf64_Phdr &segment : segments)
    if (segment.p_type == PT_LOAD) top = std::max(top, segment.p_vaddr + segment.p_memsz);
  if (top == 0) throw Refusal("the code object loads nothing");
  size_ = (top + 4095) / 4096 * 4096;
  image_.reset(static_cast<u8 *>(std::aligned_alloc(4096, size_)));
  if (!image_) throw Refusal("no memory for the code object");
  std::memset(image_.get(), 0, size_);
  std::vector<KernelFacts> facts = read_metadata(find_metadata(image, segments));
  const std::map<std::string, u64> symbols = symbols_of(image, header);
  for (const Elf64_Phdr &segment : segments) {
    if (segment.p_type != PT_LOAD || segment.p_memsz == 0) continue;
    std::memcpy(image_.get() + segment.p_vaddr, static_cast<const u8 *>(image) + segment.p_offset, segment.p_filesz);
    regions_.push_back(image_.get() + segment.p_vaddr);
    regions().add(regions_.back(), segment.p_memsz, segment.p_flags & PF_W, "the code object");
  }
  for (KernelFacts &fact : facts) {
    const auto symbol = symbols.find(fact.symbol);
    if (symbol == symbols.end()) throw Refusal("the code object has no symbol " + fact.symbol);
    auto kernel = std::make_unique<Kernel>();
    kernel->object = this, kernel->descriptor = descriptor_at(this->image(), symbol->second);
    kernel->facts = std::move(fact);
    kernels_.push_back(std::move(kernel));
  }
}

CodeObject::~CodeObject() {
  for (const void *region : regions_) regions().remove(region);
}

const Kernel *CodeObject::find(const std::string &name) const {
  for (const auto &kernel : kernels_)
    if (kernel->facts.name == name) return kernel.get();
  return nullptr;
}

const Program &Kernel::program() const {
  std::call_once(decoded_, [this] {
    if (facts.private_bytes || descriptor.private_bytes) throw Refusal("the kernel uses scratch memory: it spills or has a private array");
    if (descriptor.preload & 0x7f) throw Refusal("the kernel has its arguments preloaded into registers, which the emulator does not do");
    if (facts.wave_lanes != 64) throw Refusal("the kernel's waves do not have 64 lanes");
    constexpr u32 denormals_kept = 0xf;
    if ((descriptor.resources1 >> 16 & 15) != denormals_kept) throw Refusal("the kernel flushes denormals, which the emulator does not do");
    program_ = decode_program(object->image(), descriptor.entry, object->arch());
  });
  return program_;
}

}  // namespace lamina::hip_emulator
