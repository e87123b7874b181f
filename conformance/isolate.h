// Runs jobs in a child process that may crash: a fault becomes that job's failure, with the memory it hit by name, and the next
// job runs in a fresh child.
#pragma once
#include <functional>
#include <vector>

#include "conformance/session.h"

namespace lamina::conformance {

// Calls `each` in this process with every job's result, in order.
void run_isolated(const std::vector<Job> &jobs, const std::function<void(const Result &)> &each);

// Runs `work` in a child.  Returns "" if it returned normally, else how it ended: its message, its signal or the time limit.
std::string run_in_child(const std::function<void()> &work, int seconds_allowed);

}  // namespace lamina::conformance
