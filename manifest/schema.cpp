// The only file that includes valijson, which takes long to compile.
#include "manifest/schema.h"

#include <map>
#include <mutex>

#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

#include "manifest/error.h"
#include "manifest/json.h"
#include "manifest/schema_table.h"

namespace lamina::manifest {

namespace {

// Parsed once and kept for the life of the process.
const valijson::Schema &schema_named(std::string_view name) {
  static std::mutex mutex;
  static auto *parsed = new std::map<std::string, valijson::Schema, std::less<>>;
  const std::lock_guard lock(mutex);
  if (const auto found = parsed->find(name); found != parsed->end()) return found->second;
  const Json json = parse_json(schema_text(name), std::string(name) + ".schema.json");
  valijson::Schema &schema = (*parsed)[std::string(name)];
  valijson::SchemaParser(valijson::SchemaParser::kDraft7).populateSchema(valijson::adapters::NlohmannJsonAdapter(json), schema);
  return schema;
}

// The deepest complaint says most: those above it only repeat that something below is wrong.
std::string explain(valijson::ValidationResults &results) {
  std::string best;
  size_t best_depth = 0;
  for (valijson::ValidationResults::Error error; results.popError(error);) {
    if (!best.empty() && error.context.size() <= best_depth) continue;
    std::string place;
    for (const std::string &step : error.context) place += step == "<root>" ? "" : step;
    best = "at " + (place.empty() ? "the top" : place) + ": " + error.description;
    best_depth = error.context.size();
  }
  return best;
}

}  // namespace

std::vector<std::string> schema_names() {
  std::vector<std::string> names;
  for (int i = 0; i < schema_count; ++i) names.push_back(schema_table[i].name);
  return names;
}

std::string_view schema_text(std::string_view schema) {
  for (int i = 0; i < schema_count; ++i)
    if (schema_table[i].name == schema) return schema_table[i].text;
  throw Error(ErrorKind::not_found, "there is no schema '" + std::string(schema) + "'");
}

void validate(const Json &value, std::string_view schema, const std::string &what) {
  const valijson::Schema &rules = schema_named(schema);
  valijson::Validator validator(valijson::Validator::kStrongTypes);
  valijson::ValidationResults results;
  if (!validator.validate(rules, valijson::adapters::NlohmannJsonAdapter(value), &results))
    throw Error(ErrorKind::malformed, what + " does not follow the schema '" + std::string(schema) + "', " + explain(results));
}

}  // namespace lamina::manifest
