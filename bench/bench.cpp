#include "bench/bench.h"

#include <sched.h>

#include <algorithm>
#include <filesystem>
#include <memory>
#include <sstream>

#include "bench/peaks.h"
#include "bench/peers.h"
#include "manifest/contract.h"
#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::bench {
namespace {

std::pair<std::string, std::string> pair_of(const std::string &text, const char *option) {
  const size_t equals = text.find('=');
  if (equals == 0 || equals == std::string::npos || equals + 1 == text.size())
    throw Error(ErrorKind::invalid_argument, std::string(option) + " '" + text + "': expected NAME=VALUE");
  return {text.substr(0, equals), text.substr(equals + 1)};
}

std::map<std::string, int64_t> dims_of(const std::string &text) {
  std::map<std::string, int64_t> dims;
  std::istringstream parts(text);
  for (std::string part; std::getline(parts, part, ',');) {
    const auto [letter, number] = pair_of(part, "--dims");
    char *end = nullptr;
    const int64_t value = std::strtoll(number.c_str(), &end, 10);
    if (*end || value < 1 || value > 1000000) throw Error(ErrorKind::invalid_argument, "--dims '" + text + "': " + part + " is no extent");
    dims[letter] = value;
  }
  return dims;
}

std::vector<std::string> given_by_default(const std::string &layer) {
  const std::filesystem::path file = "layers/" + layer + "/cases.json";
  if (!std::filesystem::exists(file)) return {};
  const manifest::Json cases = manifest::read_json(file);
  std::vector<std::string> given;
  if (cases.contains("defaults") && cases["defaults"].contains("given"))
    for (const manifest::Json &name : cases["defaults"]["given"]) given.push_back(name.get<std::string>());
  return given;
}

void print(const Row &row, FILE *out) {
  std::fprintf(out, "%-11s %-9s %-32s %9.3f ms (median %.3f)", row.target.c_str(), row.dtype.c_str(), row.dims.c_str(), row.milliseconds,
               row.median_milliseconds);
  const double rate = row.flops / row.milliseconds * 1e3;
  if (row.flops > 0) std::fprintf(out, "  %7.1f GFLOP/s", rate * 1e-9);
  if (row.peak > 0) std::fprintf(out, "  %4.1f %% of %.0f", 100 * rate / row.peak, row.peak * 1e-9);
  std::fprintf(out, "  extra memory %.2f U", row.workspace_units);
  for (const Peer &peer : row.peers)
    std::fprintf(out, "  %s %.1f ms = %.2fx", peer.name.c_str(), peer.milliseconds, peer.milliseconds / row.milliseconds);
  std::fprintf(out, "\n");
  std::fflush(out);
}

}  // namespace

// The plug-in, the peaks and the peers all size themselves by the processors they may use.
int bind_threads(int wanted) {
  cpu_set_t allowed, chosen;
  if (sched_getaffinity(0, sizeof allowed, &allowed)) throw Error(ErrorKind::internal, "the processors of this process cannot be listed");
  const int available = CPU_COUNT(&allowed);
  if (wanted < 0 || wanted > available)
    throw Error(ErrorKind::invalid_argument,
                "--threads is " + std::to_string(wanted) + ", this process may use " + std::to_string(available) + " processors");
  if (!wanted) return available;
  CPU_ZERO(&chosen);
  for (int cpu = 0, taken = 0; cpu < CPU_SETSIZE && taken < wanted; ++cpu)
    if (CPU_ISSET(cpu, &allowed)) CPU_SET(cpu, &chosen), ++taken;
  if (sched_setaffinity(0, sizeof chosen, &chosen)) throw Error(ErrorKind::internal, "binding to the processors failed");
  return wanted;
}

std::string text_of(const std::map<std::string, int64_t> &dims) {
  std::string text;
  for (const auto &[letter, value] : dims) text += (text.empty() ? "" : ",") + letter + "=" + std::to_string(value);
  return text;
}

Row measure(const lamina_library &library, const Setting &setting, const Options &options, int threads) {
  const manifest::Contract contract = manifest::parse_contract({library.contract, static_cast<size_t>(library.contract_size)},
                                                               "the contract of " + std::string(library.name));
  Row row{library.target, setting.dtype, text_of(setting.dims), 0, 0, 0, 0, 0, {}};
  Instruction instruction;
  const bool has_peak = instruction_of(library.target, setting.dtype, instruction);
  std::vector<std::unique_ptr<Subject>> subjects;
  uint64_t most = 0;
  for (const char *op :
       setting.op == "training" ? std::vector<const char *>{"forward_train", "backward"} : std::vector{setting.op.c_str()}) {
    Setting own = setting;
    own.op = op;
    if (own.op == "backward" && options.given.empty()) own.given.push_back("*_gradient");
    subjects.push_back(std::make_unique<Subject>(library, own, options.home));
    row.flops += contract.flops(op, setting.dims);
    most = std::max(most, subjects.back()->workspace_bytes() + subjects.back()->saved_bytes());
  }
  std::vector<double> times;
  // Neighbours take time from this machine in stretches: peak and layer are measured in turns, and the best of each counts.
  for (int turn = 0; turn < 3; ++turn) {
    if (has_peak) row.peak = std::max(row.peak, measure_peak(instruction, threads));
    const std::vector<double> more = time_together(subjects, options.home, 3, options.seconds / 3);
    times.insert(times.end(), more.begin(), more.end());
    if (turn == 1 && !options.torch.empty())
      row.peers = run_peers(options.torch, options.peers, library.name, setting, threads, options.home.processor_time);
  }
  std::sort(times.begin(), times.end());
  row.milliseconds = times.front() * 1e3, row.median_milliseconds = times[times.size() / 2] * 1e3;
  row.workspace_units = static_cast<double>(most) / static_cast<double>(subjects.front()->output_bytes());
  return row;
}

std::vector<Row> bench(const Options &options, FILE *out) {
  const int threads = bind_threads(options.threads);
  std::vector<Row> rows;
  if (options.home_name.empty()) std::fprintf(out, "%s, %d threads\n", processor_model().c_str(), threads);
  else std::fprintf(out, "%s\n", options.home_name.c_str());
  for (const std::string &build : options.builds) {
    const lamina_library &library = open_plugin(build);
    if (!options.home_name.empty())
      std::fprintf(out, "%s %s %s, build %s\n", library.name, library.version, library.target, library.build_id);
    for (const std::string &dims : options.dims)
      for (const std::string &dtype : options.dtypes) {
        Setting setting;
        setting.op = options.op, setting.dtype = dtype, setting.dims = dims_of(dims);
        setting.given = options.given.empty() ? given_by_default(library.name) : options.given;
        for (const std::string &text : options.attributes) setting.attributes.insert(pair_of(text, "--attribute"));
        complete_dims(library, setting);
        rows.push_back(measure(library, setting, options, threads));
        print(rows.back(), out);
      }
  }
  return rows;
}

}  // namespace lamina::bench
