#include "hub_client/resolve.h"

#include <algorithm>
#include <regex>
#include <tuple>

namespace lamina::hub {
namespace {

// "cu130" is 13.0, "rocm71" 7.1: the last digit is the minor.
struct Backend {
  std::string kind;  // "cpu", "cu", "rocm", "xpu", "cann", "metal", ...
  int major = 0, minor = 0;
};
Backend parse_backend(const std::string &text) {
  static const std::regex pattern("^(cu|rocm|xpu|cann)([0-9]{2,6})$");
  std::smatch match;
  if (!std::regex_match(text, match, pattern)) return {text, 0, 0};
  const int number = std::stoi(match[2]);
  return {match[1], number / 10, number % 10};
}

// Outside of torch any ROCm will do: a Lamina build finds the machine's runtime by name and takes each from ROCm 5 on.
bool any_rocm(const Backend &want, const Backend &offer, const Framework &framework) {
  return want.kind == "rocm" && offer.kind == "rocm" && !framework.torch && !framework.tvm_ffi;
}

std::string backend_problem(const std::string &wanted, const std::string &offered, const Framework &framework) {
  const Backend want = parse_backend(wanted), offer = parse_backend(offered);
  if (want.kind == "cu" && offer.kind == "cu") {
    if (want.major != offer.major) return "CUDA major " + std::to_string(offer.major) + ", this machine has " + std::to_string(want.major);
    if (offer.minor > want.minor)
      return "CUDA " + std::to_string(offer.major) + "." + std::to_string(offer.minor) + " is newer than this machine's";
    return "";
  }
  return wanted == offered || any_rocm(want, offer, framework) ? "" : "backend " + offered + ", wanted " + wanted;
}

std::string dotted(const std::pair<int, int> &version) { return std::to_string(version.first) + "." + std::to_string(version.second); }
std::pair<int, int> one_digit_major(const std::string &digits) {
  return {digits[0] - '0', digits.size() > 1 ? std::stoi(digits.substr(1)) : 0};
}

struct Parsed {
  enum class Kind { stable, torch, tvm_ffi, noarch, none } kind = Kind::none;
  std::pair<int, int> version{};
  std::string tag, backend, cpu, os;
};

Parsed parse(const std::string &name) {
  static const std::regex stable("^torch-stable-abi([0-9]{2,4})-([a-z]+[0-9]*)-([a-z0-9_]+)-(linux|darwin|windows)$");
  static const std::regex torch("^torch([0-9]{2,4})(-(cxx11|cxx98))?-([a-z]+[0-9]*)-([a-z0-9_]+)-(linux|darwin|windows)$");
  static const std::regex tvm("^tvm-ffi([0-9]{2,4})-([a-z]+[0-9]*)-([a-z0-9_]+)-(linux|darwin|windows)$");
  static const std::regex noarch("^torch-(cuda|cpu|rocm|xpu|npu|metal|neuron|tpu|universal)$");
  std::smatch m;
  using Kind = Parsed::Kind;
  if (std::regex_match(name, m, stable)) return {Kind::stable, one_digit_major(m[1]), "", m[2], m[3], m[4]};
  if (std::regex_match(name, m, torch)) return {Kind::torch, one_digit_major(m[1]), m[3], m[4], m[5], m[6]};
  if (std::regex_match(name, m, tvm)) return {Kind::tvm_ffi, one_digit_major(m[1]), "", m[2], m[3], m[4]};
  if (std::regex_match(name, m, noarch)) return {Kind::noarch, {}, "", m[1], "", ""};
  return {};
}

std::string noarch_name(const std::string &backend) {
  const std::string kind = parse_backend(backend).kind;
  return kind == "cu" ? "cuda" : kind == "cann" ? "npu" : kind;
}

std::string framework_problem(const Parsed &name, const Framework &framework) {
  using Kind = Parsed::Kind;
  if (name.kind == Kind::stable)
    return framework.torch && name.version > *framework.torch ? "torch ABI " + dotted(name.version) + " is too new" : "";
  if (name.kind == Kind::torch) {
    if (!framework.torch) return "for one torch alone";
    if (name.version != *framework.torch) return "for torch " + dotted(name.version);
    if (!name.tag.empty() && (name.tag == "cxx11") != framework.cxx11) return "C++ ABI " + name.tag;
    return "";
  }
  if (name.kind == Kind::tvm_ffi)
    return framework.tvm_ffi && *framework.tvm_ffi == name.version ? "" : "for tvm-ffi " + dotted(name.version);
  return framework.torch ? "" : "for torch";
}

// The sort key of the Python library: framework, then versions, then the newest backend first.
std::vector<int> order_of(const Parsed &name) {
  using Kind = Parsed::Kind;
  const int minor = parse_backend(name.backend).minor;
  if (name.kind == Kind::stable) return {0, -name.version.first, -name.version.second, -minor};
  if (name.kind == Kind::torch) return {1, 0, name.tag.empty() ? 0 : 1, -minor};
  if (name.kind == Kind::tvm_ffi) return {2, 0, 0, -minor};
  return {2, 0, 0, name.backend == "universal" ? 1 : 0};
}

}  // namespace

std::string backend_of(const Machine &machine) {
  if ((machine.cuda.empty() || !machine.cuda_driver) && !machine.rocm.devices.empty() && machine.rocm.major)
    return "rocm" + std::to_string(machine.rocm.major) + std::to_string(machine.rocm.minor);
  if (machine.cuda.empty() || !machine.cuda_driver) return "cpu";
  return "cu" + std::to_string(machine.cuda_driver / 1000) + std::to_string(machine.cuda_driver % 1000 / 10);
}

std::vector<Candidate> resolve(const std::vector<std::string> &variants, const std::string &backend, const std::string &cpu,
                               const std::string &os, const Framework &framework) {
  std::vector<Candidate> candidates;
  for (const std::string &variant : variants) {
    const Parsed name = parse(variant);
    Candidate candidate{variant, "", {}};
    if (name.kind == Parsed::Kind::none) candidate.reason = "not the name of a variant";
    else if (name.kind == Parsed::Kind::noarch) {
      candidate.reason = framework_problem(name, framework);
      if (candidate.reason.empty() && name.backend != "universal" && name.backend != noarch_name(backend))
        candidate.reason = "backend " + name.backend + ", wanted " + noarch_name(backend);
    } else if (name.cpu != cpu) candidate.reason = "for " + name.cpu + ", this is " + cpu;
    else if (name.os != os) candidate.reason = "for " + name.os + ", this is " + os;
    else if (const std::string problem = framework_problem(name, framework); !problem.empty()) candidate.reason = problem;
    else candidate.reason = backend_problem(backend, name.backend, framework);
    if (candidate.reason.empty()) {
      candidate.order = order_of(name);
      const bool other_rocm = name.backend != backend && any_rocm(parse_backend(backend), parse_backend(name.backend), framework);
      candidate.order.insert(candidate.order.begin(), other_rocm);
    }
    candidates.push_back(candidate);
  }
  std::sort(candidates.begin(), candidates.end(), [](const Candidate &a, const Candidate &b) {
    return std::tuple(!a.reason.empty(), a.order, a.variant) < std::tuple(!b.reason.empty(), b.order, b.variant);
  });
  return candidates;
}

}  // namespace lamina::hub
