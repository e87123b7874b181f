#include "conformance/conform.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <set>

#include "conformance/isolate.h"
#include "manifest/error.h"

namespace lamina::conformance {
namespace {

std::string neighbour_reference(const Plugin &build) {
  const lamina_library &library = build.library();
  const std::filesystem::path name = std::string(library.name) + "-" + library.version + "-reference.so";
  const std::filesystem::path path = std::filesystem::path(build.path()).parent_path() / name;
  if (!std::filesystem::exists(path))
    throw Error(ErrorKind::not_found, "no reference build at " + path.string() + "; name one with --against");
  return path.string();
}

std::string device_for(const std::string &target) {
  if (target.rfind("cuda_", 0) == 0) return "cuda:0";
  if (target.rfind("hip_", 0) == 0) return "rocm:0";
  return "cpu";
}

// A plan with the defaults: can this machine run the build at all?
void require_machine(const Session &session) {
  const lamina_op &op = *session.build.library().ops[0];
  Outcome created;
  const std::string ending = run_in_child(
      [&] {
        const Plan plan(op, Case{}, session.device_id, nullptr);
        if (plan.created().status == LAMINA_UNSUPPORTED) throw Failure{Verdict::unsupported, "unsupported: " + plan.created().message};
      },
      120);
  if (ending.rfind("unsupported: ", 0) == 0)
    throw Error(ErrorKind::unsupported, session.build.path() + " can't run here: " + ending.substr(13));
}

// In a child, since a process that has used a GPU cannot be forked; empty where the device does not open, which the checks then say.
std::string device_name_of(Session &session) {
  std::string name;
  const Job ask{"device", "name", "", [&](Result &) { throw Failure{Verdict::pass, session.device().name()}; }};
  run_isolated({ask}, [&](const Result &result) { name = result.verdict == Verdict::pass ? result.message : ""; });
  return name;
}

struct Progress {
  FILE *out;
  size_t total;
  bool verbose, terminal;
  size_t done = 0;

  void operator()(const Result &result) {
    ++done;
    if (terminal) fprintf(out, "\r\033[K");
    if (verbose || result.verdict == Verdict::fail) {
      fprintf(out, "%-11s %s %s%s%s", name_of(result.verdict), result.group.c_str(), result.name.c_str(), result.label.empty() ? "" : ": ",
              result.label.c_str());
      if (result.measured.frobenius > 0)
        fprintf(out, "  [%.2e, row %.2e, element %.2e]", result.measured.frobenius, result.measured.worst_row,
                result.measured.worst_element);
      fprintf(out, "\n");
      if (!result.message.empty()) fprintf(out, "            %s\n", result.message.c_str());
    }
    if (terminal) fprintf(out, "%zu / %zu  %s %s %.60s", done, total, result.group.c_str(), result.name.c_str(), result.label.c_str());
    if (terminal && done == total) fprintf(out, "\r\033[K");
    fflush(out);
  }
};

}  // namespace

int Summary::count(Verdict verdict) const {
  int count = 0;
  for (const Result &result : results) count += result.verdict == verdict;
  return count;
}

bool Summary::passed(bool require_all) const {
  if (count(Verdict::fail) || count(Verdict::pass) == 0) return false;
  return !require_all || (count(Verdict::unsupported) == 0 && count(Verdict::not_taken) == 0);
}

double reference_work(const manifest::Contract &contract, const CaseList &list) {
  std::set<std::string> seen;
  double flop = 0;
  for (const Case &one : list.cases)
    if (!one.on_gpu_only && !one.expect && seen.insert(truth_key(one)).second) flop += contract.flops(one.op, one.dims);
  return flop / 1e9;
}

// Leaves cases of other ops out, where the build says that it has these and no more.
void keep_ops(const std::vector<std::string> &ops, const Plugin &build, CaseList &list, FILE *out) {
  if (ops.empty()) return;
  for (const std::string &name : ops)
    if (!build.op(name)) throw Error(ErrorKind::not_found, build.path() + " has no op '" + name + "', which --ops names");
  if (const size_t has = build.library().op_count; has != ops.size())
    throw Error(ErrorKind::failed, build.path() + " has " + std::to_string(has) + " ops, --ops names " + std::to_string(ops.size()));
  const size_t left_out =
      std::erase_if(list.cases, [&](const Case &one) { return std::find(ops.begin(), ops.end(), one.op) == ops.end(); });
  fprintf(out, "%zu cases of ops that this build does not have are left out\n", left_out);
}

Summary conform(const Options &options, FILE *out) {
  const auto start = std::chrono::steady_clock::now();
  const Plugin probe(options.build);
  const std::string device = options.device.empty() ? device_for(probe.library().target) : options.device;
  Session session(options.build, options.reference.empty() ? neighbour_reference(probe) : options.reference, device);
  CaseList list = read_cases(options.cases.empty() ? "layers/" + std::string(probe.library().name) + "/cases.json" : options.cases);
  if (list.layer != probe.library().name)
    throw Error(ErrorKind::invalid_argument,
                "the cases are of layer '" + list.layer + "', " + options.build + " is of '" + probe.library().name + "'");
  keep_ops(options.ops, probe, list, out);
  Summary summary{
      options.build, probe.library().target, probe.library().build_id, session.reference->library().build_id, device, "", {}, 0, 0};
  if (!options.list_only) summary.device_name = device_name_of(session);
  summary.reference_gflop = reference_work(session.contract, list);
  const bool on_gpu = session.device_id.type != LAMINA_CPU;
  const auto for_gpus = std::count_if(list.cases.begin(), list.cases.end(), [](const Case &one) { return one.on_gpu_only; });
  fprintf(out,
          "%s %s, build %s, on %s\n%zu cases, %ld of them large and run on GPUs alone%s; the others cost the reference %.1f GFLOP (limit "
          "%.0f)\n",
          probe.library().name, probe.library().target, probe.library().build_id,
          (device + (summary.device_name.empty() || summary.device_name == device ? "" : " (" + summary.device_name + ")")).c_str(),
          list.cases.size(), static_cast<long>(for_gpus), on_gpu || !for_gpus ? "" : ", so not here", summary.reference_gflop,
          options.reference_gflop);
  fflush(out);
  if (summary.reference_gflop > options.reference_gflop)
    throw Error(ErrorKind::failed, "the cases cost the reference " + std::to_string(summary.reference_gflop) +
                                       " GFLOP, more than the limit of " + std::to_string(options.reference_gflop) +
                                       "; mark large ones \"where\": \"gpu\"");
  std::vector<Job> all, jobs;
  add_case_jobs(session, list, on_gpu, all);
  add_refusal_jobs(session, list, all);
  add_struct_jobs(session, list, all);
  add_property_jobs(session, list, all);
  add_difference_jobs(session, list, all);
  add_device_jobs(session, list, all);
  size_t left_out = 0;
  for (Job &job : all) {
    const std::string name = job.group + " " + job.name + " " + job.label;
    if (name.find(options.filter) == std::string::npos) continue;
    if (!options.without.empty() && name.find(options.without) != std::string::npos) ++left_out;
    else jobs.push_back(std::move(job));
  }
  if (jobs.empty()) throw Error(ErrorKind::invalid_argument, "no check contains '" + options.filter + "'; --list prints them");
  if (!options.without.empty()) {
    if (!left_out)
      throw Error(ErrorKind::invalid_argument,
                  "no check contains '" + options.without + "', which --without leaves out; --list prints them");
    fprintf(out, "%zu checks with '%s' are left out\n", left_out, options.without.c_str());
  }
  if (options.list_only) {
    for (const Job &job : jobs)
      fprintf(out, "%s %s%s%s\n", job.group.c_str(), job.name.c_str(), job.label.empty() ? "" : ": ", job.label.c_str());
    return summary;
  }
  require_machine(session);
  Progress progress{out, jobs.size(), options.verbose, isatty(fileno(out)) != 0};
  run_isolated(jobs, [&](const Result &result) {
    progress(result);
    summary.results.push_back(result);
  });
  summary.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  print_table(summary, out);
  if (!options.report.empty()) write_report(summary, options.report);
  return summary;
}

}  // namespace lamina::conformance
