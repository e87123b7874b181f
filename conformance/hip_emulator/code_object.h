// A loaded code object: its image, its kernels, and their programs.
#pragma once
#include <memory>
#include <mutex>

#include "conformance/hip_emulator/metadata.h"
#include "conformance/hip_emulator/program.h"

namespace lamina::hip_emulator {

// What the kernel descriptor says (LLVM's "User Guide for AMDGPU Backend", "Kernel Descriptor").
struct Descriptor {
  u32 group_bytes, private_bytes;
  u32 entry;  // an offset into the image
  u32 resources1, resources2;
  u16 properties, preload;
};

class CodeObject;

struct Kernel {
  const CodeObject *object = nullptr;
  KernelFacts facts;
  Descriptor descriptor{};
  // Decoded at first use.  Throws Refusal.  Any thread.
  const Program &program() const;

 private:
  mutable std::once_flag decoded_;
  mutable Program program_;
};

class CodeObject {
 public:
  // The image's length comes from its own headers, as HIP has it.  Throws Refusal.
  explicit CodeObject(const void *image);
  ~CodeObject();
  CodeObject(const CodeObject &) = delete;
  CodeObject &operator=(const CodeObject &) = delete;

  // The arch an image is for; nullptr where the emulator has none of that number.  Throws Refusal where it is no code object.
  static const char *arch_name(const void *image);

  Arch arch() const { return arch_; }
  std::span<const u8> image() const { return {image_.get(), size_}; }
  const Kernel *find(const std::string &name) const;
  const std::vector<std::unique_ptr<Kernel>> &kernels() const { return kernels_; }

 private:
  struct Free {
    void operator()(u8 *memory) const { std::free(memory); }
  };
  Arch arch_{};
  std::unique_ptr<u8, Free> image_;
  size_t size_ = 0;
  std::vector<const void *> regions_;
  std::vector<std::unique_ptr<Kernel>> kernels_;
};

// gfx90a, gfx942, gfx950; throws Refusal for any other name.
Arch arch_named(const std::string &name);

}  // namespace lamina::hip_emulator
