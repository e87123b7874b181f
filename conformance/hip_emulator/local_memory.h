// LDS of one workgroup.  It knows for every 4 bytes who read and wrote them since the last barrier, and which bytes were ever written.
#pragma once
#include <array>
#include <vector>

#include "conformance/hip_emulator/types.h"

namespace lamina::hip_emulator {

class LocalMemory {
 public:
  // A new workgroup: nothing is written.  `races`: whether they are looked for.
  void begin(size_t bytes, bool races);
  // Every wave has passed a barrier.
  void barrier();
  size_t size() const { return size_; }

  // Words of `lanes`: address[lane] and the following ones, into to[word][lane].  Lanes that get unwritten bytes are added to `undefined`.
  // Addresses must be multiples of `align`.
  void read(int wave, const u32 *address, u64 lanes, int words, int align, u32 (*to)[64], u64 &undefined);
  void write(int wave, const u32 *address, u64 lanes, int words, int align, const u32 *const *from, u64 undefined);
  // One or two bytes.
  u32 read_part(int wave, u32 address, int bytes, bool &defined);
  void write_part(int wave, u32 address, int bytes, u32 value, bool defined);
  // Reads and writes at once; waves may do so beside each other.  The value must have been written.
  u32 &atomic(int wave, u32 address);
  // The end of a transfer from memory: one word.
  void arrive(int wave, u32 address, u32 value);

 private:
  // Of 4 bytes: bits 0..15 the waves that read, 16..20 the wave that wrote (0 none, 31 atomics), 21 whether bytes differ, 22..31 the
  // interval between barriers that all this belongs to.
  using Tag = u32;
  static constexpr u32 atomics = 31, partial = 1u << 21;
  struct Bytes {
    std::array<Tag, 4> tags;
  };
  Tag &tag(u32 word);
  void note_read(int wave, u32 word);
  void note_write(int wave, u32 word, u32 writer);
  void note_part(int wave, u32 address, int bytes, bool writes);
  static void mark_read(Tag &, int wave);
  static void mark_write(Tag &, int wave, u32 writer);
  void split(u32 word);
  void require(u32 address, u32 bytes, int align, const char *what) const;
  void require(const u32 *address, u64 lanes, u32 bytes, int align, const char *what) const;
  template <int words>
  void read_words(int wave, const u32 *address, u64 lanes, u32 (*to)[64], u64 &undefined);
  template <int words>
  void write_words(int wave, const u32 *address, u64 lanes, const u32 *const *from, u64 undefined);

  size_t size_ = 0;
  bool races_ = true;
  u32 interval_ = 0;
  std::vector<u32> words_;
  std::vector<u8> written_;  // a bit a byte
  std::vector<Tag> tags_;
  std::vector<Bytes> bytes_;  // where tags_ says partial
};

}  // namespace lamina::hip_emulator
