// A valid call that a check may bend: copies of descriptors, so that shapes and strides can be changed one by one.
#pragma once
#include <array>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "conformance/session.h"

namespace lamina::conformance {

struct Draft {
  explicit Draft(const lamina_call &valid, const lamina_op &op);
  Draft(const Draft &) = delete;
  std::vector<lamina_tensor> tensors;  // by argument index; only those with pointers[i] count
  std::vector<std::array<int64_t, 10>> shapes, strides;
  std::vector<const lamina_tensor *> pointers;  // one more than the op has arguments
  lamina_call call;
};

struct Wanted {  // what a bent call must get
  lamina_status status = LAMINA_INVALID_ARGUMENT;
  int arg = -2, dim = -2;  // -2: not checked
  int other_arg = -2;      // also fine
};

// A case that every op can be asked with: the cheapest of the list for which no extent but the batch is below 3, in plain layout.
// NULL: the list has none that the build's table takes.
const Case *plain_case(const Session &, const CaseList &);

// The op's arguments for `base`: its own, or for PACK ops those of the case's op by name.  With packed room for PACK ops.
struct Stage {
  std::unique_ptr<HostThreads> threads;
  std::unique_ptr<Plan> plan;
  std::unique_ptr<Placement> placement;
  std::unique_ptr<Buffer> packed, saved, workspace;
  lamina_need need{};
  lamina_call call{};
};
std::unique_ptr<Stage> set_stage(Session &, const lamina_op &, const Case &base, bool packed_weights);

// Runs the bent call and fails the check unless it is refused as wanted, with a message, and leaves all memory as it was.
void expect_refusal(Session &, Stage &, Draft &, const Wanted &);

// "INVALID_ARGUMENT for argument 3, dimension 1"
std::string describe(const Wanted &);
// Fails the check unless `outcome` is as wanted.
void require_refusal(const Outcome &, const Wanted &, const std::string &step);

}  // namespace lamina::conformance
