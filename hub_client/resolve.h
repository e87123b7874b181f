// Which variant directory of a repository a machine takes: the hub's own rules, in one table.
#pragma once
#include <optional>
#include <string>
#include <vector>

#include "hub_client/machine.h"

namespace lamina::hub {

// What the host framework is; without one, any variant for any torch will do, since a Lamina build holds no torch symbol.
struct Framework {
  std::optional<std::pair<int, int>> torch;    // 2, 13
  bool cxx11 = true;                           // of that torch
  std::optional<std::pair<int, int>> tvm_ffi;  // 0, 1
};

struct Candidate {
  std::string variant;
  std::string reason;      // why it was passed over; empty: it fits
  std::vector<int> order;  // among those that fit, the smallest is taken; then the name
};

// "cpu", "cu130", "rocm71": of this machine's first GPU and driver; NVIDIA's before AMD's.
std::string backend_of(const Machine &machine);

// Every variant with its verdict, best first.  `backend` as backend_of() gives it.  Names that are no variants are passed over with that
// reason.  ROCm must be equal beside a framework; without one, another ROCm comes after the machine's own.  Ties, which the Python library breaks by chance, go by name.  [pure]
std::vector<Candidate> resolve(const std::vector<std::string> &variants, const std::string &backend, const std::string &cpu,
                               const std::string &os, const Framework &framework);

}  // namespace lamina::hub
