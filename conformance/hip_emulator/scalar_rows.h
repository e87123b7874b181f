// Rows of the scalar ALU that are a function of their operands.  Functions take (a, b, scc); those that take no `scc` leave it alone.
#pragma once
#include <tuple>

#include "conformance/hip_emulator/lane_rows.h"

namespace lamina::hip_emulator {

template <class F>
struct ScalarSignature;
template <class F, class R, class... A>
struct ScalarSignature<R (F::*)(A...) const> {
  using Result = R;
  using Arguments = std::tuple<A...>;
  static constexpr bool sets_condition = (std::is_same_v<A, bool &> || ...);
  static constexpr size_t sources = sizeof...(A) - sets_condition;
};

template <class T>
T scalar_source(Wave &wave, const Operand &operand, bool &known) {
  if constexpr (sizeof(T) == 8) {
    u64 bits = all_lanes;
    const u64 value = scalar_value64(wave, operand, bits);
    known = known && bits == all_lanes;
    return static_cast<T>(value);
  } else {
    u32 bits = ~0u;
    const u32 value = scalar_value(wave, operand, bits);
    known = known && bits == ~0u;
    return static_cast<T>(value);
  }
}

template <class R>
void scalar_result(Wave &wave, const Operand &operand, R value, bool known) {
  if constexpr (sizeof(R) == 8) write_scalar64(wave, operand, static_cast<u64>(value), known ? all_lanes : 0);
  else write_scalar(wave, operand, static_cast<u32>(value), known ? ~0u : 0);
}

// `reads_condition`: the value of SCC matters.
template <auto f, bool reads_condition>
void run_scalar(Wave &wave, const Instruction &i) {
  using S = ScalarSignature<decltype(&decltype(f)::operator())>;
  bool known = !reads_condition || wave.scc_defined, condition = wave.scc;
  const auto source = [&]<size_t k>() { return scalar_source<std::tuple_element_t<k, typename S::Arguments>>(wave, i.source[k], known); };
  const auto call = [&](auto... arguments) {
    if constexpr (S::sets_condition) return f(arguments..., condition);
    else return f(arguments...);
  };
  const auto result = [&] {
    if constexpr (S::sources == 1) return call(source.template operator()<0>());
    else {
      const auto a = source.template operator()<0>();
      return call(a, source.template operator()<1>());
    }
  }();
  scalar_result(wave, i.destination, result, known);
  if constexpr (S::sets_condition) wave.scc = condition, wave.scc_defined = known;
}

template <auto f, bool reads_condition = false>
constexpr Row scalar(Format format, u16 opcode, const char *name) {
  using S = ScalarSignature<decltype(&decltype(f)::operator())>;
  Row row{format, opcode, name, run_scalar<f, reads_condition>};
  row.result = type_of<typename S::Result>();
  row.source[0] = type_of<std::tuple_element_t<0, typename S::Arguments>>();
  if constexpr (S::sources == 2) row.source[1] = type_of<std::tuple_element_t<1, typename S::Arguments>>();
  return row;
}

// The result is SCC alone.
template <auto f>
void run_scalar_compare(Wave &wave, const Instruction &i) {
  using Arguments = typename ScalarSignature<decltype(&decltype(f)::operator())>::Arguments;
  bool known = true;
  const auto a = scalar_source<std::tuple_element_t<0, Arguments>>(wave, i.source[0], known);
  wave.scc = f(a, scalar_source<std::tuple_element_t<1, Arguments>>(wave, i.source[1], known));
  wave.scc_defined = known;
}
template <auto f>
constexpr Row compare(Format format, u16 opcode, const char *name) {
  using Arguments = typename ScalarSignature<decltype(&decltype(f)::operator())>::Arguments;
  return {format,     opcode,
          name,       run_scalar_compare<f>,
          Type::none, {type_of<std::tuple_element_t<0, Arguments>>(), type_of<std::tuple_element_t<1, Arguments>>()}};
}

}  // namespace lamina::hip_emulator
