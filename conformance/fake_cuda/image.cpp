#include "conformance/fake_cuda/image.h"

#include <elf.h>

#include <cstring>
#include <map>
#include <stdexcept>

namespace lamina::fake_cuda {
namespace {

template <class Value>
Value read(std::string_view bytes, size_t at) {
  if (at > bytes.size() || bytes.size() - at < sizeof(Value)) throw std::runtime_error("device code ends early");
  Value value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

std::string_view part(std::string_view bytes, size_t at, size_t size) {
  if (at > bytes.size() || bytes.size() - at < size) throw std::runtime_error("device code ends early");
  return bytes.substr(at, size);
}

// The attributes of .nv.info.<kernel>: a format, an attribute, then 16 bits that are the value, or the size of the value behind them.
void read_info(std::string_view info, Kernel &kernel) {
  constexpr uint8_t sized = 4, max_threads = 0x05, parameter = 0x17;
  for (size_t at = 0; at + 4 <= info.size();) {
    const uint8_t format = read<uint8_t>(info, at), attribute = read<uint8_t>(info, at + 1);
    const uint16_t size = read<uint16_t>(info, at + 2);
    at += 4;
    if (format != sized) continue;
    const std::string_view value = part(info, at, size);
    if (attribute == parameter) {  // index, ordinal and offset, then the size in the upper 14 bits
      const uint16_t ordinal = read<uint16_t>(value, 4);
      if (kernel.parameter_bytes.size() <= ordinal) kernel.parameter_bytes.resize(ordinal + 1u);
      kernel.parameter_bytes[ordinal] = read<uint32_t>(value, 8) >> 18;
    } else if (attribute == max_threads) {
      kernel.max_threads = read<uint32_t>(value, 0) * read<uint32_t>(value, 4) * read<uint32_t>(value, 8);
    }
    at += size;
  }
}

}  // namespace

std::vector<Piece> pieces_of(const void *image) {
  constexpr uint32_t magic = 0xba55ed50;
  constexpr uint16_t ptx = 1, cubin = 2;
  constexpr uint64_t exact_flag = 0x100000;
  const std::string_view header(static_cast<const char *>(image), 16);
  if (read<uint32_t>(header, 0) != magic) throw std::runtime_error("the image is no fat binary");
  const size_t header_bytes = read<uint16_t>(header, 6);
  const std::string_view whole(static_cast<const char *>(image), header_bytes + read<uint64_t>(header, 8));
  std::vector<Piece> pieces;
  for (size_t at = header_bytes; at < whole.size();) {
    const uint16_t kind = read<uint16_t>(whole, at);
    const uint32_t own = read<uint32_t>(whole, at + 4);
    const uint64_t size = read<uint64_t>(whole, at + 8), flags = read<uint64_t>(whole, at + 40);
    if (kind != ptx && kind != cubin) throw std::runtime_error("the fat binary holds a piece of kind " + std::to_string(kind));
    const std::string_view bytes = part(whole, at + own, size);
    if (kind == cubin && !bytes.starts_with(ELFMAG)) throw std::runtime_error("the fat binary holds a compressed cubin");
    pieces.push_back({kind == cubin, static_cast<int>(read<uint32_t>(whole, at + 28)), (flags & exact_flag) != 0, bytes});
    at += own + size;
  }
  return pieces;
}

const Piece *choose(const std::vector<Piece> &pieces, int capability) {
  const Piece *best = nullptr;
  for (const Piece &piece : pieces) {
    const bool runs = piece.machine_code && (piece.exact ? piece.capability == capability
                                                         : piece.capability / 10 == capability / 10 && piece.capability <= capability);
    if (runs && (!best || piece.capability > best->capability)) best = &piece;
  }
  for (const Piece &piece : pieces)
    if (!best && !piece.machine_code && (piece.exact ? piece.capability == capability : piece.capability <= capability)) best = &piece;
  return best;
}

std::vector<Kernel> kernels_of(std::string_view cubin) {
  const auto header = read<Elf64_Ehdr>(cubin, 0);
  const auto section = [&](unsigned index) { return read<Elf64_Shdr>(cubin, header.e_shoff + index * sizeof(Elf64_Shdr)); };
  const Elf64_Shdr names = section(header.e_shstrndx);
  const std::string_view text = part(cubin, names.sh_offset, names.sh_size);
  std::map<std::string, Kernel> found;
  for (const char *wanted : {".text.", ".nv.info.", ".nv.shared."})  // the code first: only what has code is a kernel
    for (unsigned i = 0; i < header.e_shnum; ++i) {
      const Elf64_Shdr one = section(i);
      const std::string_view name(text.substr(one.sh_name, text.find('\0', one.sh_name) - one.sh_name));
      if (!name.starts_with(wanted)) continue;
      const std::string kernel(name.substr(std::strlen(wanted)));
      if (wanted == std::string_view(".text.")) found[kernel] = {kernel, {}, 0, 1024};
      if (!found.contains(kernel)) continue;
      if (wanted == std::string_view(".nv.info.")) read_info(part(cubin, one.sh_offset, one.sh_size), found[kernel]);
      // From sm_90 on the section counts the 1 KiB that the system keeps for itself.
      constexpr unsigned kept = 1024;
      const unsigned capability = header.e_flags >> 8 & 0xff;
      if (wanted == std::string_view(".nv.shared."))
        found[kernel].static_shared_bytes = static_cast<uint32_t>(one.sh_size) - (capability >= 90 ? kept : 0);
    }
  std::vector<Kernel> kernels;
  for (const auto &[name, kernel] : found) kernels.push_back(kernel);
  return kernels;
}

std::vector<Kernel> kernels_for(const std::vector<Piece> &pieces, int capability) {
  const Piece *piece = choose(pieces, capability);
  if (!piece) return {};
  if (piece->machine_code) return kernels_of(piece->bytes);
  for (const Piece &beside : pieces)
    if (beside.machine_code) return kernels_of(beside.bytes);
  throw std::runtime_error("the fat binary holds PTX alone; its kernels are not known here");
}

}  // namespace lamina::fake_cuda
