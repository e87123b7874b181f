#include "manifest/host_source.h"

#include <algorithm>

#include "manifest/error.h"

namespace lamina::manifest {

namespace {

Error refuse(const std::string &why) { return Error(ErrorKind::malformed, why); }

size_t checked_axis(int axis, const Cut &piece, const char *step) {
  if (axis < 0 || static_cast<size_t>(axis) >= piece.shape.size())
    throw refuse(std::string(step) + " names axis " + std::to_string(axis) + " of a tensor with shape " + shape_text(piece.shape));
  return static_cast<size_t>(axis);
}

void check_bound(int64_t value, int64_t low, int64_t high, const char *step, const std::string &formula) {
  if (value < low || value > high)
    throw refuse(std::string(step) + " names " + formula + " = " + std::to_string(value) + ", outside " + std::to_string(low) + " to " +
                 std::to_string(high));
}

}  // namespace

Cut cut(const HostSource &source, const Cut &whole, const std::map<std::string, int64_t> &dims) {
  Cut piece = whole;
  if (source.select) {
    const size_t axis = checked_axis(source.select->axis, piece, "select");
    const int64_t at = evaluate(source.select->at, dims);
    check_bound(at, 0, piece.shape[axis] - 1, "select", source.select->at);
    piece.offset += at * piece.strides[axis];
    piece.shape.erase(piece.shape.begin() + static_cast<int64_t>(axis));
    piece.strides.erase(piece.strides.begin() + static_cast<int64_t>(axis));
  }
  if (source.interleave) {
    const size_t axis = checked_axis(source.interleave->axis, piece, "interleave");
    const int64_t step = evaluate(source.interleave->step, dims), offset = evaluate(source.interleave->offset, dims);
    check_bound(step, 1, std::max<int64_t>(1, piece.shape[axis]), "interleave", source.interleave->step);
    check_bound(offset, 0, step - 1, "interleave", source.interleave->offset);
    piece.offset += offset * piece.strides[axis];
    piece.shape[axis] = (piece.shape[axis] - offset + step - 1) / step;
    piece.strides[axis] *= step;
  }
  if (source.slice) {
    const size_t axis = checked_axis(source.slice->axis, piece, "slice");
    const int64_t start = evaluate(source.slice->start, dims), stop = evaluate(source.slice->stop, dims);
    check_bound(start, 0, piece.shape[axis], "slice", source.slice->start);
    check_bound(stop, start, piece.shape[axis], "slice", source.slice->stop);
    piece.offset += start * piece.strides[axis];
    piece.shape[axis] = stop - start;
  }
  if (source.transpose) {
    std::reverse(piece.shape.begin(), piece.shape.end());
    std::reverse(piece.strides.begin(), piece.strides.end());
  }
  return piece;
}

std::vector<int64_t> extents(const std::vector<std::string> &formulas, const std::map<std::string, int64_t> &dims) {
  std::vector<int64_t> values;
  for (const std::string &formula : formulas) values.push_back(evaluate(formula, dims));
  return values;
}

void complete_dims(const std::map<std::string, HostDim> &rules, std::map<std::string, int64_t> &dims) {
  // Formulas may name each other in any order: pass over them until nothing is added.
  for (bool added = true; added;) {
    added = false;
    for (const auto &[letter, rule] : rules) {
      if (rule.formula.empty() || dims.contains(letter)) continue;
      const std::vector<std::string> names = dims_of(rule.formula);
      if (!std::all_of(names.begin(), names.end(), [&](const std::string &name) { return dims.contains(name); })) continue;
      dims[letter] = evaluate(rule.formula, dims);
      added = true;
    }
  }
  for (const auto &[letter, rule] : rules)
    if (!rule.formula.empty() && !dims.contains(letter))
      throw refuse("dim " + letter + " = " + rule.formula + " depends on dims that nothing gives");
}

void for_each_parameter(const HostSource &source, const std::function<void(const std::string &)> &visit) {
  for (const HostSource &piece : source.concatenate) for_each_parameter(piece, visit);
  if (source.concatenate.empty()) visit(source.parameter);
}

}  // namespace lamina::manifest
