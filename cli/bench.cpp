// lamina bench: how fast a CPU build is on this machine, against the machine's peak and against PyTorch.
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "bench/models.h"
#include "bench/profiler.h"
#include "conformance/device.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

std::string commit_here() {
  const std::unique_ptr<FILE, int (*)(FILE *)> git(popen("git describe --always --dirty 2>/dev/null", "r"), pclose);
  std::array<char, 128> line{};
  if (!git || !std::fgets(line.data(), line.size(), git.get())) return "unknown";
  const std::string text = line.data();
  return text.substr(0, text.find('\n'));
}

// This process's words, for the page to say how its numbers were made.
std::string command_line() {
  std::ifstream file("/proc/self/cmdline", std::ios::binary);
  std::string line;
  for (std::string word; std::getline(file, word, '\0');) line += (line.empty() ? "" : " ") + word;
  return line;
}

// A GPU as bench sees it.
void use_device(bench::Options &options, const std::string &name, bool models) {
  if (name == "cpu") return;
  if ((!options.write.empty() && !models) || !options.torch.empty())
    throw Error(ErrorKind::invalid_argument,
                "--torch goes with CPU builds alone, --write with them or with --model; what a GPU takes is printed");
  const std::shared_ptr<conformance::Device> device = conformance::open_device(name);
  options.home_name = device->name();
  bench::Home &home = options.home;
  home.device = device->id(), home.stream = device->stream(0), home.runs_at_once = 10;
  home.allocate = [device](uint64_t bytes, uint64_t align, const void *content) -> std::shared_ptr<void> {
    const std::shared_ptr<conformance::Buffer> buffer = device->allocate(bytes, align, conformance::Edge::front, "bench");
    if (content) buffer->write(content);
    return {buffer, buffer->data()};
  };
  home.synchronise = [device] { device->synchronise(); };
}

struct Models {
  std::vector<std::string> names;
  std::string file = "bench/models.json";
  bench::ModelOptions where;
};

void run_models(const Models &models, const bench::Options &options) {
  std::string page = "# Shapes of models\n\nWritten by `" + options.command + "` at commit " + commit_here() + ", " +
                     (options.home_name.empty() ? bench::processor_model() : options.home_name) +
                     ".\nEach time is the best of its run, a call; the ratio is the peer's time over ours." +
                     (options.home.processor_time ? " Times are processor time of one thread: neighbours do not count.\n" : "\n");
  const std::filesystem::path folder = options.write;
  if (!options.write.empty()) std::filesystem::create_directories(folder);
  for (const std::string &name : models.names) {
    const bench::Model model = bench::read_model(models.file, name);
    const std::vector<bench::ModelRow> rows = bench::bench_model(model, models.where, options, stdout);
    if (options.write.empty()) continue;
    const std::string picture = "models-" + name + ".svg";
    manifest::write_file_atomically(folder / picture, bench::model_picture(model, rows));
    page += "\n" + bench::model_page(model, rows) + "\n![" + model.title + "](" + picture + ")\n";
  }
  if (options.write.empty()) return;
  manifest::write_file_atomically(folder / "models.md", page);
  std::printf("wrote %s and its pictures\n", (folder / "models.md").c_str());
}

}  // namespace

void add_bench(CLI::App &app) {
  auto options = std::make_shared<bench::Options>();
  auto device = std::make_shared<std::string>("cpu");
  options->dtypes = {"float32", "bfloat16"};
  CLI::App *verb =
      app.add_subcommand("bench",
                         "Time a CPU build against this machine's measured peak, and against PyTorch; or a build on a GPU.\n\n"
                         "  lamina bench --build build/plugins/triangle_multiplication-1.0.0-cpu_avx512.so --dims N=256,C=128");
  auto models = std::make_shared<Models>();
  auto ranges = std::make_shared<bool>(false);
  CLI::Option *build = verb->add_option("--build", options->builds, "plug-in file; several may be given");
  verb->add_option("--dims", options->dims, "extents by the contract's letters, N=256,C=128; B is 1 and others are C where not given");
  verb->add_option("--model", models->names, "instead of --build and --dims: every layer call of this model; several may be given")
      ->excludes(build);
  verb->add_option("--models", models->file, "where models are described")->capture_default_str();
  verb->add_option("--plugins", models->where.plugins, "of --model: the folder of builds; the best that takes a call is timed")
      ->capture_default_str();
  verb->add_flag("--ranges", *ranges, "profiler ranges (NVTX) around each call, where libnvToolsExt is installed");
  verb->add_option("--dtype", options->dtypes, "float32, bfloat16, float16; several may be given")->capture_default_str();
  verb->add_option("--attribute", options->attributes, "NAME=VALUE of the plan");
  verb->add_option("--given", options->given, "optional arguments to give; default: those of layers/<layer>/cases.json, else none");
  verb->add_option("--op", options->op, "the op; training: forward_train and backward, with every gradient")->capture_default_str();
  verb->add_option("--threads", options->threads, "processors to bind to; default: all that this process may use");
  verb->add_flag(
      "--processor-time", options->home.processor_time,
      "count what one thread spends on a processor, which neighbours do not lengthen as they do the wall clock; takes --threads 1");
  verb->add_option("--device", *device, "cpu, cuda:N or rocm:N; on a GPU the mean of ten runs at a time")->capture_default_str();
  verb->add_option("--seconds", options->seconds, "for each measurement")->capture_default_str();
  verb->add_option("--torch", options->torch, "a Python that imports torch: measures the peers too");
  verb->add_option("--peers", options->peers, "the script that times the peers")->capture_default_str();
  verb->add_option("--write", options->write,
                   "a folder: writes cpu-<processor>.md into it, of another op cpu-<op>-<processor>.md, of models models.md and pictures");
  verb->footer("A machine with neighbours gives other numbers each time: compare within one run.");
  verb->callback([options, device, models, ranges] {
    options->command = command_line();
    use_device(*options, *device, !models->names.empty());
    if (*ranges && !(options->home.host = bench::profiler_host()))
      throw Error(ErrorKind::not_found, "--ranges needs libnvToolsExt.so.1, which is not installed; CUDA toolkits up to 12 carry it");
    if (options->home.processor_time && (options->threads != 1 || *device != "cpu"))
      throw Error(ErrorKind::invalid_argument, "--processor-time goes with --threads 1 on the CPU: threads that wait would be counted too");
    if (!models->names.empty()) {
      models->where.backend = device->substr(0, device->find(':'));
      return run_models(*models, *options);
    }
    if (options->builds.empty() || options->dims.empty())
      throw Error(ErrorKind::invalid_argument, "say what to time: --build FILE --dims N=256,C=128, or --model NAME");
    const std::vector<bench::Row> rows = bench::bench(*options, stdout);
    if (options->write.empty()) return;
    std::filesystem::create_directories(options->write);
    const std::filesystem::path file =
        std::filesystem::path(options->write) /
        ("cpu-" + (options->op == "forward" ? "" : options->op + "-") + bench::slug_of(bench::processor_model()) + ".md");
    manifest::write_file_atomically(file, bench::page_of(rows, *options, commit_here()));
    std::printf("wrote %s\n", file.c_str());
  });
}

}  // namespace lamina::cli
