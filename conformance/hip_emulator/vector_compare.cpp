// Vector compares: a bit for each lane, 0 where EXEC turns the lane off.
#include <algorithm>

#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {
namespace {

// The eight relations, and for floating point eight more: unordered tests and the negations, in the order of the opcodes.
template <class T, int relation>
bool holds(T x, T y) {
  using Number = std::conditional_t<std::is_same_v<T, half>, float, T>;
  const std::pair<Number, Number> a(x, y);
  switch (relation) {
    case 0: return false;
    case 1: return a.first < a.second;
    case 2: return a.first == a.second;
    case 3: return a.first <= a.second;
    case 4: return a.first > a.second;
    case 5: return std::is_integral_v<T> ? a.first != a.second : a.first < a.second || a.first > a.second;
    case 6: return a.first >= a.second;
    case 7: return std::is_integral_v<T> || (a.first == a.first && a.second == a.second);
    case 8: return a.first != a.first || a.second != a.second;
    case 9: return !(a.first >= a.second);
    case 10: return !(a.first < a.second || a.first > a.second);
    case 11: return !(a.first > a.second);
    case 12: return !(a.first <= a.second);
    case 13: return !(a.first == a.second);
    case 14: return !(a.first < a.second);
    default: return true;
  }
}

template <class T, int relation>
void compare(void *result, const void *const *sources) {
  const auto *a = static_cast<const typename Stored<T>::type *>(sources[0]), *b = static_cast<const typename Stored<T>::type *>(sources[1]);
  alignas(64) u8 flags[lane_count];
  for (int lane = 0; lane < lane_count; ++lane) flags[lane] = holds<T, relation>(read_lane<T>(a[lane]), read_lane<T>(b[lane]));
  u64 mask = 0;
  for (int byte = 0; byte < 8; ++byte) {
    u64 eight;
    std::memcpy(&eight, flags + 8 * byte, 8);
    mask |= (eight * 0x0102040810204080 >> 56) << (8 * byte);  // the lowest bits of eight bytes, side by side
  }
  *static_cast<u64 *>(result) = mask;
}

// V_CMP_CLASS: bits name signalling NaN, quiet NaN, -infinity, -normal, -denormal, -0, +0, +denormal, +normal, +infinity.
u32 class_of(u32 bits, int mantissa_bits, int exponent_bits) {
  const u32 mantissa = bits & ((1u << mantissa_bits) - 1), full = (1u << exponent_bits) - 1, exponent = bits >> mantissa_bits & full;
  const bool negative = bits >> (mantissa_bits + exponent_bits) & 1;
  if (exponent == full && mantissa) return mantissa >> (mantissa_bits - 1) ? 2 : 1;
  if (exponent == full) return negative ? 4 : 512;
  if (exponent) return negative ? 8 : 256;
  if (mantissa) return negative ? 16 : 128;
  return negative ? 32 : 64;
}
template <class T>
void compare_class(void *result, const void *const *sources) {
  const u32 *a = static_cast<const u32 *>(sources[0]), *b = static_cast<const u32 *>(sources[1]);
  u64 mask = 0;
  for (int lane = 0; lane < lane_count; ++lane) {
    const u32 found = std::is_same_v<T, half> ? class_of(a[lane] & 0xffff, 10, 5) : class_of(a[lane], 23, 8);
    mask |= u64{(found & b[lane]) != 0} << lane;
  }
  *static_cast<u64 *>(result) = mask;
}

void run_compare(Wave &wave, const Instruction &i) {
  Scratch narrow[2];
  WideScratch wide[2];
  const void *sources[2];
  u64 undefined = 0, result = 0;
  for (int k = 0; k < 2; ++k) {
    if (dwords_of(i.row->source[k]) == 2) sources[k] = wide_values(wave, i.source[k], wide[k], undefined);
    else sources[k] = values(wave, i.source[k], narrow[k], undefined);
  }
  i.function(&result, sources);
  const u64 exec = wave.exec(), known = ~(undefined & exec);
  result &= exec;
  write_scalar64(wave, i.mask_destination, result, known);
  if (!i.row->detail) return;
  if (known != all_lanes) throw Trap("EXEC is set by comparing registers that nothing has written");
  wave.set_scalar64(code::exec, result);
}

constexpr std::array<const char *, 16> relations{"f", "lt",  "eq",  "le",  "gt",  "lg",  "ge",  "o",
                                                 "u", "nge", "nlg", "ngt", "nle", "neq", "nlt", "tru"};

// Names are made once: "v_cmp_" or "v_cmpx_", relation, type.
struct Names {
  std::vector<std::string> text;
  std::vector<Row> rows;
};

template <class T, int... relation>
void add(Names &names, u16 first, const char *type, std::integer_sequence<int, relation...>) {
  const auto one = [&](int which, LaneFunction function) {
    const bool integer = std::is_integral_v<T>;
    const std::string word = integer && which == 5 ? "ne" : integer && which == 7 ? "t" : relations[which];
    for (const bool sets_exec : {false, true}) {
      names.text.push_back((sets_exec ? "v_cmpx_" : "v_cmp_") + word + "_" + type);
      const u16 opcode = static_cast<u16>(first + (sets_exec ? 0x10 : 0) + which);
      names.rows.push_back(
          {Format::vopc, opcode, nullptr, run_compare, Type::none, {type_of<T>(), type_of<T>()}, Layout::compares, function, sets_exec});
    }
  };
  (one(relation, compare<T, relation>), ...);
}

Names made() {
  Names names;
  constexpr auto sixteen = std::make_integer_sequence<int, 16>{};
  constexpr auto eight = std::make_integer_sequence<int, 8>{};
  for (const bool sets_exec : {false, true}) {
    const auto add_class = [&](u16 opcode, const char *type, Type source, LaneFunction function) {
      names.text.push_back(std::string(sets_exec ? "v_cmpx_class_" : "v_cmp_class_") + type);
      names.rows.push_back({Format::vopc,
                            static_cast<u16>(opcode + sets_exec),
                            nullptr,
                            run_compare,
                            Type::none,
                            {source, Type::b32},
                            Layout::compares,
                            function,
                            sets_exec});
    };
    add_class(0x10, "f32", Type::f32, compare_class<float>);
    add_class(0x14, "f16", Type::f16, compare_class<half>);
  }
  add<half>(names, 0x20, "f16", sixteen);
  add<float>(names, 0x40, "f32", sixteen);
  add<double>(names, 0x60, "f64", sixteen);
  add<i16>(names, 0xa0, "i16", eight);
  add<u16>(names, 0xa8, "u16", eight);
  add<i32>(names, 0xc0, "i32", eight);
  add<u32>(names, 0xc8, "u32", eight);
  add<i64>(names, 0xe0, "i64", eight);
  add<u64>(names, 0xe8, "u64", eight);
  for (size_t i = 0; i < names.rows.size(); ++i) names.rows[i].name = names.text[i].c_str();
  return names;
}

}  // namespace

std::span<const Row> compare_rows() {
  static const Names names = made();
  return names.rows;
}

}  // namespace lamina::hip_emulator
