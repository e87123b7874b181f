#include "conformance/hip_emulator/local_memory.h"

#include <algorithm>

namespace lamina::hip_emulator {
namespace {

constexpr u32 poison = 0xcdcdcdcd, interval_bits = 10;

std::string wave_of(u32 writer) { return writer == 31 ? "an atomic" : "wave " + std::to_string(writer - 1); }

}  // namespace

void LocalMemory::begin(size_t bytes, bool races) {
  size_ = bytes, races_ = races;
  const size_t words = (bytes + 3) / 4;
  words_.assign(words, poison);
  written_.assign(words, 0);
  if (tags_.size() < words) tags_.resize(words), bytes_.resize(words);
  barrier();
}

void LocalMemory::barrier() {
  if (++interval_ < 1u << interval_bits) return;
  interval_ = 1;
  std::fill(tags_.begin(), tags_.end(), 0);
}

void LocalMemory::require(u32 address, u32 bytes, int align, const char *what) const {
  if (u64{address} + bytes > size_)
    throw Trap(std::string(what) + " " + std::to_string(bytes) + " bytes of LDS at " + std::to_string(address) +
               ", out of bounds: it has " + std::to_string(size_));
  if (address % static_cast<u32>(align))
    throw Trap(std::string(what) + " LDS at " + std::to_string(address) + ", which is no multiple of " + std::to_string(align));
}

void LocalMemory::require(const u32 *address, u64 lanes, u32 bytes, int align, const char *what) const {
  u32 highest = 0, ends = 0;
  if (lanes == all_lanes) {
    for (int lane = 0; lane < lane_count; ++lane) highest = std::max(highest, address[lane]), ends |= address[lane];
  } else {
    for (u64 left = lanes; left; left &= left - 1) {
      const u32 at = address[std::countr_zero(left)];
      highest = std::max(highest, at), ends |= at;
    }
  }
  if (u64{highest} + bytes <= size_ && ends % static_cast<u32>(align) == 0) return;
  for (u64 left = lanes; left; left &= left - 1) require(address[std::countr_zero(left)], bytes, align, what);
}

LocalMemory::Tag &LocalMemory::tag(u32 word) {
  Tag &found = tags_[word];
  if (found >> 22 != interval_) found = interval_ << 22;
  return found;
}

void LocalMemory::mark_read(Tag &tag, int wave) {
  const u32 writer = tag >> 16 & 31;
  if (writer && writer != static_cast<u32>(wave) + 1)
    throw Trap("LDS race: reads what " + wave_of(writer) + " wrote since the last barrier");
  tag |= 1u << wave;
}

void LocalMemory::mark_write(Tag &tag, int wave, u32 writer) {
  const u32 before = tag >> 16 & 31, others = tag & 0xffff & ~(1u << wave);
  if (before && before != writer) throw Trap("LDS race: writes what " + wave_of(before) + " wrote since the last barrier");
  if (others) throw Trap("LDS race: writes what wave " + std::to_string(std::countr_zero(others)) + " read since the last barrier");
  tag = (tag & ~(31u << 16)) | writer << 16;
}

void LocalMemory::split(u32 word) {
  Tag &whole = tag(word);
  if (whole & partial) return;
  bytes_[word].tags.fill(whole);
  whole |= partial;
}

void LocalMemory::note_read(int wave, u32 word) {
  Tag &whole = tag(word);
  if (whole & partial)
    for (Tag &byte : bytes_[word].tags) mark_read(byte, wave);
  else mark_read(whole, wave);
}

void LocalMemory::note_write(int wave, u32 word, u32 writer) {
  Tag &whole = tag(word);
  if (whole & partial)
    for (Tag &byte : bytes_[word].tags) mark_write(byte, wave, writer);
  else mark_write(whole, wave, writer);
}

void LocalMemory::note_part(int wave, u32 address, int bytes, bool writes) {
  split(address / 4);
  for (int i = 0; i < bytes; ++i) {
    Tag &byte = bytes_[address / 4].tags[address % 4 + static_cast<u32>(i)];
    if (writes) mark_write(byte, wave, static_cast<u32>(wave) + 1);
    else mark_read(byte, wave);
  }
}

// The tags of a lane's words are looked at together; a lane with anything unusual takes the careful way.
template <int words>
void LocalMemory::read_words(int wave, const u32 *address, u64 lanes, u32 (*to)[64], u64 &undefined) {
  const Tag fresh = interval_ << 22, own = fresh | (static_cast<u32>(wave) + 1) << 16, bit = 1u << wave;
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    const u32 word = address[lane] / 4;
    u32 value[words];
    u8 known[words];
    std::memcpy(value, &words_[word], sizeof value);
    std::memcpy(known, &written_[word], sizeof known);
    u8 all = 0xf;
    for (int k = 0; k < words; ++k) to[k][lane] = value[k], all &= known[k];
    if (all != 0xf) undefined |= u64{1} << lane;
    if (!races_) continue;
    Tag tags[words];
    std::memcpy(tags, &tags_[word], sizeof tags);
    u32 unusual = 0;
    for (Tag &tag : tags) {
      tag = tag >> 22 == interval_ ? tag : fresh;
      const u32 writer = tag & ~0xffffu;
      unusual |= writer != fresh && writer != own;
      tag |= bit;
    }
    if (!unusual) std::memcpy(&tags_[word], tags, sizeof tags);
    else
      for (u32 k = 0; k < words; ++k) note_read(wave, word + k);
  }
}

template <int words>
void LocalMemory::write_words(int wave, const u32 *address, u64 lanes, const u32 *const *from, u64 undefined) {
  const Tag fresh = interval_ << 22, own = fresh | (static_cast<u32>(wave) + 1) << 16, others = 0xffffu & ~(1u << wave);
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    const u32 word = address[lane] / 4;
    u32 value[words];
    u8 known[words];
    for (int k = 0; k < words; ++k) value[k] = from[k][lane], known[k] = undefined >> lane & 1 ? 0 : 0xf;
    std::memcpy(&words_[word], value, sizeof value);
    std::memcpy(&written_[word], known, sizeof known);
    if (!races_) continue;
    Tag tags[words];
    std::memcpy(tags, &tags_[word], sizeof tags);
    u32 unusual = 0;
    for (Tag &tag : tags) {
      tag = tag >> 22 == interval_ ? tag : fresh;
      const u32 writer = tag & ~0xffffu;
      unusual |= (writer != fresh && writer != own) | ((tag & others) != 0);
      tag = (tag & 0xffffu) | own;
    }
    if (!unusual) std::memcpy(&tags_[word], tags, sizeof tags);
    else
      for (u32 k = 0; k < words; ++k) note_write(wave, word + k, static_cast<u32>(wave) + 1);
  }
}

void LocalMemory::read(int wave, const u32 *address, u64 lanes, int words, int align, u32 (*to)[64], u64 &undefined) {
  require(address, lanes, 4 * static_cast<u32>(words), align, "reads");
  switch (words) {
    case 1: return read_words<1>(wave, address, lanes, to, undefined);
    case 2: return read_words<2>(wave, address, lanes, to, undefined);
    case 3: return read_words<3>(wave, address, lanes, to, undefined);
    default: return read_words<4>(wave, address, lanes, to, undefined);
  }
}

void LocalMemory::write(int wave, const u32 *address, u64 lanes, int words, int align, const u32 *const *from, u64 undefined) {
  require(address, lanes, 4 * static_cast<u32>(words), align, "writes");
  switch (words) {
    case 1: return write_words<1>(wave, address, lanes, from, undefined);
    case 2: return write_words<2>(wave, address, lanes, from, undefined);
    case 3: return write_words<3>(wave, address, lanes, from, undefined);
    default: return write_words<4>(wave, address, lanes, from, undefined);
  }
}

u32 LocalMemory::read_part(int wave, u32 address, int bytes, bool &defined) {
  require(address, static_cast<u32>(bytes), bytes, "reads");
  if (races_) note_part(wave, address, bytes, false);
  const u32 mask = ((1u << bytes) - 1) << (address % 4);
  defined = (written_[address / 4] & mask) == mask;
  return words_[address / 4] >> (8 * (address % 4)) & (bytes == 1 ? 0xff : 0xffff);
}

void LocalMemory::write_part(int wave, u32 address, int bytes, u32 value, bool defined) {
  require(address, static_cast<u32>(bytes), bytes, "writes");
  if (races_) note_part(wave, address, bytes, true);
  const u32 shift = 8 * (address % 4), mask = (bytes == 1 ? 0xffu : 0xffffu) << shift;
  u32 &word = words_[address / 4];
  word = (word & ~mask) | (value << shift & mask);
  const u32 bits = ((1u << bytes) - 1) << (address % 4);
  u8 &known = written_[address / 4];
  known = static_cast<u8>(defined ? known | bits : known & ~bits);
}

u32 &LocalMemory::atomic(int wave, u32 address) {
  require(address, 4, 4, "changes");
  if (races_) note_write(wave, address / 4, atomics);
  if (written_[address / 4] != 0xf) throw Trap("changes LDS at " + std::to_string(address) + ", which nothing has written");
  return words_[address / 4];
}

void LocalMemory::arrive(int wave, u32 address, u32 value) {
  require(address, 4, 4, "loads into");
  if (races_) note_write(wave, address / 4, static_cast<u32>(wave) + 1);
  words_[address / 4] = value;
  written_[address / 4] = 0xf;
}

}  // namespace lamina::hip_emulator
