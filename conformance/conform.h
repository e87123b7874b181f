// `lamina conform` as a library call: puts a build through everything conformance knows.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include "conformance/session.h"

namespace lamina::conformance {

struct Options {
  std::string build;             // the .so under test
  std::string reference;         // the .so that is right; empty: the build's neighbour <layer>-<version>-reference.so
  std::string cases;             // cases.json; empty: layers/<layer>/cases.json below the working directory
  std::string device;            // "cpu", "cuda:0"; empty: by the build's target
  std::string filter;            // only checks whose "group name label" contains it
  std::vector<std::string> ops;  // the ops that the build is said to have: cases of others are left out; empty: all cases
  std::string without;           // none whose "group name label" contains it; empty: all
  std::string report;            // file for the results as JSON; empty: none
  double reference_gflop = 20;   // more work than this for the reference is an error (cases marked "gpu" don't count)
  bool require_all = false;      // UNSUPPORTED and dtypes not in the table fail too
  bool list_only = false;        // print the checks, run none
  bool verbose = false;          // a line for every check, not only for those that fail
};

struct Summary {
  std::string build, target, build_id, reference_id, device, device_name;  // device_name: "cpu", or the GPU's and its runtime's
  std::vector<Result> results;
  double reference_gflop = 0, seconds = 0;
  int count(Verdict) const;
  bool passed(bool require_all) const;
};

// Progress and the summary table go to `out`.  Throws lamina::Error: unsupported when this machine can't run the build at all,
// failed never (the caller decides from Summary::passed).
Summary conform(const Options &, FILE *out);

// What the reference computes for these cases, in GFLOP; cases that share a truth count once.
double reference_work(const manifest::Contract &, const CaseList &);

void print_table(const Summary &, FILE *out);
void write_report(const Summary &, const std::string &path);  // atomically

}  // namespace lamina::conformance
