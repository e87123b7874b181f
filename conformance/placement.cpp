#include "conformance/placement.h"

#include <algorithm>
#include <cstring>

#include "manifest/error.h"

namespace lamina::conformance {
namespace {

constexpr int64_t offset_elements = 3;  // of layout "offset": not a multiple of any vector

// Calls each(flat index, offset in elements) for every element.
template <class Each>
void for_each_element(const std::vector<int64_t> &shape, const std::vector<int64_t> &strides, Each &&each) {
  int64_t count = 1;
  for (const int64_t extent : shape) count *= extent;
  std::vector<int64_t> at(shape.size());
  int64_t offset = 0;
  for (int64_t flat = 0; flat < count; ++flat) {
    each(static_cast<size_t>(flat), offset);
    for (size_t dim = shape.size(); dim-- > 0;) {
      offset += strides[dim];
      if (++at[dim] < shape[dim]) break;
      offset -= strides[dim] * shape[dim], at[dim] = 0;
    }
  }
}

int64_t elements_spanned(const Placed &placed) {
  int64_t last = 0;
  for (size_t dim = 0; dim < placed.shape.size(); ++dim) {
    if (placed.shape[dim] == 0) return 0;
    last += (placed.shape[dim] - 1) * placed.strides[dim];
  }
  return last + 1;
}

}  // namespace

Placement::Placement(const lamina_op &op, const std::vector<Drawn> &all, const Case &one, Device &device, const PlacementOptions &options)
    : op_(op), device_(device), tensors_(op.arg_count) {
  for (const Drawn &drawn : all) place(drawn, one, options);
  for (auto &placed : placed_)
    if (!placed->written && placed->owned) {
      // Memory that an output shares must stay writable.
      const bool shared =
          std::any_of(placed_.begin(), placed_.end(), [&](const auto &other) { return other->written && other->buffer == placed->buffer; });
      if (!shared) placed->buffer->forbid_writing();
    }
}

void Placement::place(const Drawn &drawn, const Case &one, const PlacementOptions &options) {
  const int index = argument_named(op_, drawn.name);
  if (index < 0) throw Error(ErrorKind::malformed, std::string("op '") + op_.name + "' has no argument '" + drawn.name + "'");
  const lamina_arg &arg = op_.args[index];
  auto placed = std::make_unique<Placed>();
  placed->index = index, placed->name = drawn.name, placed->written = is_written(op_, arg), placed->shape = drawn.shape;
  placed->element = options.all_float64 && (arg.dtypes & LAMINA_BIT_FLOAT64) ? Element::float64 : drawn.element;
  const std::string *asked = best_match(one.layout, drawn.name);
  const std::string layout = options.plain || !asked ? "dense" : *asked;
  placed->strides = strides_of(drawn.shape, layout);
  const size_t size = size_of(placed->element);
  uint64_t byte_offset = has_offset(layout) ? offset_elements * size : 0;

  Placed *shares = nullptr;
  if (!options.plain)
    for (const auto &[written, names] : one.alias)
      for (size_t i = 0; i < names.size() && (written == drawn.name || std::count(names.begin(), names.end(), drawn.name)); ++i)
        if (Placed *other = find(names[i]); other && other->buffer) {
          shares = other;
          break;
        }
  if (shares) {
    placed->buffer = shares->buffer, placed->strides = shares->strides, byte_offset = shares->tensor.byte_offset;
  } else if (!(options.descriptors && arg.role == LAMINA_PARAM)) {
    const size_t bytes = static_cast<size_t>(elements_spanned(*placed)) * size + (elements_spanned(*placed) ? byte_offset : 0);
    placed->owned =
        device_.allocate(bytes, std::max<size_t>(arg.align ? arg.align : size, 1), options.edge, "argument '" + drawn.name + "'");
    placed->buffer = placed->owned.get();
  }
  placed->tensor = {placed->buffer ? placed->buffer->data() : nullptr,
                    device_.id(),
                    static_cast<int32_t>(placed->shape.size()),
                    dtype_of(placed->element),
                    placed->shape.data(),
                    placed->strides.data(),
                    placed->buffer ? byte_offset : 0};
  if (placed->owned) {
    // Gaps of inputs are NaN in every floating dtype, so a value that was read from one shows; gaps of outputs must stay.
    placed->image.assign(placed->buffer->size(), placed->written ? 0xa5 : 0xff);
    if (!drawn.values.empty()) write_values(*placed, drawn.values);
    else placed->buffer->write(placed->image.data());
  }
  tensors_[static_cast<size_t>(index)] = &placed->tensor;
  placed_.push_back(std::move(placed));
}

void Placement::write_values(Placed &placed, const std::vector<double> &values) {
  const size_t size = size_of(placed.element);
  for_each_element(placed.shape, placed.strides, [&](size_t flat, int64_t offset) {
    store(placed.image.data() + placed.tensor.byte_offset + static_cast<size_t>(offset) * size, placed.element, values[flat]);
  });
  placed.buffer->write(placed.image.data());
}

void Placement::replace(Placed &placed, const std::vector<double> &values) { write_values(placed, values); }

void Placement::reset() {
  for (auto &placed : placed_) {
    if (!placed->owned) continue;
    bool writable = placed->written;
    for (auto &other : placed_) writable |= other->written && other->buffer == placed->buffer;
    if (writable) placed->buffer->write(placed->image.data());
  }
}

void Placement::set_bytes(uint32_t role, Buffer *buffer) {
  for (uint32_t i = 0; i < op_.arg_count; ++i) {
    if (op_.args[i].role != role) continue;
    auto placed = std::make_unique<Placed>();
    placed->index = static_cast<int>(i), placed->name = op_.args[i].name, placed->written = is_written(op_, op_.args[i]);
    placed->element = Element::uint8, placed->buffer = buffer;
    placed->shape = {static_cast<int64_t>(buffer->size())}, placed->strides = {1};
    placed->image.resize(buffer->size());
    if (!placed->written) buffer->read(placed->image.data());
    placed->tensor = {buffer->data(), device_.id(), 1, dtype_of(Element::uint8), placed->shape.data(), placed->strides.data(), 0};
    tensors_[i] = &placed->tensor;
    placed_.push_back(std::move(placed));
    return;
  }
  throw Error(ErrorKind::malformed, std::string("op '") + op_.name + "' has no argument of role " + std::to_string(role));
}

lamina_call Placement::call() {
  lamina_call call{};
  call.struct_size = sizeof call;
  call.tensor_count = op_.arg_count;
  call.tensors = tensors_.data();
  call.stream = device_.stream(0);
  return call;
}

lamina_call Placement::descriptor_call() {
  lamina_call bare = call();
  bare_.assign(op_.arg_count, {});
  bare_tensors_.assign(op_.arg_count, nullptr);
  for (uint32_t i = 0; i < op_.arg_count; ++i) {
    if (!tensors_[i]) continue;
    bare_[i] = *tensors_[i];
    bare_[i].data = nullptr, bare_[i].byte_offset = 0;
    bare_tensors_[i] = &bare_[i];
  }
  bare.tensors = bare_tensors_.data();
  return bare;
}

Placed *Placement::find(const std::string &name) {
  for (auto &placed : placed_)
    if (placed->name == name) return placed.get();
  return nullptr;
}

Placed *Placement::at(int index) {
  for (auto &placed : placed_)
    if (placed->index == index) return placed.get();
  return nullptr;
}

std::vector<unsigned char> Placement::bytes(const Placed &placed) const {
  std::vector<unsigned char> bytes(placed.buffer->size());
  placed.buffer->read(bytes.data());
  return bytes;
}

std::vector<double> Placement::values(const Placed &placed) const {
  const std::vector<unsigned char> now = bytes(placed);
  const size_t size = size_of(placed.element);
  int64_t count = 1;
  for (const int64_t extent : placed.shape) count *= extent;
  std::vector<double> values(static_cast<size_t>(count));
  for_each_element(placed.shape, placed.strides, [&](size_t flat, int64_t offset) {
    values[flat] = load(now.data() + placed.tensor.byte_offset + static_cast<size_t>(offset) * size, placed.element);
  });
  return values;
}

std::string Placement::damage() const {
  for (const auto &placed : placed_) {
    if (!placed->buffer || !placed->owned) continue;
    if (const std::string outside = placed->buffer->damage(); !outside.empty()) return "argument '" + placed->name + "': " + outside;
    std::vector<unsigned char> now = bytes(*placed);
    const Placed *writer = nullptr;
    for (const auto &other : placed_)
      if (other->written && other->buffer == placed->buffer) writer = other.get();
    if (writer) {  // its elements may change, its gaps may not
      const size_t size = size_of(writer->element);
      for_each_element(writer->shape, writer->strides, [&](size_t, int64_t offset) {
        const size_t at = writer->tensor.byte_offset + static_cast<size_t>(offset) * size;
        std::copy_n(placed->image.data() + at, size, now.data() + at);
      });
    }
    for (size_t i = 0; i < now.size(); ++i)
      if (now[i] != placed->image[i])
        return "argument '" + placed->name + "': byte " + std::to_string(i) +
               (writer ? ", in a gap between rows, was written" : ", of an input, was changed");
  }
  return "";
}

}  // namespace lamina::conformance
