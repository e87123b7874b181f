// lamina_hub.h: a checkpoint's tensors as arguments.
#include <string_view>

#include "hub_client/c_api.h"
#include "manifest/files.h"
#include "manifest/host_binding.h"

struct lamina_hub_binding {
  lamina::manifest::BoundCheckpoint bound;  // keeps the checkpoint's mapping
  std::string host_class;
  std::vector<std::vector<unsigned char>> copies;  // of what the file holds unaligned
  std::vector<lamina_tensor> tensors;              // one an argument; point into `bound`
  std::vector<lamina_hub_argument> arguments;
  std::vector<lamina_attr> attributes;
  std::vector<lamina_hub_dim> dims;
};

namespace lamina::hub {
namespace {

constexpr uint64_t max_binding = 16 << 20;

std::string binding_text(const lamina_hub_bundle &bundle, const std::string &host) {
  if (host.ends_with(".json")) return manifest::read_file(host, max_binding);
  std::string known;
  if (bundle.fetched) {
    const auto &hosts = bundle.fetched->manifest.hosts;
    if (const auto found = hosts.find(host); found != hosts.end()) return found->second;
    for (const auto &[name, text] : hosts) known += (known.empty() ? "" : ", ") + name;
  }
  throw Error(ErrorKind::not_found, "unknown host '" + host + "'; " +
                                        (known.empty() ? "this bundle carries no binding: give the path of one, HOST.json"
                                                       : "the bundle has " + known + ", or give the path of a binding, HOST.json"));
}

// A format may put an element at any byte; a plug-in wants it at a multiple of its size.
void align(manifest::TensorView &view, std::vector<std::vector<unsigned char>> &copies) {
  const auto size = static_cast<uintptr_t>(manifest::dtype_bytes(view.dtype));
  if (size == 0 || reinterpret_cast<uintptr_t>(view.data) % size == 0) return;
  copies.push_back(manifest::copy_contiguous(view));
  view.data = copies.back().data(), view.strides = manifest::row_major_strides(view.shape);
}

lamina_attr attribute_of(const manifest::BoundAttribute &attribute) {
  lamina_attr made{};
  made.name = attribute.name.c_str();
  if (const auto *text = std::get_if<std::string>(&attribute.value)) made.kind = LAMINA_ATTR_STRING, made.value.s = text->c_str();
  else if (const auto *real = std::get_if<double>(&attribute.value)) made.kind = LAMINA_ATTR_FLOAT, made.value.f = *real;
  else made.kind = LAMINA_ATTR_INT, made.value.i = std::get<int64_t>(attribute.value);
  return made;
}

std::unique_ptr<lamina_hub_binding> bind(const lamina_hub_bundle &bundle, const lamina_hub_checkpoint &given) {
  const std::string host = &required(given.host, "lamina_hub_checkpoint.host"), file = &required(given.file, "lamina_hub_checkpoint.file");
  const manifest::HostBinding binding = manifest::parse_host_binding(binding_text(bundle, host), bundle.contract, host);
  manifest::BindOptions options{text_or_empty(given.host_class), text_or_empty(given.prefix), {}};
  if (given.flags & LAMINA_HUB_STACKED_LAYER) options.layer_index = given.layer;
  auto made = std::make_unique<lamina_hub_binding>();
  made->bound = manifest::bind_checkpoint(binding, bundle.contract, manifest::SafetensorsFile::open(file), options);
  const manifest::HostClass *told = options.class_name.empty() ? binding.class_of_prefix(options.prefix) : nullptr;
  made->host_class = (told ? *told : binding.find_class(options.class_name)).name;

  made->tensors.reserve(made->bound.arguments.size());  // `arguments` point into it
  for (manifest::BoundArgument &argument : made->bound.arguments) {
    const lamina_tensor *tensor = nullptr;
    if (argument.present) {
      align(argument.view, made->copies);
      tensor = &made->tensors.emplace_back(argument.view.abi());
    }
    made->arguments.push_back({argument.name.c_str(), tensor});
  }
  for (const manifest::BoundAttribute &attribute : made->bound.attributes) made->attributes.push_back(attribute_of(attribute));
  for (const auto &[name, extent] : made->bound.dims) made->dims.push_back({name.c_str(), extent});
  return made;
}

}  // namespace
}  // namespace lamina::hub

using namespace lamina;
using namespace lamina::hub;

extern "C" {

lamina_hub_status lamina_hub_bind(const lamina_hub_bundle *bundle, const lamina_hub_checkpoint *checkpoint, lamina_hub_binding **binding,
                                  lamina_hub_error *error) {
  if (binding) *binding = nullptr;
  return guarded(error, [&] {
    required(binding, "binding");
    const lamina_hub_checkpoint given = read_struct(&required(checkpoint, "checkpoint"), "lamina_hub_checkpoint");
    refuse_unknown_flags(given.flags, LAMINA_HUB_STACKED_LAYER, "lamina_hub_checkpoint");
    *binding = bind(required(bundle, "bundle"), given).release();
  });
}

void lamina_hub_binding_close(lamina_hub_binding *binding) { delete binding; }

lamina_hub_status lamina_hub_binding_info(const lamina_hub_binding *binding, lamina_hub_bound *bound, lamina_hub_error *error) {
  return guarded(error, [&] {
    const lamina_hub_binding &known = required(binding, "binding");
    lamina_hub_bound full{};
    full.argument_count = static_cast<uint32_t>(known.arguments.size()), full.arguments = known.arguments.data();
    full.attribute_count = static_cast<uint32_t>(known.attributes.size()), full.attributes = known.attributes.data();
    full.dim_count = static_cast<uint32_t>(known.dims.size()), full.dims = known.dims.data();
    full.host_class = known.host_class.c_str();
    write_struct(full, bound, "lamina_hub_bound");
  });
}

uint32_t lamina_hub_place(const lamina_hub_binding *binding, const lamina_op *op, const lamina_tensor **table) {
  uint32_t placed = 0;
  if (!binding || !op || !table) return placed;
  for (const lamina_hub_argument &argument : binding->arguments)
    for (uint32_t i = 0; argument.tensor && i < op->arg_count; ++i)
      if (std::string_view(op->args[i].name) == argument.name) table[i] = argument.tensor, ++placed;
  return placed;
}

uint32_t lamina_hub_attributes(const lamina_hub_binding *binding, const lamina_op *op, lamina_attr *attributes) {
  uint32_t written = 0;
  if (!binding || !op || !attributes) return written;
  for (const lamina_attr &attribute : binding->attributes)
    for (uint32_t i = 0; i < op->attr_count; ++i)
      if (std::string_view(op->attrs[i].name) == attribute.name) attributes[written++] = attribute;
  return written;
}

}  // extern "C"
