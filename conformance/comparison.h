// How far a build is from the truth, by the contract's three measures.
#pragma once
#include <string>
#include <vector>

#include "conformance/case.h"
#include "manifest/contract.h"

namespace lamina::conformance {

// The limits of rows are derived for rows of this many elements; of fewer, chance alone makes a larger worst one.
constexpr int64_t narrow_row = 128;

struct Measures {
  double frobenius = 0;      // |build - truth| / |truth|, over the whole output
  double worst_row = 0;      // the same for one row (all but the last index fixed), or for as many neighbouring rows as have
                             // narrow_row elements together.  Its own norm counts as at least a tenth of the typical one, so that a
                             // row of near zeros is measured against its neighbours
  double worst_element = 0;  // one element's difference, in units of the output's root mean square
};

// The contract's limits for outputs of `dtype` that an op of this kind writes, those of row and element times the case's local_factor.
// Gradients have a table of their own, by the dtype of the case: their own may be float32 beside 16-bit tensors.  Throws lamina::Error when
// the contract has none.
Measures limits_for(const manifest::Contract &, const Case &, uint32_t kind, const std::string &dtype);

// Fills `measures`.  Returns what is wrong in a sentence, or "".  Where the truth is not finite the build must not be finite
// either, and nowhere else.  `shape` is the output's.
std::string compare(const std::vector<double> &build, const std::vector<double> &truth, const std::vector<int64_t> &shape,
                    const Measures &limits, Measures &measures);

}  // namespace lamina::conformance
