// lamina doctor: this machine as the resolver sees it, and what would stand in the way.
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "fetch/progress.h"
#include "hub_client/cache.h"
#include "hub_client/file_lock.h"
#include "hub_client/machine.h"
#include "hub_client/resolve.h"
#include "hub_client/trust.h"
#include "manifest/error.h"
#include "manifest/json.h"
#include "packager/card.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr const char *archs_json =
#include "archs.inc"
    ;

// What is found, in the order it is shown: section, name, value.
struct Findings {
  struct Row {
    std::string section, name, value;
  };
  std::vector<Row> rows;
  std::vector<std::string> problems;
  void add(const std::string &section, const std::string &name, const std::string &value) { rows.push_back({section, name, value}); }
};

std::string words_of(const std::set<std::string> &words) {
  std::string text;
  for (const std::string &word : words) text += (text.empty() ? "" : " ") + word;
  return text.empty() ? "none" : text;
}

std::string rocm_text(const hub::Rocm &rocm) { return std::to_string(rocm.major) + "." + std::to_string(rocm.minor); }

// Beside the variant of the machine's own backend.
std::string other_variants(const std::string &backend) {
  if (backend == "cpu") return "";
  return backend.starts_with("cu") ? ", or one for an older CUDA " + backend.substr(2, backend.size() - 3)
                                   : ", or outside of torch one for another ROCm";
}

void examine_machine(const hub::Machine &machine, const Json &archs, Findings &findings) {
  findings.add("machine", "processor",
               machine.cpu + (machine.processor_name.empty() ? "" : ", " + machine.processor_name) + ", " +
                   std::to_string(machine.processors) + " usable");
  std::set<std::string> asked, present;
  for (const auto &[arch, facts] : archs.items())
    for (const Json &feature : facts.at("requires").value("cpu_features", Json::array())) asked.insert(feature.get<std::string>());
  std::set_intersection(asked.begin(), asked.end(), machine.cpu_features.begin(), machine.cpu_features.end(),
                        std::inserter(present, present.end()));
  findings.add("machine", "features", words_of(present));
  findings.add("machine", "C library", "glibc " + machine.glibc);
  if (machine.cuda_driver)
    findings.add("machine", "NVIDIA driver",
                 (machine.nvidia_driver ? "release " + std::to_string(machine.nvidia_driver) + ", " : "") + "CUDA " +
                     std::to_string(machine.cuda_driver / 1000) + "." + std::to_string(machine.cuda_driver % 1000 / 10));
  for (const hub::CudaDevice &device : machine.cuda)
    findings.add("machine", "GPU",
                 device.name + ", compute capability " + std::to_string(device.major) + "." + std::to_string(device.minor));
  if (machine.rocm.major) findings.add("machine", "HIP runtime", "ROCm " + rocm_text(machine.rocm));
  for (const hub::RocmDevice &device : machine.rocm.devices)
    findings.add("machine", "GPU", "AMD " + device.arch + ", " + std::to_string(device.compute_units) + " compute units");
  if (!machine.rocm.devices.empty() && !machine.rocm.problem.empty()) findings.problems.push_back(machine.rocm.problem);
  if (machine.cuda.empty() && machine.rocm.devices.empty()) {
    findings.add("machine", "NVIDIA GPU", "none: " + machine.cuda_problem);
    findings.add("machine", "AMD GPU", "none: " + machine.rocm.problem);
  }
}

// Writes, locks and removes a file where downloads would go.
void examine_cache(const fs::path &cache, Findings &findings) {
  fs::path folder = cache;
  while (!fs::exists(folder) && folder != folder.parent_path()) folder = folder.parent_path();
  struct statvfs space{};
  const std::string free = statvfs(folder.c_str(), &space) == 0 ? bytes_text(uint64_t{space.f_bavail} * space.f_frsize) + " free" : "";
  if (folder != cache) {
    const fs::path probe = folder / (".lamina-doctor." + hub::random_suffix());
    std::error_code refused;
    const bool writable = fs::create_directory(probe, refused) && fs::remove(probe, refused);
    findings.add("hub", "cache is", std::string("not there yet, ") + (writable ? "can be made, " : "cannot be made, ") + free);
    if (!writable)
      findings.problems.push_back("the cache " + cache.string() + " cannot be made in " + folder.string() +
                                  "; let HF_HUB_CACHE name a folder that you may write");
    return;
  }
  const fs::path probe = cache / (".lamina-doctor." + hub::random_suffix());
  const hub::FileLock lock(probe, [] { return false; });
  std::error_code ignored;
  const bool writable = fs::remove(probe, ignored);
  findings.add(
      "hub", "cache is",
      std::string(writable ? "writable, " : "read-only, ") + free + (writable && !lock.held() ? ", without locks between processes" : ""));
  if (!writable) findings.problems.push_back("the cache " + cache.string() + " cannot be written: only what it has can be used");
}

bool is_set(const char *name) {
  const char *value = std::getenv(name);
  return value && *value;
}

void examine_hub(const hub::Environment &environment, Findings &findings) {
  const auto source = [&](const char *setting) {
    const auto found = environment.sources.find(setting);
    return found == environment.sources.end() ? std::string("default") : found->second;
  };
  findings.add("hub", "endpoint", environment.endpoint + " (" + source("endpoint") + ")");
  findings.add("hub", "network", environment.offline ? "off (HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE)" : "on");
  // The value is nobody's business, not even in part.
  findings.add("hub", "token", environment.token.empty() ? "none; public repositories need none" : "yes, from " + environment.token_source);
  std::string proxies;
  for (const char *name : {"https_proxy", "HTTPS_PROXY", "http_proxy", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"})
    if (is_set(name)) proxies += (proxies.empty() ? "" : ", ") + std::string(name);
  findings.add("hub", "proxy", proxies.empty() ? "none" : "set by " + proxies);
  if (!environment.ca_file.empty()) {
    findings.add("hub", "CA file", environment.ca_file + " (" + source("CA file") + ")");
    if (access(environment.ca_file.c_str(), R_OK) != 0)
      findings.problems.push_back("the CA file " + environment.ca_file + " cannot be read; correct " + source("CA file"));
  }
  findings.add("hub", "cache", environment.cache.string() + " (" + source("cache") + ")");
  examine_cache(environment.cache, findings);
  for (const auto &[repository, folder] : environment.local_kernels) {
    findings.add("hub", "local kernel", repository + " is " + folder.string() + " (LOCAL_KERNELS)");
    if (!fs::is_directory(folder)) findings.problems.push_back("LOCAL_KERNELS names " + folder.string() + ", which is no folder");
  }
}

void examine_trust(const hub::Environment &environment, Findings &findings) {
  const hub::TrustStore trust(environment.trust_file, environment.site_trust_file);
  for (const auto *store : {&trust.site(), &trust.user()})
    for (const auto &[organisation, keys] : *store)
      for (const manifest::PublicKey &key : keys)
        findings.add("trust", organisation, key.id_text() + (store == &trust.site() ? ", site" : ", user"));
  if (trust.site().empty() && trust.user().empty())
    findings.add("trust", "keys", "none; lamina trust add ORG KEY.pub adds one, and fetch needs the publisher's");
}

void examine_choice(const hub::Machine &machine, const Json &archs, Findings &findings) {
  const std::string backend = hub::backend_of(machine);
  findings.add("choice", "backend", backend + (backend == "cpu" ? "" : "; --backend cpu asks for the processor instead"));
  findings.add("choice", "variant", "torch-stable-abi*-" + backend + "-" + machine.cpu + "-" + machine.os + other_variants(backend));
  std::vector<std::pair<int64_t, std::string>> ranked;
  for (const auto &[arch, facts] : archs.items()) ranked.emplace_back(facts.at("rank").get<int64_t>(), arch);
  std::sort(ranked.begin(), ranked.end());
  bool any = false;
  for (const auto &[rank, arch] : ranked) {
    const Json &facts = archs.at(arch);
    if (facts.at("backend").get<std::string>().empty()) continue;  // never packed
    const std::string reason = hub::why_not(machine, facts.at("requires").dump());
    any |= reason.empty();
    const std::string tested = facts.at("requires").contains("rocm") ? std::string("; ") + packager::how_amd_builds_are_tested : "";
    findings.add("choice", arch, reason.empty() ? "runs here" + tested : reason);
  }
  if (!any) findings.problems.push_back("none of the builds that Lamina makes runs on this machine");
}

Json as_json(const Findings &findings) {
  Json sections = Json::object();
  for (const Findings::Row &row : findings.rows) sections[row.section].push_back({{"name", row.name}, {"value", row.value}});
  return {{"schema", "lamina/doctor/1"}, {"sections", sections}, {"problems", findings.problems}};
}

void print(const Findings &findings) {
  std::string section;
  for (const Findings::Row &row : findings.rows) {
    if (row.section != section) std::printf("%s%s\n", section.empty() ? "" : "\n", row.section.c_str());
    section = row.section;
    std::printf("  %-14s %s\n", row.name.c_str(), row.value.c_str());
  }
  std::printf("\n%s\n", findings.problems.empty() ? "nothing stands in the way" : "to mend");
  for (const std::string &problem : findings.problems) std::printf("  %s\n", problem.c_str());
}

void doctor(bool json) {
  Findings findings;
  // A problem in one place must not hide the rest.
  const auto examine = [&](auto action) {
    try {
      action();
    } catch (const Error &error) { findings.problems.push_back(error.what()); }
  };
  const hub::Machine machine = hub::this_machine();
  const Json archs = manifest::parse_json(archs_json, "the list of archs");
  examine([&] { examine_machine(machine, archs, findings); });
  examine([&] {
    const hub::Environment environment = hub::read_environment();
    examine([&] { examine_hub(environment, findings); });
    examine([&] { examine_trust(environment, findings); });
  });
  examine([&] { examine_choice(machine, archs, findings); });
  if (json) std::fputs(manifest::write_json(as_json(findings)).c_str(), stdout);
  else print(findings);
  if (!findings.problems.empty())
    throw Error(ErrorKind::failed, std::to_string(findings.problems.size()) + (findings.problems.size() == 1 ? " problem" : " problems"));
}

}  // namespace

void add_doctor(CLI::App &app) {
  auto json = std::make_shared<bool>(false);
  CLI::App *verb = app.add_subcommand(
      "doctor",
      "This machine as the resolver sees it: what its processor and GPUs are and which builds run on them, where the cache\n"
      "is and whether it can be written, which hub is asked and with whose word, which keys are trusted, and what a fetch\n"
      "would choose.  Asks nobody over the network and shows no token.  Exit code 14 if something stands in the way.\n\n"
      "  lamina doctor --json");
  verb->add_flag("--json", *json, "the same as one JSON object");
  verb->callback([json] { doctor(*json); });
}

}  // namespace lamina::cli
