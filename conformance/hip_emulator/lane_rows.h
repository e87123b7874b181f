// Rows of the table that are a function of one lane: the types of its arguments say how registers are read.
//   lanes<[](float a, float b) { return a + b; }>(Format::vop2, 0x01, "v_add_f32")
#pragma once
#include <span>
#include <utility>

#include "conformance/hip_emulator/numbers.h"
#include "conformance/hip_emulator/operands.h"

namespace lamina::hip_emulator {

template <class T>
struct Stored {
  using type = u32;
};
template <class T>
  requires(sizeof(T) == 8)
struct Stored<T> {
  using type = u64;
};
template <>
struct Stored<half> {
  using type = u32;
};

template <class T>
constexpr Type type_of() {
  if constexpr (std::is_same_v<T, half>) return Type::f16;
  if constexpr (std::is_same_v<T, float>) return Type::f32;
  if constexpr (std::is_same_v<T, double>) return Type::f64;
  if constexpr (std::is_same_v<T, i64>) return Type::i64;
  if constexpr (sizeof(T) == 8) return Type::b64;
  if constexpr (sizeof(T) == 2) return Type::b16;
  return Type::b32;
}

template <class T>
inline T read_lane(typename Stored<T>::type bits) {
  if constexpr (std::is_same_v<T, half>) return half_to_float(bits);
  else if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) return std::bit_cast<T>(bits);
  else return static_cast<T>(bits);
}
template <class T>
inline typename Stored<T>::type lane_bits(T value) {
  if constexpr (std::is_same_v<T, half>) return float_to_half(value);
  else if constexpr (std::is_same_v<T, float> || std::is_same_v<T, double>) return std::bit_cast<typename Stored<T>::type>(value);
  else if constexpr (sizeof(T) == 2) return static_cast<u16>(value);
  else return static_cast<typename Stored<T>::type>(value);
}

template <class F>
struct Signature;
template <class F, class R, class... A>
struct Signature<R (F::*)(A...) const> {
  using Result = R;
  static constexpr size_t count = sizeof...(A);
  static constexpr std::array<Type, 3> sources = [] {
    std::array<Type, 3> types{};
    size_t i = 0;
    ((types[i++] = type_of<A>()), ...);
    return types;
  }();

  template <auto f>
  static void apply(void *result, const void *const *sources) {
    apply_to<f>(static_cast<typename Stored<R>::type *>(result), sources, std::index_sequence_for<A...>());
  }

 private:
  template <auto f, size_t... I>
  static void apply_to(typename Stored<R>::type *to, const void *const *sources, std::index_sequence<I...>) {
    loop<f>(to, static_cast<const typename Stored<A>::type *>(sources[I])...);
  }
  // A result may overwrite a source: each lane reads its own place alone.
  template <auto f>
  static void loop(typename Stored<R>::type *to, const typename Stored<A>::type *...from) {
#pragma GCC ivdep
    for (int lane = 0; lane < lane_count; ++lane) to[lane] = lane_bits<R>(f(read_lane<A>(from[lane])...));
  }
};
template <auto f>
using SignatureOf = Signature<decltype(&decltype(f)::operator())>;

// Sources, then the function, then the result with its modifiers.
void run_lanes(Wave &, const Instruction &);
void run_lanes_wide(Wave &, const Instruction &);

// `detail` of rows whose low result does not depend on the high halves of sources: compilers leave those unset.
constexpr u8 low_from_low = 1;
constexpr Row from_low(Row row) {
  row.detail = low_from_low;
  return row;
}

template <auto f>
constexpr Row lanes(Format format, u16 opcode, const char *name, Layout layout = Layout::plain) {
  using S = SignatureOf<f>;
  constexpr Type result = type_of<typename S::Result>();
  bool wide = dwords_of(result) == 2;
  for (const Type type : S::sources) wide = wide || dwords_of(type) == 2;
  return {format, opcode, name, wide ? run_lanes_wide : run_lanes, result, S::sources, layout, S::template apply<f>};
}

std::span<const Row> float_rows();
std::span<const Row> double_rows();
std::span<const Row> half_rows();
std::span<const Row> integer_rows();
std::span<const Row> compare_rows();
std::span<const Row> lane_rows();
std::span<const Row> packed_rows();
std::span<const Row> matrix_rows();
std::span<const Row> scalar_rows();
std::span<const Row> short_scalar_rows();
std::span<const Row> scalar_compare_rows();
std::span<const Row> control_rows();
std::span<const Row> global_rows();
std::span<const Row> buffer_rows();
std::span<const Row> local_rows();

}  // namespace lamina::hip_emulator
