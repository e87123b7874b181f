// Models as data, their table and picture, and profiler ranges by the host callback.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <dlfcn.h>

#include <filesystem>
#include <fstream>

#include "bench/models.h"
#include "bench/profiler.h"
#include "manifest/error.h"
#include "manifest/json.h"

using namespace lamina;
using namespace lamina::bench;

namespace {

const char *const kScratch = "build/test-scratch/bench-models";

std::filesystem::path written(const std::string &text) {
  std::filesystem::create_directories(kScratch);
  const std::filesystem::path file = std::filesystem::path(kScratch) / "models.json";
  std::ofstream(file) << text;
  return file;
}

std::string message_of(const std::string &text, const std::string &name) {
  try {
    read_model(written(text), name);
  } catch (const Error &error) { return error.what(); }
  return "";
}

Options quick() {
  Options options;
  options.dtypes = {"float32"}, options.seconds = 0.01, options.threads = 1;
  return options;
}

}  // namespace

TEST_CASE("the committed models name layers, letters and arguments that their contracts have") {
  const manifest::Json all = manifest::read_json("bench/models.json");
  for (const char *name : {"esm2-650m", "esm2-3b", "protbert", "esmfold2-pair", "boltz-pair"}) CHECK(all.at("models").contains(name));
  for (const auto &[name, data] : all.at("models").items())
    for (const ModelCall &call : read_model("bench/models.json", name).calls) {
      INFO(name << " " << call.what);
      const manifest::Json contract = manifest::read_json("layers/" + call.layer + "/contract.json");
      for (const auto &[letter, extent] : call.setting.dims) CHECK(contract.at("dims").contains(letter));
      for (const auto &[attribute, value] : call.setting.attributes) {
        bool known = false;
        for (const manifest::Json &one : contract.at("attributes")) known = known || one.at("name") == attribute;
        CHECK(known);
      }
      for (const std::string &pattern : call.setting.given) {
        bool known = false;
        const std::string stem = pattern.substr(0, pattern.find('*'));
        for (const manifest::Json &one : contract.at("arguments")) known = known || one.at("name").get<std::string>().starts_with(stem);
        CHECK(known);
      }
    }
}

TEST_CASE("a call is timed with the best build that takes it, and shown") {
  const auto file = written(R"({"models": {"toy": {"title": "A <toy>", "source": "none", "calls": [
    {"what": "in", "count": 2, "layer": "linear_activation", "dims": {"M": 33, "K": 24, "N": 40}, "attributes": {"activation": "relu"}, "given": ["bias"]},
    {"what": "out", "count": 1, "layer": "linear_residual", "dims": {"M": 33, "K": 40, "N": 24}, "given": ["residual"]}]}}})");
  const Model model = read_model(file, "toy");
  CHECK(model.calls.size() == 2);
  CHECK(model.calls[0].count == 2);
  std::FILE *out = std::fopen((std::string(kScratch) + "/table.txt").c_str(), "w");
  std::vector<ModelRow> rows = bench_model(model, {}, quick(), out);
  std::fclose(out);
  REQUIRE(rows.size() == 2);
  CHECK(rows[0].row.target.starts_with("cpu_"));
  CHECK(rows[0].row.milliseconds > 0);
  CHECK(rows[0].row.flops == 2.0 * 33 * 24 * 40);
  rows[0].row.milliseconds = 3, rows[1].row.milliseconds = 12, rows[1].row.peers = {{"PyTorch eager", 24}};
  const std::string picture = model_picture(model, rows);
  CHECK(picture.find("A &lt;toy&gt;") != picture.npos);
  CHECK(picture.find("width=\"115.0\"") != picture.npos);  // 2 calls of 3 ms where 24 ms are 460 wide
  CHECK(picture.find("width=\"460.0\"") != picture.npos);
  CHECK(model_page(model, rows).find("| out | 1 | linear_residual | K=40,M=33,N=24 |") != std::string::npos);
}

TEST_CASE("what is wrong is named") {
  CHECK(message_of("{}", "toy").find("has no object \"models\"") != std::string::npos);
  CHECK(message_of(R"({"models": {"a": {}, "b": {}}})", "toy").find("has no model 'toy'; it has a, b") != std::string::npos);
  CHECK(message_of(R"({"models": {"toy": {"title": "t", "source": "s", "calls": []}}})", "toy").find("toy: has no calls") !=
        std::string::npos);
  const std::string call =
      R"({"models": {"toy": {"title": "t", "source": "s", "calls": [{"what": "w", "count": 1, "layer": "l", "dims": {"M": 0}, "given": []}]}}})";
  CHECK(message_of(call, "toy").find("toy, call 0: dims M is no extent") != std::string::npos);
  Model model{"toy", "t", "s", {}};
  model.calls.push_back({"w", "no_such_layer", 1, {}});
  model.calls[0].setting.dims = {{"M", 1}};
  CHECK_THROWS_WITH_AS(bench_model(model, {}, quick(), stderr),
                       "no build of no_such_layer in build/plugins for cpu takes M=1; `make plugins` makes them", Error);
}

TEST_CASE("profiler ranges open and close around each call, with the layer's and the op's name") {
  CHECK(profiler_host("build/no_such_library.so") == nullptr);
  const std::string library = "build/lib/nvtx_stand_in.so";
  Home home = processor_home();
  home.host = profiler_host(library);
  REQUIRE(home.host);
  void *handle = dlopen(library.c_str(), RTLD_NOW | RTLD_NOLOAD);
  REQUIRE(handle);
  const int *open = static_cast<int *>(dlsym(handle, "open_ranges")), *all = static_cast<int *>(dlsym(handle, "all_ranges"));
  const char *last = static_cast<char *>(dlsym(handle, "last_range"));
  Setting setting;
  setting.dims = {{"M", 3}, {"K", 8}, {"N", 8}};
  const manifest::Json contract = manifest::read_json("layers/linear_activation/contract.json");
  const Subject subject(open_plugin("build/plugins/linear_activation-" + contract.at("version").get<std::string>() + "-reference.so"),
                        setting, home);
  const int before = *all;
  subject.run();
  CHECK(*all == before + 1);
  CHECK(*open == 0);
  CHECK(std::string(last) == "linear_activation.forward");
}
