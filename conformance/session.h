// What every check works with, and what it says.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "conformance/case.h"
#include "conformance/comparison.h"
#include "conformance/device.h"
#include "conformance/host_threads.h"
#include "conformance/placement.h"
#include "conformance/plugin.h"
#include "manifest/contract.h"

namespace lamina::conformance {

enum class Verdict { pass, fail, unsupported, not_taken };  // not_taken: the build's table doesn't list the dtype
const char *name_of(Verdict);

struct Result {
  std::string group;  // "case", "refusal", "property", "device"
  std::string name;   // the case's why, or the check's name
  std::string label;  // which of its kind
  Verdict verdict = Verdict::pass;
  std::string message;  // of anything but a pass
  Measures measured, limits;
  double seconds = 0;
};

// Thrown by a check; caught around it.
struct Failure {
  Verdict verdict;
  std::string message;
};
[[noreturn]] void fail(const std::string &message);

struct Job {
  std::string group, name, label;
  std::function<void(Result &)> work;  // throws Failure or lamina::Error; fills measured and limits
  int seconds_allowed = 120;
};

// A plan that destroys itself, with a host of its own.
class Plan {
 public:
  // Attributes that the op's table doesn't list are left out; `dtype` of a pack op is the case's.
  Plan(const lamina_op &, const Case &, lamina_device, const lamina_host *host, uint32_t flags = 0);
  ~Plan();
  Plan(const Plan &) = delete;
  const Outcome &created() const { return created_; }
  const lamina_plan *get() const { return plan_; }
  const lamina_op &op() const { return op_; }
  Outcome need(const lamina_call &, lamina_need &) const;
  Outcome run(const lamina_call &) const;
  Outcome infer(const lamina_call &, lamina_tensor *out) const;

 private:
  const lamina_op &op_;
  lamina_plan *plan_ = nullptr;
  Outcome created_;
};
// The lamina_attr list of a case for an op; strings point into the case.
std::vector<lamina_attr> attributes_for(const lamina_op &, const Case &);

// A case on a device, ready to run: arguments, packed weights if it wants them, plan, workspace.
struct Ready {
  std::vector<Drawn> drawn;
  std::unique_ptr<HostThreads> threads;
  std::unique_ptr<Plan> plan;
  std::unique_ptr<Buffer> packed, saved, workspace;  // saved: empty where the op has no SAVED argument or it needs no bytes
  std::unique_ptr<Placement> placement;
  lamina_need need{};
  lamina_call call{};
  void run();  // fails the check unless OK; waits for the device
  Device *device = nullptr;
};

class Session {
 public:
  Session(const std::string &build, const std::string &reference, const std::string &device_name);

  Plugin build;
  std::unique_ptr<Plugin> reference;  // NULL: checks that need no truth still run
  manifest::Contract contract;
  std::string device_name;
  lamina_device device_id{};
  int host_threads = 2;

  Device &device();  // opened at first use, in the process that uses it
  // Throws Failure(unsupported) when the build says so, Failure(fail) when anything else goes wrong.  `threads` 0: the host gives none.
  std::unique_ptr<Ready> prepare(const Plugin &, const Case &, int threads, Edge edge = Edge::back);
  // The reference's output by name; computed once for cases that differ in memory layout alone.
  const std::map<std::string, std::vector<double>> &truth(const Case &);
  // Packs the case's weights with op "pack" into fresh memory whose first content is `poison`.
  std::unique_ptr<Buffer> pack(const Plugin &, const Case &, const std::vector<Drawn> &, int threads, unsigned char poison,
                               std::string *format = nullptr);
  // The SAVED argument of a plan's call: room of the size that infer says for forward_train to write, what forward_train of the same case
  // wrote for backward to read.  Empty where it has no bytes.
  std::unique_ptr<Buffer> saved(const Plugin &, const Case &, const Plan &, Placement &, Edge edge = Edge::back);

 private:
  std::unique_ptr<Device> device_;
  std::map<std::string, std::map<std::string, std::vector<double>>> truths_;
};

// Cases that share it have the same truth: all that decides the numbers, and not where they lie.
std::string truth_key(const Case &);

// Runs a case on build and reference and compares.
void run_case(Session &, const Case &, Result &);

// The checks of each kind.  Jobs keep a reference to the session and to `list`.
void add_case_jobs(Session &, const CaseList &list, bool on_gpu, std::vector<Job> &);
void add_refusal_jobs(Session &, const CaseList &list, std::vector<Job> &);
void add_struct_jobs(Session &, const CaseList &list, std::vector<Job> &);
void add_property_jobs(Session &, const CaseList &list, std::vector<Job> &);
void add_difference_jobs(Session &, const CaseList &list, std::vector<Job> &);
void add_device_jobs(Session &, const CaseList &list, std::vector<Job> &);

}  // namespace lamina::conformance
