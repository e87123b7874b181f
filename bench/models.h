// A model's shapes: which layers it calls, how often and how large, as data; timed with the best build that this machine runs.
#pragma once
#include <filesystem>
#include <string>
#include <vector>

#include "bench/bench.h"

namespace lamina::bench {

struct ModelCall {
  std::string what, layer;
  int64_t count = 1;  // calls of this shape
  Setting setting;    // dtype is the caller's
};
struct Model {
  std::string name, title, source;
  std::vector<ModelCall> calls;
};

// `name` of the file, whose form is that of bench/models.json.  Errors: not_found (unknown name, with those that there are), malformed
// with file, model and member.
Model read_model(const std::filesystem::path &file, const std::string &name);

struct ModelOptions {
  std::filesystem::path plugins = "build/plugins", archs = "build/gen/archs.json";
  std::string backend = "cpu";  // cpu, cuda or rocm: which builds are tried, best first by archs.json
};

struct ModelRow {
  ModelCall call;
  Row row;
};

// Measures every call with the first build that takes it and prints a table.  `options` gives dtypes, peers, home and threads.  Errors:
// unsupported when no build of a layer takes a call, with what each said; else as bench().
std::vector<ModelRow> bench_model(const Model &model, const ModelOptions &where, const Options &options, FILE *out);

// The same as Markdown, and as a picture (SVG): a bar of milliseconds for each call, all its repetitions, beside the first peer's.
std::string model_page(const Model &model, const std::vector<ModelRow> &rows);
std::string model_picture(const Model &model, const std::vector<ModelRow> &rows);

}  // namespace lamina::bench
