#include <algorithm>
#include <cstring>
#include <set>

#include "manifest/error.h"
#include "manifest/host_binding.h"
#include "manifest/host_source.h"

namespace lamina::manifest {

namespace {

std::string list_text(const std::vector<std::string> &names, size_t limit = 12) {
  std::string text;
  for (size_t i = 0; i < std::min(names.size(), limit); ++i) text += (i ? ", " : "") + names[i];
  if (names.size() > limit) text += " and " + std::to_string(names.size() - limit) + " more";
  return names.empty() ? "nothing" : text;
}

bool is_floating(lamina_dtype dtype) { return dtype.code == LAMINA_CODE_FLOAT || dtype.code == LAMINA_CODE_BFLOAT; }

class Binder {
 public:
  Binder(const HostBinding &binding, const Contract &contract, std::shared_ptr<const SafetensorsFile> file, const BindOptions &options)
      : binding_(binding), contract_(contract), file_(std::move(file)), options_(options) {}

  BoundCheckpoint bind() {
    const HostClass &host_class = choose_class();
    find_parameters();
    take_layer();
    read_dims();
    check_shapes();
    BoundCheckpoint bound;
    for (const ContractArgument *param : contract_.params()) bound.arguments.push_back(argument(*param));
    for (const HostAttribute &attribute : binding_.attributes_of(host_class)) bound.attributes.push_back({attribute.name, attribute.value});
    bound.dims = dims_;
    bound.file = file_;
    return bound;
  }

 private:
  const HostClass &choose_class() const {
    if (options_.class_name.empty())
      if (const HostClass *told = binding_.class_of_prefix(options_.prefix)) return *told;
    return binding_.find_class(options_.class_name);
  }

  std::string place() const {
    return options_.prefix.empty() ? "the root of " + file_->path().string() : "'" + options_.prefix + "' in " + file_->path().string();
  }

  // What lies below the prefix, by its name there.
  std::vector<std::string> names_below() const {
    const std::string start = binding_.full_name(options_.prefix, "");
    std::vector<std::string> names;
    for (auto it = file_->tensors().lower_bound(start); it != file_->tensors().end() && it->first.starts_with(start); ++it)
      names.push_back(it->first.substr(start.size()));
    return names;
  }

  // Prefixes where every required parameter is present: what the user may have meant.
  std::vector<std::string> fitting_prefixes() const {
    const auto anchor =
        std::find_if(binding_.parameters.begin(), binding_.parameters.end(), [](const HostParameter &one) { return !one.optional; });
    std::vector<std::string> prefixes;
    if (anchor == binding_.parameters.end()) return prefixes;
    for (const auto &[name, view] : file_->tensors()) {
      const std::string tail = binding_.separator + anchor->name;
      if (name != anchor->name && !name.ends_with(tail)) continue;
      const std::string prefix = name == anchor->name ? "" : name.substr(0, name.size() - tail.size());
      if (std::all_of(binding_.parameters.begin(), binding_.parameters.end(),
                      [&](const HostParameter &one) { return one.optional || file_->find(binding_.full_name(prefix, one.name)); }))
        prefixes.push_back("'" + prefix + "'");
    }
    return prefixes;
  }

  void find_parameters() {
    std::vector<std::string> missing, unknown;
    for (const HostParameter &parameter : binding_.parameters) {
      if (const TensorView *view = file_->find(binding_.full_name(options_.prefix, parameter.name))) found_[parameter.name] = *view;
      else if (!parameter.optional) missing.push_back(parameter.name);
    }
    const std::vector<std::string> below = names_below();
    if (!missing.empty()) {
      const std::vector<std::string> prefixes = fitting_prefixes();
      throw Error(ErrorKind::not_found, "host " + binding_.host + " needs parameters that are missing below " + place() + ": " +
                                            list_text(missing) + "; found there: " + list_text(below) +
                                            (prefixes.empty() ? "" : "; prefixes that hold all of them: " + list_text(prefixes, 6)));
    }
    if (options_.prefix.empty()) return;  // the root may hold much else
    for (const std::string &name : below)
      if (!binding_.parameter(name)) unknown.push_back(name);
    // A bias this binding does not know would be dropped in silence.
    if (!unknown.empty())
      throw Error(ErrorKind::malformed, "below " + place() + " there are tensors that host " + binding_.host + " (" + binding_.package +
                                            " " + binding_.version + ") does not have: " + list_text(unknown) +
                                            "; is it another host, or another version?");
  }

  // Takes one layer out of stacked parameters.
  void take_layer() {
    if (options_.layer_index && !binding_.stacked_layers)
      throw Error(ErrorKind::invalid_argument, "host " + binding_.host + " does not stack layers; leave the layer index out");
    for (auto &[name, view] : found_) {
      const size_t rank = binding_.parameter(name)->shape.size();
      if (!binding_.stacked_layers || view.shape.size() != rank + 1) continue;
      const int64_t layers = view.shape[0];
      const std::string full = "tensor '" + binding_.full_name(options_.prefix, name) + "'";
      if (!options_.layer_index)
        throw Error(ErrorKind::invalid_argument, full + " stacks " + std::to_string(layers) + " layers; give a layer index");
      if (*options_.layer_index < 0 || *options_.layer_index >= layers)
        throw Error(ErrorKind::invalid_argument, full + " stacks " + std::to_string(layers) + " layers; index " +
                                                     std::to_string(*options_.layer_index) + " is not one of them");
      view.data += *options_.layer_index * view.strides[0] * dtype_bytes(view.dtype);
      view.shape.erase(view.shape.begin());
      view.strides.erase(view.strides.begin());
      taken_.insert(name);
    }
    if (!options_.layer_index || taken_.size() == found_.size()) return;
    for (const auto &[name, view] : found_)
      if (!taken_.contains(name))
        throw Error(ErrorKind::invalid_argument, "tensor '" + binding_.full_name(options_.prefix, name) + "' is " + shape_text(view.shape) +
                                                     ", not stacked; leave the layer index out");
  }

  [[noreturn]] void wrong_shape(const HostParameter &parameter, const std::string &why) const {
    std::string formula = "[", dims;
    for (size_t i = 0; i < parameter.shape.size(); ++i) formula += (i ? ", " : "") + parameter.shape[i];
    for (const auto &[letter, value] : dims_) dims += (dims.empty() ? "" : ", ") + letter + " = " + std::to_string(value);
    throw Error(ErrorKind::malformed, "tensor '" + binding_.full_name(options_.prefix, parameter.name) + "' of " + file_->path().string() +
                                          " has shape " + shape_text(found_.at(parameter.name).shape) + "; expected " + formula + "]" +
                                          why + (dims.empty() ? "" : " with " + dims));
  }

  void read_dims() {
    for (const auto &[letter, rule] : binding_.dims) {
      if (rule.parameter.empty()) continue;
      const HostParameter &parameter = *binding_.parameter(rule.parameter);
      const std::vector<int64_t> &shape = found_.at(rule.parameter).shape;
      if (shape.size() != parameter.shape.size()) wrong_shape(parameter, "");
      const int64_t extent = shape[static_cast<size_t>(rule.axis)];
      if (extent % rule.divide != 0)
        wrong_shape(parameter, ", so axis " + std::to_string(rule.axis) + " must divide by " + std::to_string(rule.divide));
      dims_[letter] = extent / rule.divide;
    }
    complete_dims(binding_.dims, dims_);
  }

  void check_shapes() const {
    for (const auto &[name, view] : found_) {
      const HostParameter &parameter = *binding_.parameter(name);
      const std::vector<int64_t> expected = extents(parameter.shape, dims_);
      if (view.shape != expected) wrong_shape(parameter, " = " + shape_text(expected));
      if (!is_floating(view.dtype))
        throw Error(ErrorKind::malformed, "tensor '" + binding_.full_name(options_.prefix, name) + "' has dtype " + dtype_name(view.dtype) +
                                              "; a weight is a floating-point tensor");
    }
  }

  TensorView view_of(const HostSource &source) const {
    const TensorView &whole = found_.at(source.parameter);
    const Cut piece = cut(source, {0, whole.shape, whole.strides}, dims_);
    return {whole.data + piece.offset * dtype_bytes(whole.dtype), whole.dtype, piece.shape, piece.strides};
  }

  std::shared_ptr<const std::vector<unsigned char>> concatenated(const HostSource &source, TensorView &total) const {
    std::vector<std::vector<unsigned char>> pieces;
    std::vector<size_t> blocks;  // bytes of one piece below the axis
    const auto axis = static_cast<size_t>(source.concatenate_axis);
    for (const HostSource &one : source.concatenate) {
      std::shared_ptr<const std::vector<unsigned char>> inner;
      TensorView view;
      if (one.concatenate.empty()) view = view_of(one);
      else inner = concatenated(one, view);
      if (pieces.empty()) total = {nullptr, view.dtype, view.shape, {}}, total.shape[axis] = 0;
      if (!(view.dtype == total.dtype))
        throw Error(ErrorKind::malformed, "pieces of a concatenation below " + place() + " have different dtypes");
      total.shape[axis] += view.shape[axis];
      pieces.push_back(copy_contiguous(view));
      blocks.push_back(static_cast<size_t>(dtype_bytes(view.dtype)));
      for (size_t i = axis; i < view.shape.size(); ++i) blocks.back() *= static_cast<size_t>(view.shape[i]);
    }
    size_t outer = 1;
    for (size_t i = 0; i < axis; ++i) outer *= static_cast<size_t>(total.shape[i]);
    auto bytes = std::make_shared<std::vector<unsigned char>>();
    for (size_t row = 0; row < outer; ++row)
      for (size_t i = 0; i < pieces.size(); ++i) {
        const auto from = pieces[i].begin() + static_cast<int64_t>(row * blocks[i]);
        bytes->insert(bytes->end(), from, from + static_cast<int64_t>(blocks[i]));
      }
    total.strides = row_major_strides(total.shape);
    total.data = bytes->data();
    return bytes;
  }

  BoundArgument argument(const ContractArgument &param) const {
    BoundArgument bound;
    bound.name = param.name;
    const auto source = binding_.arguments.find(param.name);
    if (source == binding_.arguments.end()) return bound;
    bound.present = true;
    for_each_parameter(source->second, [&](const std::string &name) { bound.present = bound.present && found_.contains(name); });
    if (!bound.present) return bound;
    if (source->second.concatenate.empty()) bound.view = view_of(source->second);
    else bound.owned = concatenated(source->second, bound.view);
    return bound;
  }

  const HostBinding &binding_;
  const Contract &contract_;
  const std::shared_ptr<const SafetensorsFile> file_;
  const BindOptions &options_;
  std::map<std::string, TensorView> found_;  // by the host's name; without the layer axis once taken
  std::set<std::string> taken_;
  std::map<std::string, int64_t> dims_;
};

}  // namespace

const BoundArgument *BoundCheckpoint::argument(std::string_view name) const {
  const auto found = std::find_if(arguments.begin(), arguments.end(), [&](const BoundArgument &one) { return one.name == name; });
  return found == arguments.end() ? nullptr : &*found;
}

BoundCheckpoint bind_checkpoint(const HostBinding &binding, const Contract &contract, std::shared_ptr<const SafetensorsFile> file,
                                const BindOptions &options) {
  return Binder(binding, contract, std::move(file), options).bind();
}

}  // namespace lamina::manifest
