// Fetches and loads a bundle COUNT times, each time as a new process would, up to a plan that is ready, and says how long each step took: for
// measurements, and for tests that change files meanwhile.  One line a round: "loaded BUILD_ID fetch MS load MS plan MS all MS", or "refused
// KIND: SENTENCE".  Ends with 0 if any loaded.  With "trusting" the bundle is fetched once; then its documents are read, a build is
// chosen by them and loaded, and nothing is verified: what the same road costs without its checks.
//   loader ORG/NAME[@vN] COUNT [trusting]
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include "hub_client/client.h"
#include "hub_client/environment.h"
#include "manifest/error.h"
#include "manifest/files.h"

using namespace lamina;

namespace {

double milliseconds(const auto &from, const auto &to) { return std::chrono::duration<double, std::milli>(to - from).count(); }

using Clock = std::chrono::steady_clock;

// The plan of the first op with every attribute at its default, as a host makes it before its first run.
void make_plan(const lamina_library *library) {
  const lamina_op *op = library->ops[0];
  lamina_error error{};
  error.struct_size = sizeof error;
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.device = {LAMINA_CPU, 0};
  lamina_plan *plan = nullptr;
  if (op->plan_create(op, &desc, &plan, &error) != LAMINA_OK) throw Error(ErrorKind::failed, error.message);
  op->plan_destroy(plan);
}

// Into memory of its own each time: the loader would give back a file that it has already.
const lamina_library *open_unverified(const std::string &path) {
  const std::string bytes = manifest::read_file(path, 1 << 30);
  const int file = memfd_create("bare", MFD_CLOEXEC);
  if (file < 0 || write(file, bytes.data(), bytes.size()) != static_cast<ssize_t>(bytes.size()))
    throw Error(ErrorKind::io, "cannot copy " + path);
  void *handle = dlopen(("/proc/self/fd/" + std::to_string(file)).c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto entry = handle ? reinterpret_cast<lamina_library_v1_function>(dlsym(handle, LAMINA_LIBRARY_SYMBOL)) : nullptr;
  if (!entry) throw Error(ErrorKind::unsupported, path + " does not load");
  return entry();
}

// The file of the build that this machine runs best, by what the variant's documents say.
std::string chosen_by_trust(const std::filesystem::path &directory) {
  const auto text = [&](const char *name) { return manifest::read_file(directory / name, 16 << 20); };
  manifest::parse_bundle(text(manifest::bundle_file), manifest::bundle_file);
  const hub::Machine machine = hub::this_machine();
  for (const manifest::Build &build : manifest::read_checked_manifest(text(manifest::manifest_file), manifest::manifest_file).builds)
    if (hub::why_not(machine, build.requires_json).empty()) return (directory / build.file).string();
  throw Error(ErrorKind::unsupported, "no build runs here");
}

bool round(const char *specification, const std::filesystem::path &trusted) {
  const auto begin = Clock::now();
  try {
    auto middle = begin;
    const lamina_library *library = nullptr;
    if (trusted.empty()) {
      const hub::Client client(hub::read_environment());
      hub::Fetched fetched = client.fetch(specification, {});
      middle = Clock::now();
      library = hub::load(std::move(fetched)).library;
    } else {
      const std::string path = chosen_by_trust(trusted);
      middle = Clock::now();
      library = open_unverified(path);
    }
    const auto loaded = Clock::now();
    make_plan(library);
    const auto end = Clock::now();
    std::printf("loaded %s fetch %.3f load %.3f plan %.3f all %.3f\n", library->build_id, milliseconds(begin, middle),
                milliseconds(middle, loaded), milliseconds(loaded, end), milliseconds(begin, end));
    return true;
  } catch (const Error &error) { std::printf("refused %s: %s\n", name_of(error.kind), error.what()); }
  return false;
}

}  // namespace

int main(int count, char **words) {
  const bool trusting = count == 4 && !std::strcmp(words[3], "trusting");
  if (count != 3 && !trusting) return std::fputs("usage: loader ORG/NAME[@vN] COUNT [trusting]\n", stderr), 2;
  std::filesystem::path trusted;
  if (trusting) trusted = hub::Client(hub::read_environment()).fetch(words[1], {}).directory;
  bool any = false;
  for (int i = std::atoi(words[2]); i > 0; --i) any |= round(words[1], trusted);
  return any ? 0 : 1;
}
