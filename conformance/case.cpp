#include "conformance/case.h"

#include <cmath>
#include <fstream>
#include <functional>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "manifest/error.h"

namespace lamina::conformance {
namespace {

using Json = nlohmann::json;

struct Place {  // for messages
  std::string path, where;
  [[noreturn]] void refuse(const std::string &what) const { throw Error(ErrorKind::malformed, path + ": " + where + ": " + what); }
  Place in(const std::string &member) const { return {path, where + "." + member}; }
};

void only_members(const Json &object, const std::set<std::string> &known, const Place &place) {
  if (!object.is_object()) place.refuse("is not an object");
  for (const auto &[name, value] : object.items())
    if (!known.count(name)) place.refuse("member '" + name + "' is unknown");
}

template <class T>
T as(const Json &value, const Place &place) {
  try {
    return value.get<T>();
  } catch (const Json::exception &) { place.refuse("has the wrong type: " + value.dump()); }
}

// ---- sweeps ----

struct Sweep {
  Json::json_pointer at;
  Json values;
  bool together;
};

void find_sweeps(const Json &value, const Json::json_pointer &at, std::vector<Sweep> &sweeps, const Place &place) {
  if (value.is_object() && value.size() == 1 && (value.contains("sweep") || value.contains("together"))) {
    const bool together = value.contains("together");
    const Json &values = value.begin().value();
    if (!values.is_array() || values.empty()) place.refuse(at.to_string() + ": a sweep is a list with entries");
    sweeps.push_back({at, values, together});
    return;
  }
  if (value.is_object())
    for (const auto &[name, member] : value.items()) find_sweeps(member, at / name, sweeps, place);
}

std::string short_text(const Json &value) {
  std::string text = value.is_string() ? value.get<std::string>() : value.dump();
  std::erase_if(text, [](char letter) { return letter == '"' || letter == ' '; });
  return text;
}

std::string join_label(const std::string &label, const Sweep &sweep, const Json &chosen) {
  return label + (label.empty() ? "" : " ") + sweep.at.back() + "=" + short_text(chosen);
}

// All members of {"together": ...} are one sweep whose entries are whole rows; calls `each` with every combination.
void expand(const Json &given, const Place &place, const std::function<void(const Json &, const std::string &label)> &each) {
  std::vector<Sweep> sweeps, crossed, stepped;
  find_sweeps(given, Json::json_pointer(), sweeps, place);
  for (const Sweep &sweep : sweeps) (sweep.together ? stepped : crossed).push_back(sweep);
  for (const Sweep &sweep : stepped)
    if (sweep.values.size() != stepped[0].values.size()) place.refuse("its \"together\" lists differ in length");
  std::function<void(size_t, Json, std::string)> cross = [&](size_t index, Json value, const std::string &label) {
    if (index == crossed.size()) return each(value, label);
    for (const Json &choice : crossed[index].values) {
      value[crossed[index].at] = choice;
      cross(index + 1, value, join_label(label, crossed[index], choice));
    }
  };
  if (stepped.empty()) return cross(0, given, "");
  for (size_t row = 0; row < stepped[0].values.size(); ++row) {
    Json value = given;
    std::string label;
    for (const Sweep &sweep : stepped) value[sweep.at] = sweep.values[row], label = join_label(label, sweep, sweep.values[row]);
    cross(0, value, label);
  }
}

// ---- members ----

Recipe read_recipe(const Json &value, const Place &place) {
  only_members(value, {"kind", "mean", "deviation", "fan_in", "shift", "keep", "poison", "poison_where"}, place);
  Recipe recipe;
  const std::string kind = as<std::string>(value.value("kind", Json("normal")), place.in("kind"));
  if (kind == "normal") recipe.kind = Recipe::Kind::normal;
  else if (kind == "mask") recipe.kind = Recipe::Kind::mask;
  else if (kind == "dropout") recipe.kind = Recipe::Kind::dropout;
  else if (kind == "constant") recipe.kind = Recipe::Kind::constant;
  else place.refuse("kind '" + kind + "' is not normal, mask, dropout or constant");
  if (value.contains("mean")) recipe.mean = as<double>(value["mean"], place.in("mean"));
  if (value.contains("deviation")) recipe.deviation = as<double>(value["deviation"], place.in("deviation"));
  if (value.contains("fan_in")) recipe.fan_in = as<std::string>(value["fan_in"], place.in("fan_in"));
  if (value.contains("shift")) recipe.shift = as<double>(value["shift"], place.in("shift"));
  if (value.contains("keep")) recipe.keep = as<double>(value["keep"], place.in("keep"));
  if (value.contains("poison_where")) {
    recipe.poison_where = as<std::string>(value["poison_where"], place.in("poison_where"));
    const std::string poison = as<std::string>(value.at("poison"), place.in("poison"));
    if (poison == "nan") recipe.poison = std::numeric_limits<double>::quiet_NaN();
    else if (poison == "infinity") recipe.poison = std::numeric_limits<double>::infinity();
    else place.in("poison").refuse("is '" + poison + "', expected nan or infinity");
  }
  return recipe;
}

Expectation read_expectation(const Json &value, const Place &place) {
  only_members(value, {"status", "argument", "dim"}, place);
  Expectation expectation;
  const std::string status = as<std::string>(value.at("status"), place.in("status"));
  if (status == "invalid_argument") expectation.status = LAMINA_INVALID_ARGUMENT;
  else if (status == "unsupported") expectation.status = LAMINA_UNSUPPORTED;
  else place.in("status").refuse("is '" + status + "', expected invalid_argument or unsupported");
  if (value.contains("argument")) expectation.argument = as<std::string>(value["argument"], place.in("argument"));
  if (value.contains("dim")) expectation.dim = as<int>(value["dim"], place.in("dim"));
  return expectation;
}

AttributeValue read_attribute(const Json &value, const Place &place) {
  if (value.is_string()) return value.get<std::string>();
  if (value.is_number_integer()) return value.get<int64_t>();
  if (value.is_number_float()) return value.get<double>();
  place.refuse("is neither a number nor a string");
}

struct File {
  Place place;
  Json dims;  // extents that an attribute decides
  std::map<std::string, Recipe> data;
};

// {"G": {"output_gate": {"after_projection": "C", "before_projection": "H"}}}: which extent G equals, by the attribute's value.
void derive_dims(const File &file, Case &one, const Json &defaults_of_attributes, const Place &place) {
  for (const auto &[letter, rule] : file.dims.items()) {
    if (one.dims.count(letter)) continue;
    const std::string attribute = rule.begin().key();
    std::string value = as<std::string>(defaults_of_attributes.value(attribute, Json("")), place);
    if (const auto set = one.attributes.find(attribute); set != one.attributes.end()) value = std::get<std::string>(set->second);
    const Json &choices = rule.begin().value();
    if (!choices.contains(value)) place.refuse("attribute '" + attribute + "' = '" + value + "' does not decide extent " + letter);
    const std::string source = as<std::string>(choices[value], place);
    if (!one.dims.count(source)) place.refuse("extent " + source + " is missing");
    one.dims[letter] = one.dims[source];
  }
}

Case read_case(const Json &value, const std::string &label, const File &file, const Json &attribute_defaults, const Place &place) {
  only_members(value,
               {"why", "op", "dims", "attributes", "dtype", "dtypes", "given", "layout", "packed", "alias", "data", "shifted", "where",
                "expect", "seed", "local_factor"},
               place);
  Case one;
  one.label = label;
  one.why = as<std::string>(value.at("why"), place.in("why"));
  if (value.contains("op")) one.op = as<std::string>(value["op"], place.in("op"));
  one.dims = as<std::map<std::string, int64_t>>(value.value("dims", Json::object()), place.in("dims"));
  const Json attributes = value.value("attributes", Json::object()), data = value.value("data", Json::object());
  for (const auto &[name, attribute] : attributes.items()) one.attributes[name] = read_attribute(attribute, place.in("attributes." + name));
  if (value.contains("dtype")) one.dtype = as<std::string>(value["dtype"], place.in("dtype"));
  one.dtypes = as<std::map<std::string, std::string>>(value.value("dtypes", Json::object()), place.in("dtypes"));
  one.layout = as<std::map<std::string, std::string>>(value.value("layout", Json::object()), place.in("layout"));
  one.given = as<std::vector<std::string>>(value.value("given", Json::array()), place.in("given"));
  one.packed = as<bool>(value.value("packed", Json(false)), place.in("packed"));
  one.shifted = as<bool>(value.value("shifted", Json(false)), place.in("shifted"));
  one.alias = as<std::map<std::string, std::vector<std::string>>>(value.value("alias", Json::object()), place.in("alias"));
  one.local_factor = as<double>(value.value("local_factor", Json(1.0)), place.in("local_factor"));
  if (!(one.local_factor >= 1 && one.local_factor <= 2)) place.in("local_factor").refuse("is not within 1 and 2");
  one.seed = as<uint64_t>(value.value("seed", Json(1)), place.in("seed"));
  const std::string where = as<std::string>(value.value("where", Json("anywhere")), place.in("where"));
  if (where != "anywhere" && where != "gpu") place.in("where").refuse("is '" + where + "', expected anywhere or gpu");
  one.on_gpu_only = where == "gpu";
  if (value.contains("expect")) one.expect = read_expectation(value["expect"], place.in("expect"));
  one.data = file.data;
  for (const auto &[name, recipe] : data.items()) one.data[name] = read_recipe(recipe, place.in("data." + name));
  for (const std::string *dtype : {&one.dtype})
    if (!element_named(*dtype)) place.in("dtype").refuse("'" + *dtype + "' is no dtype");
  for (const auto &[name, dtype] : one.dtypes)
    if (dtype != "same" && !element_named(dtype)) place.in("dtypes." + name).refuse("'" + dtype + "' is no dtype");
  derive_dims(file, one, attribute_defaults, place);
  return one;
}

}  // namespace

bool matches(const std::string &pattern, const std::string &name) {
  const size_t star = pattern.find('*');
  if (star == std::string::npos) return pattern == name;
  const std::string head = pattern.substr(0, star), tail = pattern.substr(star + 1);
  return name.size() >= head.size() + tail.size() && name.compare(0, head.size(), head) == 0 &&
         name.compare(name.size() - tail.size(), tail.size(), tail) == 0;
}

CaseList parse_cases(const std::string &text, const std::string &path) {
  const Place top{path, "cases"};
  Json json = Json::parse(text, nullptr, false, true);
  if (json.is_discarded()) top.refuse("is not JSON");
  only_members(json, {"schema", "layer", "dims", "data", "defaults", "cases"}, top);
  if (json.value("schema", "") != "lamina/cases/1") top.refuse("schema is not lamina/cases/1");
  File file{top, json.value("dims", Json::object()), {}};
  const Json data = json.value("data", Json::object());
  for (const auto &[name, recipe] : data.items()) file.data[name] = read_recipe(recipe, top.in("data." + name));
  const Json defaults = json.value("defaults", Json::object());
  CaseList list{as<std::string>(json.at("layer"), top.in("layer")), {}};
  size_t index = 0;
  const Json cases = json.value("cases", Json::array());
  for (const Json &given : cases) {
    const Place place{
        path, "case " + std::to_string(index++) + " (" + (given.is_object() ? given.value("why", "no why") : "not an object") + ")"};
    Json whole = defaults;
    whole.merge_patch(given);
    try {
      expand(whole, place, [&](const Json &one, const std::string &label) {
        list.cases.push_back(read_case(one, label, file, defaults.value("attributes", Json::object()), place));
      });
    } catch (const Json::exception &error) { place.refuse(error.what()); }
  }
  if (list.cases.empty()) top.refuse("has no cases");
  return list;
}

CaseList read_cases(const std::string &path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error(ErrorKind::not_found, path + ": can't be read");
  std::string text(1 << 22, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(file.gcount()));
  if (file.peek() != EOF) throw Error(ErrorKind::malformed, path + ": is longer than 4 MiB");
  return parse_cases(text, path);
}

}  // namespace lamina::conformance
