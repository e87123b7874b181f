// Element types as a host sees them: the ABI's dtype triples, and exact reading and correctly rounded writing of one element.
// Conformance keeps its own conversions, so that a mistake in a plug-in's is not repeated here.
#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

#include "abi/lamina_abi.h"

namespace lamina::conformance {

// In the order of the LAMINA_BIT_* constants.
enum class Element : uint8_t { float64, float32, float16, bfloat16, boolean, int8, uint8, int32, int64 };
constexpr int element_count = 9;

constexpr uint64_t bit(Element element) { return uint64_t{1} << static_cast<unsigned>(element); }
size_t size_of(Element);
const char *name_of(Element);  // "float32", "bool": the contract's words
bool is_floating(Element);
lamina_dtype dtype_of(Element);
std::optional<Element> element_named(std::string_view name);
std::optional<Element> element_of(lamina_dtype);

double load(const void *from, Element);       // exact, but for int64 beyond 2^53
void store(void *to, Element, double value);  // rounds to nearest, ties to even

}  // namespace lamina::conformance
