// The results for people (a table) and for machines (JSON).
#include <map>
#include <set>

#include "conformance/conform.h"
#include "manifest/json.h"

namespace lamina::conformance {
namespace {

struct Line {
  int counts[4] = {};
  double seconds = 0;
  double share = 0;  // the largest part of a limit that was used
  Measures worst;
};

double share_of(double measured, double limit) { return limit > 0 ? measured / limit : 0; }

}  // namespace

void print_table(const Summary &summary, FILE *out) {
  std::vector<std::pair<std::string, Line>> lines;
  std::map<std::string, size_t> at;
  for (const Result &result : summary.results) {
    const std::string key = result.group + " " + result.name;
    if (!at.count(key)) at[key] = lines.size(), lines.push_back({key, {}});
    Line &line = lines[at[key]].second;
    ++line.counts[static_cast<size_t>(result.verdict)];
    line.seconds += result.seconds;
    const double share = std::max({share_of(result.measured.frobenius, result.limits.frobenius),
                                   share_of(result.measured.worst_row, result.limits.worst_row),
                                   share_of(result.measured.worst_element, result.limits.worst_element)});
    if (share >= line.share) line.share = share, line.worst = result.measured;
  }
  fprintf(out, "\n%-42s %5s %5s %5s %5s  %8s  %9s %9s %9s  %s\n", "check", "pass", "fail", "unsup", "other", "seconds", "frobenius", "row",
          "element", "of limit");
  for (const auto &[name, line] : lines) {
    fprintf(out, "%-42s %5d %5d %5d %5d  %8.2f", name.c_str(), line.counts[0], line.counts[1], line.counts[2], line.counts[3],
            line.seconds);
    if (line.share > 0)
      fprintf(out, "  %9.2e %9.2e %9.2e  %3.0f %%", line.worst.frobenius, line.worst.worst_row, line.worst.worst_element, 100 * line.share);
    fprintf(out, "\n");
  }
  std::set<std::string> reasons;
  for (const Result &result : summary.results)
    if (result.verdict == Verdict::unsupported || result.verdict == Verdict::not_taken)
      if (reasons.insert(result.message).second && reasons.size() <= 10)
        fprintf(out, "%s: %s\n", name_of(result.verdict), result.message.c_str());
  fprintf(out, "%d passed, %d failed, %d unsupported, %d of dtypes that the build doesn't take; %.1f s\n", summary.count(Verdict::pass),
          summary.count(Verdict::fail), summary.count(Verdict::unsupported), summary.count(Verdict::not_taken), summary.seconds);
  fflush(out);
}

void write_report(const Summary &summary, const std::string &path) {
  manifest::Json results = manifest::Json::array();
  const auto measures = [](const Measures &m) {
    return manifest::Json{{"frobenius", m.frobenius}, {"worst_row", m.worst_row}, {"worst_element", m.worst_element}};
  };
  for (const Result &result : summary.results) {
    manifest::Json one{{"group", result.group},
                       {"name", result.name},
                       {"label", result.label},
                       {"verdict", name_of(result.verdict)},
                       {"seconds", result.seconds}};
    if (!result.message.empty()) one["message"] = result.message;
    if (result.limits.frobenius > 0) one["measured"] = measures(result.measured), one["limits"] = measures(result.limits);
    results.push_back(std::move(one));
  }
  const manifest::Json report{{"schema", "lamina/conformance/1"},
                              {"build", summary.build},
                              {"target", summary.target},
                              {"build_id", summary.build_id},
                              {"reference_id", summary.reference_id},
                              {"device", summary.device},
                              {"device_name", summary.device_name},
                              {"reference_gflop", summary.reference_gflop},
                              {"seconds", summary.seconds},
                              {"passed", summary.count(Verdict::pass)},
                              {"failed", summary.count(Verdict::fail)},
                              {"unsupported", summary.count(Verdict::unsupported)},
                              {"not_taken", summary.count(Verdict::not_taken)},
                              {"results", results}};
  manifest::write_file_atomically(path, manifest::write_json(report));
}

}  // namespace lamina::conformance
