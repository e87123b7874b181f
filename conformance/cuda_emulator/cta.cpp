#include "conformance/cuda_emulator/cta.h"

#include <algorithm>
#include <cstring>
#include <map>

#include "conformance/cuda_emulator/cluster.h"
#include "conformance/cuda_emulator/failure.h"

namespace lamina::cuda_emulator {
namespace {

constexpr uint32_t most_shared_bytes = 227 * 1024;
constexpr unsigned char poison = 0xff, beyond = 0xa5;
constexpr int line_bytes = 16;

Stacks &stacks() {
  static Stacks all;
  return all;
}

}  // namespace

Cta::Cta(Cluster &cluster, int rank, Index block, unsigned threads, char *shared, uint32_t shared_bytes)
    : cluster_(cluster),
      rank_(rank),
      block_(block),
      shared_(shared),
      shared_bytes_(shared_bytes),
      alive_(threads),
      threads_(threads),
      warps_((threads + 31) / 32),
      warpgroups_((threads + 127) / 128),
      writer_(most_shared_bytes / line_bytes) {
  std::memset(shared_, poison, shared_bytes_);
  std::memset(shared_ + shared_bytes_, beyond, most_shared_bytes - shared_bytes_);
  for (unsigned i = 0; i < threads; ++i) {
    threads_[i].index = i;
    threads_[i].fiber.prepare(stacks().top(static_cast<size_t>(rank) * 1024 + i), begin, &threads_[i]);
  }
}

void Cta::begin(void *given) {
  Thread &thread = *static_cast<Thread *>(given);
  const Grid &grid = running_cta().cluster().grid();
  call_with_structure(grid.function, grid.job, grid.job_bytes);
  if (thread.open_stores) fail("a thread ends with tensor stores that it has not committed");
  thread.finished = true;
  thread.fiber.leave();
}

void Cta::resume(Thread &thread) {
  running_ = &thread;
  threadIdx = {thread.index, 0, 0};
  thread.waiting = {};
  thread.fiber.resume();
  running_ = nullptr;
  end_if_failed();
  if (thread.finished) --alive_, cluster_.thread_ends();
}

void Cta::wait(const Waiting &waiting) {
  while (!waiting.ready(waiting.what, waiting.value)) {
    Thread &thread = *running_;
    thread.waiting = waiting;
    thread.fiber.leave();
  }
}

// A warp's lanes, again and again while one can go on: most of what they wait for is each other.
bool Cta::run_warp(unsigned warp) {
  bool any = false;
  const unsigned last = std::min<unsigned>(warp * 32 + 32, static_cast<unsigned>(threads_.size()));
  for (unsigned turns = 1 + cluster_.random(16); turns; --turns) {
    bool again = false;
    for (unsigned i = warp * 32; i < last; ++i) {
      Thread &thread = threads_[i];
      if (thread.finished || (thread.waiting.ready && !thread.waiting.ready(thread.waiting.what, thread.waiting.value))) continue;
      resume(thread);
      again = any = true;
    }
    if (!again) break;
  }
  return any;
}

bool Cta::run_threads() {
  make_running(this);
  std::vector<unsigned> order(warps_.size());
  for (unsigned i = 0; i < order.size(); ++i) order[i] = i;
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[cluster_.random(static_cast<unsigned>(i))]);
  bool any = false;
  for (const unsigned warp : order) any |= run_warp(warp);
  return any;
}

void Cta::check_end() {
  for (const Warpgroup &warpgroup : warpgroups_)
    if (!warpgroup.idle()) fail("CTA %u ends with products under way", block_.x);
  for (uint32_t i = shared_bytes_; i < most_shared_bytes; ++i)
    if (static_cast<unsigned char>(shared_[i]) != beyond)
      fail("CTA %u wrote byte %u of its shared memory, which has %u", block_.x, i, shared_bytes_);
}

std::string Cta::state() const {
  std::map<std::string, int> places;
  for (const Thread &thread : threads_)
    if (!thread.finished)
      ++places["warp " + std::to_string(thread.index / 32) + " at " + thread.waiting.name + ' ' +
               (thread.waiting.what >= shared_ && thread.waiting.what < shared_ + most_shared_bytes
                    ? std::to_string(address(thread.waiting.what)) + ' '
                    : "") +
               std::to_string(thread.waiting.value)];
  std::string text;
  for (const auto &[place, count] : places)
    text += "\n  CTA " + std::to_string(block_.x) + ", " + place + ": " + std::to_string(count) + " threads";
  return text;
}

// Static shared memory lies outside; nothing is known of its size, and proxy fences are not looked for there.
bool Cta::is_static(uint32_t address) const { return address >= most_shared_bytes; }

void Cta::write(uint32_t address, int bytes) {
  if (is_static(address)) return;
  if (address + bytes > shared_bytes_) fail("a write to shared memory at %u, beyond %u bytes", address, shared_bytes_);
  for (uint32_t line = address / line_bytes; line <= (address + bytes - 1) / line_bytes; ++line) {
    writer_[line] = static_cast<uint16_t>(running_->index + 1);
    running_->written.push_back(line);
  }
}

void Cta::publish() {
  for (const uint32_t line : running_->written)
    if (writer_[line] == running_->index + 1) writer_[line] = 0;
  running_->written.clear();
}

void Cta::overwrite(uint32_t address, int bytes) {
  if (is_static(address)) return;
  if (address + bytes > shared_bytes_) fail("a tensor load writes shared memory at %u, beyond %u bytes", address, shared_bytes_);
  for (uint32_t line = address / line_bytes; line <= (address + bytes - 1) / line_bytes; ++line) writer_[line] = 0;
}

void Cta::require_published(uint32_t address, int bytes, const char *reader) const {
  if (is_static(address)) return;
  if (address + bytes > shared_bytes_) fail("%s reads shared memory at %u, beyond %u bytes", reader, address, shared_bytes_);
  for (uint32_t line = address / line_bytes; line <= (address + bytes - 1) / line_bytes; ++line)
    if (writer_[line])
      fail("%s reads byte %u of shared memory, which thread %d wrote without a fence.proxy.async since", reader, line * line_bytes,
           writer_[line] - 1);
}

}  // namespace lamina::cuda_emulator
