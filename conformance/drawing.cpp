#include "conformance/drawing.h"

#include <algorithm>
#include <cmath>
#include <sstream>

#include "conformance/random.h"
#include "manifest/error.h"

namespace lamina::conformance {
namespace {

[[noreturn]] void refuse(const Case &one, const std::string &what) { throw Error(ErrorKind::malformed, "case '" + one.why + "': " + what); }

std::vector<std::string> words_of(const std::string &layout) {
  std::vector<std::string> words;
  std::istringstream text(layout);
  for (std::string word; std::getline(text, word, '+');) words.push_back(word);
  return words;
}

Element element_for(const lamina_op &op, const lamina_arg &arg, const std::vector<Drawn> &before, const Case &one) {
  if (arg.role == LAMINA_OUTPUT && (arg.flags & LAMINA_OR_FLOAT32))
    if (const auto set = one.attributes.find("gradient_dtype");
        set != one.attributes.end() && set->second == AttributeValue(std::string("float32")))
      return Element::float32;
  const std::string *asked = arg.role == LAMINA_OUTPUT ? nullptr : best_match(one.dtypes, arg.name);
  if (asked && *asked != "same") return *element_named(*asked);
  if (arg.dtype_of >= 0) {
    for (const Drawn &drawn : before)
      if (drawn.index == arg.dtype_of) return drawn.element;
    refuse(one, std::string("argument '") + arg.name + "' takes its dtype from '" + op.args[arg.dtype_of].name + "', which is absent");
  }
  if ((arg.dtypes & (arg.dtypes - 1)) == 0)
    for (int i = 0; i < element_count; ++i)
      if (arg.dtypes >> i & 1) return static_cast<Element>(i);
  return *element_named(one.dtype);
}

std::vector<int64_t> shape_for(const lamina_arg &arg, const Case &one) {
  std::vector<int64_t> shape;
  for (const std::string &word : shape_words(arg)) {
    if (word.find_first_not_of("0123456789") == std::string::npos) {
      shape.push_back(std::stoll(word));
      continue;
    }
    const auto dim = one.dims.find(word);
    if (dim == one.dims.end()) refuse(one, "dims lacks " + word + ", which argument '" + arg.name + "' needs");
    shape.push_back(dim->second);
  }
  return shape;
}

double deviation_of(const Recipe &recipe, const Case &one) {
  double product = 1;
  std::istringstream letters(recipe.fan_in);
  for (std::string letter; letters >> letter;) {
    const auto dim = one.dims.find(letter);
    if (dim == one.dims.end()) refuse(one, "fan_in names '" + letter + "', which is not among dims");
    product *= static_cast<double>(dim->second);
  }
  return product > 0 ? recipe.deviation / std::sqrt(product) : recipe.deviation;
}

double rounded(double value, Element element) {
  unsigned char bytes[8] = {};
  store(bytes, element, value);
  return load(bytes, element);
}

void fill(Drawn &drawn, const Recipe &recipe, const std::string &layout, const Case &one) {
  const Random random(one.seed, drawn.name), row_means(one.seed, drawn.name + " row means");
  const double deviation = deviation_of(recipe, one);
  const std::vector<int> expanded = expanded_dims(layout);
  const int64_t row = drawn.shape.empty() ? 1 : std::max<int64_t>(drawn.shape.back(), 1);
  drawn.values.resize(static_cast<size_t>(drawn.count()));
  std::vector<int64_t> at(drawn.shape.size());
  for (size_t flat = 0; flat < drawn.values.size(); ++flat) {
    uint64_t index = 0;  // of the element's storage: the same along expanded dimensions
    int64_t rest = static_cast<int64_t>(flat);
    for (size_t dim = drawn.shape.size(); dim-- > 0;) at[dim] = rest % drawn.shape[dim], rest /= drawn.shape[dim];
    for (const int dim : expanded)
      if (dim < static_cast<int>(at.size())) at[static_cast<size_t>(dim)] = 0;
    for (size_t dim = 0; dim < at.size(); ++dim) index = index * static_cast<uint64_t>(drawn.shape[dim]) + static_cast<uint64_t>(at[dim]);
    double value = 0;
    switch (recipe.kind) {
      case Recipe::Kind::normal:
        value = recipe.mean + deviation * random.normal(index);
        if (recipe.shift != 0) value += recipe.shift * (2 * row_means.uniform(index / static_cast<uint64_t>(row)) - 1);
        break;
      case Recipe::Kind::mask: value = random.uniform(index) < recipe.keep; break;
      case Recipe::Kind::dropout: value = random.uniform(index) < recipe.keep ? 1 / recipe.keep : 0; break;
      case Recipe::Kind::constant: value = recipe.mean; break;
    }
    drawn.values[flat] = rounded(value, drawn.element);
  }
}

// Elements whose leading indices lie under a 0 of the mask become the poison.
void poison(Drawn &drawn, const Recipe &recipe, const std::vector<Drawn> &all, const Case &one) {
  for (const Drawn &mask : all) {
    if (mask.name != recipe.poison_where) continue;
    const size_t block = mask.values.empty() ? 0 : drawn.values.size() / mask.values.size();
    for (size_t i = 0; i < mask.values.size(); ++i)
      if (mask.values[i] == 0)
        for (size_t j = 0; j < block; ++j) drawn.values[i * block + j] = recipe.poison;
    return;
  }
  refuse(one, "poison_where names '" + recipe.poison_where + "', which is absent");
}

// A gradient goes with the argument that it is of.
bool lacks_owner(const lamina_op &op, const lamina_arg &arg, const std::vector<Drawn> &before) {
  const std::string name = arg.name, ending = "_gradient";
  if (arg.role != LAMINA_OUTPUT || !name.ends_with(ending)) return false;
  const int owner = argument_named(op, name.substr(0, name.size() - ending.size()));
  return owner >= 0 && std::none_of(before.begin(), before.end(), [&](const Drawn &drawn) { return drawn.index == owner; });
}

}  // namespace

int64_t Drawn::count() const {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  return count;
}

std::vector<int> expanded_dims(const std::string &layout) {
  std::vector<int> dims;
  for (const std::string &word : words_of(layout))
    if (word.rfind("expanded", 0) == 0) dims.push_back(std::stoi(word.substr(8)));
  return dims;
}

bool has_offset(const std::string &layout) {
  for (const std::string &word : words_of(layout))
    if (word == "offset") return true;
  return false;
}

std::vector<int64_t> strides_of(const std::vector<int64_t> &shape, const std::string &layout) {
  const size_t rank = shape.size();
  std::vector<size_t> order(rank);  // innermost first
  for (size_t i = 0; i < rank; ++i) order[i] = rank - 1 - i;
  int64_t gap = 0, step = 1;
  for (const std::string &word : words_of(layout)) {
    if (word == "transposed") {
      if (rank >= 2) std::swap(order[0], order[1]);
    } else if (word == "padded") {
      gap = 3;  // odd, so that rows of 16-bit elements are not even 4-byte aligned
    } else if (word == "second") {
      step = 2;
    } else if (word != "dense" && word != "offset" && word.rfind("expanded", 0) != 0) {
      throw Error(ErrorKind::malformed, "layout '" + word + "' is unknown");
    }
  }
  const std::vector<int> expanded = expanded_dims(layout);
  std::vector<int64_t> strides(rank);
  int64_t stride = step;
  for (const size_t dim : order) {
    bool is_expanded = false;
    for (const int other : expanded) is_expanded |= static_cast<size_t>(other) == dim;
    strides[dim] = is_expanded ? 0 : stride;
    if (!is_expanded) stride = stride * std::max<int64_t>(shape[dim], 1) + gap;
  }
  return strides;
}

std::vector<Drawn> outline(const lamina_op &op, const Case &one) {
  std::vector<Drawn> all;
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    const lamina_arg &arg = op.args[i];
    if (arg.role == LAMINA_PACKED || arg.role == LAMINA_SAVED) continue;
    bool present = !(arg.flags & LAMINA_OPTIONAL);
    for (const std::string &pattern : one.given) present |= matches(pattern, arg.name);
    if (!present || lacks_owner(op, arg, all)) continue;
    Drawn drawn;
    drawn.index = static_cast<int>(i), drawn.name = arg.name, drawn.role = arg.role;
    drawn.element = element_for(op, arg, all, one);
    drawn.shape = shape_for(arg, one);
    all.push_back(std::move(drawn));
  }
  return all;
}

std::vector<Drawn> draw(const lamina_op &op, const Case &one) {
  std::vector<Drawn> all = outline(op, one);
  for (Drawn &drawn : all) {
    if (is_written(op, op.args[drawn.index]) && drawn.role != LAMINA_INOUT) continue;
    const Recipe *recipe = best_match(one.data, drawn.name);
    const std::string *layout = best_match(one.layout, drawn.name);
    fill(drawn, recipe ? *recipe : Recipe{}, layout ? *layout : "dense", one);
  }
  for (Drawn &drawn : all)
    if (const Recipe *recipe = best_match(one.data, drawn.name); recipe && !recipe->poison_where.empty() && !drawn.values.empty())
      poison(drawn, *recipe, all, one);
  // In place: everything that shares memory holds the first one's numbers.
  for (const auto &[written, shared] : one.alias) {
    const Drawn *first = nullptr;
    for (const std::string &name : shared)
      for (Drawn &drawn : all) {
        if (drawn.name != name) continue;
        if (!first) first = &drawn;
        else drawn.values = first->values;
      }
    if (!first) refuse(one, "alias of '" + written + "' names no present argument");
  }
  return all;
}

bool takes_dtypes(const lamina_op &op, const Case &one, std::string &why) {
  for (const Drawn &drawn : outline(op, one))
    if (!(op.args[drawn.index].dtypes & bit(drawn.element))) {
      why = std::string("the table takes no ") + name_of(drawn.element) + " for '" + drawn.name + "'";
      return false;
    }
  return true;
}

}  // namespace lamina::conformance
