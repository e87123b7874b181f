// lamina bench: how fast a CPU build is on this machine, against the machine's peak and against PyTorch.
#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include "bench/bench.h"
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
void use_device(bench::Options &options, const std::string &name) {
  if (name == "cpu") return;
  if (!options.write.empty() || !options.torch.empty())
    throw Error(ErrorKind::invalid_argument, "--write and --torch go with CPU builds alone; what a GPU takes is printed");
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

}  // namespace

void add_bench(CLI::App &app) {
  auto options = std::make_shared<bench::Options>();
  auto device = std::make_shared<std::string>("cpu");
  options->dtypes = {"float32", "bfloat16"};
  CLI::App *verb =
      app.add_subcommand("bench", "Time a CPU build against this machine's measured peak, and against PyTorch; or a build on a GPU");
  verb->add_option("--build", options->builds, "plug-in file; several may be given")->required();
  verb->add_option("--dims", options->dims, "extents by the contract's letters, N=256,C=128; B is 1 and others are C where not given")
      ->required();
  verb->add_option("--dtype", options->dtypes, "float32, bfloat16, float16; several may be given")->capture_default_str();
  verb->add_option("--attribute", options->attributes, "NAME=VALUE of the plan");
  verb->add_option("--given", options->given, "optional arguments to give; default: those of layers/<layer>/cases.json, else none");
  verb->add_option("--op", options->op, "the op; training: forward_train and backward, with every gradient")->capture_default_str();
  verb->add_option("--threads", options->threads, "processors to bind to; default: all that this process may use");
  verb->add_option("--device", *device, "cpu, cuda:N or rocm:N; on a GPU the mean of ten runs at a time")->capture_default_str();
  verb->add_option("--seconds", options->seconds, "for each measurement")->capture_default_str();
  verb->add_option("--torch", options->torch, "a Python that imports torch: measures the peers too");
  verb->add_option("--peers", options->peers, "the script that times the peers")->capture_default_str();
  verb->add_option("--write", options->write, "a folder: writes cpu-<processor>.md into it, of another op cpu-<op>-<processor>.md");
  verb->footer("A machine with neighbours gives other numbers each time: compare within one run.");
  verb->callback([options, device] {
    options->command = command_line();
    use_device(*options, *device);
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
