// The arguments of a case as numbers: shapes from the dims, elements from the case's dtypes, values from its seed.
#pragma once
#include <string>
#include <vector>

#include "conformance/case.h"
#include "conformance/plugin.h"

namespace lamina::conformance {

struct Drawn {
  int index = -1;  // in the op's argument table
  std::string name;
  uint32_t role = 0;
  Element element = Element::float32;
  std::vector<int64_t> shape;
  std::vector<double> values;  // row-major; each is exactly representable in `element`; empty for written arguments
  int64_t count() const;
};

// Every present argument of `op` but PACKED and SAVED, in table order.  A gradient whose argument is absent is absent too, so that a case
// may ask for "*_gradient".  Throws lamina::Error when the case doesn't fit the table.
std::vector<Drawn> draw(const lamina_op &op, const Case &);
// The same without values.
std::vector<Drawn> outline(const lamina_op &op, const Case &);

// Whether the op's table takes all dtypes of the case; else `why` says which argument refuses which dtype.
bool takes_dtypes(const lamina_op &op, const Case &, std::string &why);

// Strides in elements for a layout: words joined by '+':
//   dense, padded (gaps after every row and block), transposed (the last two dimensions swapped in memory), second (every second
//   element of a larger tensor), expanded<D> (stride 0 along dimension D), offset (begins at a byte_offset)
std::vector<int64_t> strides_of(const std::vector<int64_t> &shape, const std::string &layout);
std::vector<int> expanded_dims(const std::string &layout);
bool has_offset(const std::string &layout);

}  // namespace lamina::conformance
