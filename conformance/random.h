// A counter-based generator: the value at (seed, stream, index) needs no state, so a case draws the same data on every machine,
// in any order and whatever the other arguments are.
#pragma once
#include <cmath>
#include <cstdint>
#include <string_view>

namespace lamina::conformance {

class Random {
 public:
  // `stream` separates the draws of one seed, for instance by argument name.
  Random(uint64_t seed, std::string_view stream) : key_(mix(seed + 0x9e3779b97f4a7c15u)) {
    for (const char letter : stream) key_ = mix(key_ ^ static_cast<unsigned char>(letter));
  }
  uint64_t bits(uint64_t index) const { return mix(mix(index * 0xd1342543de82ef95u + key_) ^ key_); }
  // In (0, 1), never an end.
  double uniform(uint64_t index) const { return (static_cast<double>(bits(index) >> 12) + 0.5) * 0x1p-52; }
  // Mean 0, variance 1 (Box and Muller).
  double normal(uint64_t index) const {
    const double radius = std::sqrt(-2 * std::log(uniform(2 * index)));
    return radius * std::cos(6.283185307179586 * uniform(2 * index + 1));
  }

 private:
  // The finaliser of SplitMix64 (Steele, Lea, Flood 2014).
  static uint64_t mix(uint64_t x) {
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
  }
  uint64_t key_;
};

}  // namespace lamina::conformance
