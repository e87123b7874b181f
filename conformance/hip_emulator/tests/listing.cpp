// listing FILE.co [--names]: every instruction that the emulator reaches from the kernels' entries, "ADDRESS TEXT"; with --names each
// kernel's after a line "NAME:".  Exits 1 where it refuses one.
#include <cstdio>
#include <cstring>
#include <fstream>
#include <iterator>

#include "conformance/hip_emulator/code_object.h"

using namespace lamina::hip_emulator;

int main(int argc, char **argv) {
  const bool names = argc == 3 && std::strcmp(argv[2], "--names") == 0;
  if (argc != 2 && !names) return std::fprintf(stderr, "usage: listing FILE.co [--names]\n"), 2;
  std::ifstream file(argv[1], std::ios::binary);
  const std::vector<char> image((std::istreambuf_iterator<char>(file)), {});
  if (image.empty()) return std::fprintf(stderr, "%s cannot be read\n", argv[1]), 2;
  int refused = 0;
  try {
    const CodeObject object(image.data());
    for (const auto &kernel : object.kernels()) {
      if (names) std::printf("%s:\n", kernel->facts.name.c_str());
      try {
        for (const Instruction &i : kernel->program().code) {
          std::vector<u32> words(i.bytes / 4);
          std::memcpy(words.data(), object.image().data() + i.address, i.bytes);
          std::printf("%08X %s\n", i.address, text_of(words, i.address, object.arch()).c_str());
        }
      } catch (const Refusal &refusal) {
        std::fprintf(stderr, "%s: %s\n", kernel->facts.name.c_str(), refusal.what());
        refused = 1;
      }
    }
  } catch (const Refusal &refusal) { return std::fprintf(stderr, "%s: %s\n", argv[1], refusal.what()), 1; }
  return refused;
}
