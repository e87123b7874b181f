// Words that every part of the emulator uses.
#pragma once
#include <bit>
#include <cstdint>
#include <cstring>
#include <stdexcept>
#include <string>

namespace lamina::hip_emulator {

using u8 = uint8_t;
using u16 = uint16_t;
using u32 = uint32_t;
using u64 = uint64_t;
using i16 = int16_t;
using i32 = int32_t;
using i64 = int64_t;

constexpr int lane_count = 64;
constexpr u64 all_lanes = ~u64{0};
// One register of a wave: a value for each lane.
using Lanes = u32[lane_count];

inline float as_float(u32 bits) { return std::bit_cast<float>(bits); }
inline u32 as_bits(float value) { return std::bit_cast<u32>(value); }
inline u64 join(u32 low, u32 high) { return low | u64{high} << 32; }

enum class Arch : u8 { gfx90a = 1, gfx942 = 2, gfx950 = 4 };

// Ends a launch.  The emulator adds kernel, workgroup, wave and instruction on the way out.
struct Trap : std::runtime_error {
  enum Kind { illegal_address, launch_failure };
  Trap(Kind kind_, const std::string &sentence) : std::runtime_error(sentence), kind(kind_) {}
  explicit Trap(const std::string &sentence) : Trap(launch_failure, sentence) {}
  Kind kind;
};

// What a code object holds that the emulator does not take.
struct Refusal : std::runtime_error {
  using std::runtime_error::runtime_error;
};

}  // namespace lamina::hip_emulator
