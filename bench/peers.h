// Other people's implementations of a layer, timed in a process of their own.
#pragma once
#include "bench/bench.h"

namespace lamina::bench {

// Runs `script` by `python` for this setting.  Its environment keeps the heap between calls and holds oneDNN to the instructions that our
// builds use.  processor_time: as Home has it.  Errors: failed, with the last line that the script wrote.
std::vector<Peer> run_peers(const std::string &python, const std::string &script, const std::string &layer, const Setting &setting,
                            int threads, bool processor_time = false);

}  // namespace lamina::bench
