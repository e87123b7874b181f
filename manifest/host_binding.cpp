#include "manifest/host_binding.h"

#include <algorithm>
#include <set>

#include "manifest/error.h"
#include "manifest/host_check.h"
#include "manifest/json.h"
#include "manifest/schema.h"

namespace lamina::manifest {

namespace {

AttributeValue scalar(const Json &json) {
  if (json.is_string()) return json.get<std::string>();
  if (json.is_number_integer()) return json.get<int64_t>();
  return json.get<double>();
}

std::vector<HostAttribute> read_attributes(const Json &holder, const Contract &contract) {
  std::vector<HostAttribute> attributes;
  if (!holder.contains("attributes")) return attributes;
  for (const auto &[name, json] : holder["attributes"].items()) {
    HostAttribute attribute;
    attribute.name = name;
    attribute.value = contract.checked_attribute(name, scalar(json.is_object() ? json.at("value") : json));
    if (json.is_object()) {
      attribute.module_path = json.value("module", "");
      attribute.forward_name = json.value("forward", "");
      if (json.contains("words"))
        for (const auto &[word, value] : json["words"].items()) attribute.words[word] = contract.checked_attribute(name, scalar(value));
    }
    attributes.push_back(std::move(attribute));
  }
  return attributes;
}

HostClass read_class(const Json &json, const Contract &contract) {
  HostClass host_class;
  host_class.name = json.at("name");
  host_class.python_class = json.value("class", host_class.name);
  host_class.hub_layers = json.value("hub_layers", std::vector<std::string>());
  host_class.members = json.value("members", std::vector<std::string>());
  if (json.contains("when")) {
    host_class.when_attribute = json["when"].at("module");
    host_class.when_equals = json["when"].at("equals");
  }
  host_class.attributes = read_attributes(json, contract);
  return host_class;
}

HostSource read_source(const Json &json) {
  HostSource source;
  if (json.contains("concatenate")) {
    for (const Json &piece : json["concatenate"]) source.concatenate.push_back(read_source(piece));
    source.concatenate_axis = json.value("axis", 0);
    return source;
  }
  source.parameter = json.at("parameter");
  if (json.contains("select")) source.select = {json["select"].at("axis"), json["select"].at("at")};
  if (json.contains("interleave"))
    source.interleave = {json["interleave"].at("axis"), json["interleave"].at("offset"), json["interleave"].at("step")};
  if (json.contains("slice")) source.slice = {json["slice"].at("axis"), json["slice"].at("start"), json["slice"].at("stop")};
  source.transpose = json.value("transpose", false);
  return source;
}

ForwardParameter read_forward_parameter(const Json &json) {
  ForwardParameter parameter;
  parameter.name = json.at("name");
  parameter.kind = json.value("kind", "positional_or_keyword");
  if (json.contains("default")) parameter.default_text = json["default"].get<std::string>();
  parameter.annotation = json.value("annotation", "");
  parameter.why = json.value("why", json.value("ignored", ""));
  const std::pair<const char *, ForwardUse> uses[] = {{"feeds", ForwardUse::feeds},         {"attribute", ForwardUse::attribute},
                                                      {"parameter", ForwardUse::parameter}, {"parameters", ForwardUse::parameters},
                                                      {"in_place", ForwardUse::in_place},   {"add_in_place", ForwardUse::add_in_place},
                                                      {"ignored", ForwardUse::ignored},     {"must_equal", ForwardUse::must_equal}};
  for (const auto &[word, use] : uses)
    if (json.contains(word)) parameter.use = use;
  if (parameter.use == ForwardUse::feeds || parameter.use == ForwardUse::attribute || parameter.use == ForwardUse::parameter)
    parameter.argument = json.value("feeds", json.value("attribute", json.value("parameter", "")));
  parameter.layout = json.value("layout", "");
  parameter.must_equal = json.value("must_equal", "");
  return parameter;
}

HostDim read_dim(const Json &json) {
  if (json.is_string()) return {.formula = json.get<std::string>(), .parameter = ""};
  return {.formula = "", .parameter = json.at("parameter"), .axis = json.at("axis"), .divide = json.value("divide", int64_t{1})};
}

void read_members(const Json &json, const Contract &contract, HostBinding &binding) {
  binding.host = json.at("host");
  binding.layer = json.at("layer");
  binding.title = json.at("title");
  binding.package = json.at("source").at("package");
  binding.version = json["source"].value("version", "");
  binding.repository = json["source"].value("repository", "");
  binding.commit = json["source"].value("commit", "");
  binding.module = json.at("module");
  binding.kind = json.at("kind");
  binding.separator = json.value("separator", ".");
  binding.stacked_layers = json.value("stacked_layers", false);
  for (const Json &host_class : json.at("classes")) binding.classes.push_back(read_class(host_class, contract));
  binding.attributes = read_attributes(json, contract);
  for (const auto &[letter, rule] : json.at("dims").items()) binding.dims[letter] = read_dim(rule);
  for (const auto &[name, parameter] : json.at("parameters").items())
    binding.parameters.push_back({name, parameter.at("shape").get<std::vector<std::string>>(), parameter.value("dtype", "activation"),
                                  parameter.value("optional", false)});
  for (const auto &[argument, source] : json.at("arguments").items()) binding.arguments[argument] = read_source(source);
  const Json &forward = json.at("forward");
  for (const Json &parameter : forward.at("parameters")) binding.forward.push_back(read_forward_parameter(parameter));
  binding.returns = forward.at("returns");
  binding.residual = forward.at("residual");
  binding.dropout = forward.at("dropout");
  binding.notes = json.value("notes", std::vector<std::string>());
}

}  // namespace

std::string HostBinding::full_name(std::string_view prefix, std::string_view parameter) const {
  if (prefix.empty()) return std::string(parameter);
  return std::string(prefix) + (prefix.ends_with(separator) ? "" : separator) + std::string(parameter);
}

const HostParameter *HostBinding::parameter(std::string_view name) const {
  const auto found = std::find_if(parameters.begin(), parameters.end(), [&](const HostParameter &one) { return one.name == name; });
  return found == parameters.end() ? nullptr : &*found;
}

const HostClass &HostBinding::find_class(std::string_view name) const {
  if (name.empty() && classes.size() == 1) return classes[0];
  std::string known;
  for (const HostClass &one : classes) {
    if (one.name == name) return one;
    known += " " + one.name;
  }
  throw Error(ErrorKind::not_found, name.empty() ? "host " + host + " has several classes; choose one of" + known
                                                 : "host " + host + " has no class " + std::string(name) + "; it has" + known);
}

const HostClass *HostBinding::class_of_prefix(std::string_view prefix) const {
  while (prefix.ends_with(separator)) prefix.remove_suffix(separator.size());
  // The longest name that fits tells: attention.output before output.
  const HostClass *found = nullptr;
  size_t length = 0;
  bool ambiguous = false;
  for (const HostClass &one : classes)
    for (const std::string &member : one.members) {
      if (prefix != member && !prefix.ends_with(separator + member)) continue;
      if (member.size() < length || found == &one) {
        if (found == &one && member.size() > length) length = member.size(), ambiguous = false;
        continue;
      }
      ambiguous = member.size() == length;
      found = &one, length = member.size();
    }
  return ambiguous ? nullptr : found;
}

std::vector<HostAttribute> HostBinding::attributes_of(const HostClass &host_class) const {
  std::vector<HostAttribute> merged = attributes;
  for (const HostAttribute &own : host_class.attributes) {
    const auto found = std::find_if(merged.begin(), merged.end(), [&](const HostAttribute &one) { return one.name == own.name; });
    if (found == merged.end()) merged.push_back(own);
    else *found = own;
  }
  return merged;
}

HostBinding host_binding_of(const Json &json, const Contract &contract, const std::string &what) {
  validate(json, "host", what);
  HostBinding binding;
  try {
    read_members(json, contract, binding);
    check_host_binding(binding, contract);
  } catch (const Error &error) {
    // Wrong attributes and formulas are the file's fault here, not a caller's.
    throw Error(ErrorKind::malformed, what + ": " + error.what());
  }
  return binding;
}

HostBinding parse_host_binding(std::string_view text, const Contract &contract, const std::string &what) {
  return host_binding_of(parse_json(text, what), contract, what);
}

}  // namespace lamina::manifest
