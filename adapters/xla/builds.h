// The plug-ins that this process has loaded, with the plans of their ops.  Nothing is ever unloaded.
#pragma once
#include "adapters/common/plans.h"

namespace lamina::xla {

using adapters::fail;
using adapters::Failure;
using adapters::Mistake;

struct Operation {
  const lamina_op *op;
  adapters::PlanCache plans;
};

// Op `name` of the plug-in at `path`, which must have this build id.  Strings are spans without a NUL.  NULL after a failure.  The first call
// for a path opens it (dlopen: the only file that this adapter reads).  [thread-safe]
Operation *find_operation(const char *path, size_t path_size, const char *build_id, size_t build_id_size, const char *name,
                          size_t name_size, Failure &failure);

}  // namespace lamina::xla
