#include "conformance/comparison.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "manifest/error.h"

namespace lamina::conformance {
namespace {

std::string index_text(size_t flat, const std::vector<int64_t> &shape) {
  std::string text;
  for (size_t dim = shape.size(); dim-- > 0;) {
    const auto extent = static_cast<size_t>(std::max<int64_t>(shape[dim], 1));
    text = std::to_string(flat % extent) + (text.empty() ? "" : ", ") + text;
    flat /= extent;
  }
  return "[" + text + "]";
}

std::string number(double value) {
  char text[32];
  snprintf(text, sizeof text, "%.3g", value);
  return text;
}

double limit_in(const std::map<std::string, double> &limits, const std::string &dtype, const char *which) {
  const auto found = limits.find(dtype);
  if (found == limits.end()) throw Error(ErrorKind::malformed, std::string("the contract has no tolerance ") + which + " for " + dtype);
  return found->second;
}

Measures gradient_limits(const manifest::Tolerances &all, const Case &one) {
  std::string dtype = one.dtype;
  if (const auto set = one.attributes.find("compute"); dtype == "float32" && set != one.attributes.end()) {
    const std::string value = manifest::text_of(set->second);
    if (value != "exact") dtype = value == "bf16" ? "bfloat16" : "float16";  // tf32 has float16's mantissa
  }
  return {limit_in(all.gradient_frobenius, dtype, "gradient.frobenius"),
          one.local_factor * limit_in(all.gradient_row, dtype, "gradient.worst_row"),
          one.local_factor * limit_in(all.gradient_element, dtype, "gradient.worst_element")};
}

}  // namespace

Measures limits_for(const manifest::Contract &contract, const Case &one, uint32_t kind, const std::string &dtype) {
  const manifest::Tolerances &all = contract.tolerances;
  if (kind == LAMINA_BACKWARD) return gradient_limits(all, one);
  if (const auto set = one.attributes.find("compute"); dtype == "float32" && set != one.attributes.end()) {
    const std::string value = manifest::text_of(set->second);
    if (const auto found = all.compute.find(value); found != all.compute.end())
      return {found->second.frobenius, one.local_factor * found->second.worst_row, one.local_factor * found->second.worst_element};
  }
  return {one.shifted ? limit_in(all.frobenius_shifted, dtype, "frobenius_shifted") : limit_in(all.frobenius, dtype, "frobenius"),
          one.local_factor * limit_in(all.worst_row, dtype, "worst_row"),
          one.local_factor * limit_in(all.worst_element, dtype, "worst_element")};
}

std::string compare(const std::vector<double> &build, const std::vector<double> &truth, const std::vector<int64_t> &shape,
                    const Measures &limits, Measures &measures) {
  measures = {};
  if (build.size() != truth.size())
    return "has " + std::to_string(build.size()) + " elements, the reference " + std::to_string(truth.size());
  const int64_t extent = shape.empty() ? 1 : std::max<int64_t>(shape.back(), 1);
  const size_t row = static_cast<size_t>(extent * std::max<int64_t>(1, (narrow_row + extent - 1) / extent));
  double error = 0, norm = 0;
  size_t finite = 0;
  for (size_t i = 0; i < truth.size(); ++i) {
    if (std::isfinite(build[i]) != std::isfinite(truth[i]))
      return "is " + number(build[i]) + " at " + index_text(i, shape) + ", the reference says " + number(truth[i]);
    if (!std::isfinite(truth[i])) continue;
    ++finite;
    error += (build[i] - truth[i]) * (build[i] - truth[i]);
    norm += truth[i] * truth[i];
  }
  if (finite == 0) return "";
  const double rms = std::sqrt(norm / static_cast<double>(finite));
  const double typical_row = rms * std::sqrt(static_cast<double>(row));
  // A truth of all zeros has no scale: then any difference is infinite.
  const auto ratio = [](double part, double whole) { return part == 0 ? 0 : part / whole; };
  measures.frobenius = ratio(std::sqrt(error), std::sqrt(norm));
  size_t worst_row = 0, worst_element = 0;
  for (size_t begin = 0; begin < truth.size(); begin += row) {
    double row_error = 0, row_norm = 0;
    for (size_t i = begin; i < std::min(begin + row, truth.size()); ++i) {
      if (!std::isfinite(truth[i])) continue;
      const double difference = std::fabs(build[i] - truth[i]);
      row_error += difference * difference, row_norm += truth[i] * truth[i];
      if (ratio(difference, rms) > measures.worst_element) measures.worst_element = ratio(difference, rms), worst_element = i;
    }
    const double relative = ratio(std::sqrt(row_error), std::max(std::sqrt(row_norm), 0.1 * typical_row));
    if (relative > measures.worst_row) measures.worst_row = relative, worst_row = begin;
  }
  if (!(measures.frobenius <= limits.frobenius))
    return "relative Frobenius error " + number(measures.frobenius) + ", at most " + number(limits.frobenius) + " is allowed";
  if (!(measures.worst_row <= limits.worst_row))
    return "relative error " + number(measures.worst_row) + " in the row from " + index_text(worst_row, shape) + ", at most " +
           number(limits.worst_row) + " is allowed";
  if (!(measures.worst_element <= limits.worst_element))
    return "element " + index_text(worst_element, shape) + " is " + number(build[worst_element]) + ", the reference says " +
           number(truth[worst_element]) + ": off by " + number(measures.worst_element) + " of the output's RMS, at most " +
           number(limits.worst_element) + " is allowed";
  return "";
}

}  // namespace lamina::conformance
