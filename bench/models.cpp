#include "bench/models.h"

#include <algorithm>

#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::bench {
namespace {

using manifest::Json;

[[noreturn]] void malformed(const std::string &where, const std::string &why) { throw Error(ErrorKind::malformed, where + ": " + why); }

ModelCall read_call(const Json &json, const std::string &where) {
  ModelCall call;
  try {
    call.what = json.at("what"), call.layer = json.at("layer"), call.count = json.at("count");
    for (const auto &[letter, extent] : json.at("dims").items()) call.setting.dims[letter] = extent.get<int64_t>();
    if (json.contains("attributes"))
      for (const auto &[name, value] : json["attributes"].items())
        call.setting.attributes[name] = value.is_string() ? value.get<std::string>() : value.dump();
    for (const Json &name : json.at("given")) call.setting.given.push_back(name.get<std::string>());
  } catch (const Json::exception &error) { malformed(where, error.what()); }
  if (call.count < 1 || call.setting.dims.empty()) malformed(where, "count and dims must say something");
  for (const auto &[letter, extent] : call.setting.dims)
    if (letter.size() != 1 || extent < 1 || extent > 100'000'000) malformed(where, "dims " + letter + " is no extent");
  return call;
}

struct Candidate {
  std::filesystem::path file;
  int rank;
};

// Builds of a layer for a backend, best first: <layer>-<version>-<arch>.so, ranked by archs.json.
std::vector<Candidate> builds_of(const std::string &layer, const ModelOptions &where) {
  if (!std::filesystem::is_directory(where.plugins))
    throw Error(ErrorKind::not_found, where.plugins.string() + ": no such folder; `make plugins` makes it");
  const Json archs = manifest::read_json(where.archs);
  std::vector<Candidate> found;
  for (const auto &entry : std::filesystem::directory_iterator(where.plugins)) {
    const std::string name = entry.path().filename();
    if (!name.starts_with(layer + "-") || !name.ends_with(".so")) continue;
    const size_t dash = name.rfind('-');
    const std::string arch = name.substr(dash + 1, name.size() - dash - 4);
    const std::string family = where.backend == "rocm" ? "hip" : where.backend;
    if (arch.starts_with(family + "_") && archs.contains(arch)) found.push_back({entry.path(), archs[arch].at("rank").get<int>()});
  }
  std::sort(found.begin(), found.end(), [](const Candidate &a, const Candidate &b) { return a.rank < b.rank; });
  return found;
}

Row measure_best(const ModelCall &call, const Setting &setting, const ModelOptions &where, const Options &options, int threads) {
  std::string reasons;
  for (const Candidate &candidate : builds_of(call.layer, where)) {
    const lamina_library &library = open_plugin(candidate.file);
    Setting complete = setting;
    complete_dims(library, complete);
    try {
      return measure(library, complete, options, threads);
    } catch (const Error &error) {
      if (error.kind != ErrorKind::unsupported) throw;
      reasons += "; " + candidate.file.filename().string() + ": " + error.what();
    }
  }
  throw Error(ErrorKind::unsupported, "no build of " + call.layer + " in " + where.plugins.string() + " for " + where.backend + " takes " +
                                          text_of(setting.dims) + (reasons.empty() ? "; `make plugins` makes them" : reasons));
}

void print(const ModelRow &one, FILE *out) {
  const Row &row = one.row;
  std::fprintf(out, "  %-34s %2lld x %-24s %-11s %-9s %9.3f ms", one.call.what.c_str(), static_cast<long long>(one.call.count),
               one.call.layer.c_str(), row.target.c_str(), row.dtype.c_str(), row.milliseconds);
  if (row.flops > 0) std::fprintf(out, "  %7.1f GFLOP/s", row.flops / row.milliseconds * 1e-6);
  if (row.peak > 0) std::fprintf(out, "  %4.1f %%", 100 * row.flops / row.milliseconds * 1e3 / row.peak);
  for (const Peer &peer : row.peers)
    std::fprintf(out, "  %s %.1f ms = %.2fx", peer.name.c_str(), peer.milliseconds, peer.milliseconds / row.milliseconds);
  std::fprintf(out, "\n");
  std::fflush(out);
}

}  // namespace

Model read_model(const std::filesystem::path &file, const std::string &name) {
  const Json json = manifest::read_json(file);
  if (!json.is_object() || !json.contains("models") || !json["models"].is_object()) malformed(file, "has no object \"models\"");
  if (!json["models"].contains(name)) {
    std::string known;
    for (const auto &[other, model] : json["models"].items()) known += (known.empty() ? "" : ", ") + other;
    throw Error(ErrorKind::not_found, file.string() + " has no model '" + name + "'; it has " + known);
  }
  const Json &found = json["models"][name];
  const std::string where = file.string() + ": " + name;
  Model model{name, "", "", {}};
  try {
    model.title = found.at("title"), model.source = found.at("source");
    for (const Json &call : found.at("calls"))
      model.calls.push_back(read_call(call, where + ", call " + std::to_string(model.calls.size())));
  } catch (const Json::exception &error) { malformed(where, error.what()); }
  if (model.calls.empty()) malformed(where, "has no calls");
  return model;
}

std::vector<ModelRow> bench_model(const Model &model, const ModelOptions &where, const Options &options, FILE *out) {
  const int threads = bind_threads(options.threads);
  std::fprintf(
      out, "%s\n%s; %s", model.title.c_str(), model.source.c_str(),
      options.home_name.empty() ? (processor_model() + ", " + std::to_string(threads) + " threads").c_str() : options.home_name.c_str());
  std::fprintf(out, "\n");
  std::vector<ModelRow> rows;
  for (const std::string &dtype : options.dtypes) {
    double ours = 0, theirs = 0;
    for (const ModelCall &call : model.calls) {
      Setting setting = call.setting;
      setting.dtype = dtype, setting.op = options.op;
      if (options.op == "training") setting.given.push_back("*_gradient");
      rows.push_back({call, measure_best(call, setting, where, options, threads)});
      const Row &row = rows.back().row;
      const double count = static_cast<double>(call.count);
      ours += count * row.milliseconds, theirs += row.peers.empty() ? 0 : count * row.peers.front().milliseconds;
      print(rows.back(), out);
    }
    std::fprintf(out, "  %s: %.2f ms together", dtype.c_str(), ours);
    if (theirs > 0) std::fprintf(out, ", %s %.2f ms = %.2fx", rows.back().row.peers.front().name.c_str(), theirs, theirs / ours);
    std::fprintf(out, "\n");
  }
  return rows;
}

}  // namespace lamina::bench
