#include "conformance/hip_emulator/outstanding.h"

#include "conformance/hip_emulator/local_memory.h"

namespace lamina::hip_emulator {
namespace {

constexpr size_t most_vector = 63, most_local = 15;  // the counters' ends: an instruction waits where they would pass it

std::string first_common(const RegisterSet &a, const RegisterSet &b) {
  for (int i = 0; i < 640; ++i)
    if (a.has(i) && b.has(i))
      return i < 256 ? "v" + std::to_string(i) : i < 512 ? "a" + std::to_string(i - 256) : "s" + std::to_string(i - RegisterSet::scalars);
  return "";
}

void require_arrived(const RegisterSet &touched, const RegisterSet &pending, const char *counter) {
  if (touched.meets(pending))
    throw Trap(first_common(touched, pending) + " is used before an s_waitcnt " + counter + " that covers its load");
}

}  // namespace

void Outstanding::refuse(const Instruction &i) const {
  require_arrived(i.touches, from_vector_, "vmcnt");
  require_arrived(i.touches, from_local_, "lgkmcnt");
  // A load may follow a load of its kind into the same register, because they return in order.
  if (i.row->format == Format::ds) require_arrived(i.loads, from_vector_, "vmcnt");
  else require_arrived(i.loads, from_local_, "lgkmcnt");
}

void Outstanding::rebuild() {
  from_vector_ = from_local_ = {};
  for (const Access &access : vector_) from_vector_.add(access.loads);
  for (const Access &access : local_) from_local_.add(access.loads);
  pending_ = !from_vector_.empty() || !from_local_.empty();
}

void Outstanding::add_vector(const RegisterSet &loads, LocalMemory &memory, int wave) {
  if (vector_.size() >= most_vector) wait_vector(most_vector - 1, memory, wave);
  vector_.push_back({loads, false, {}});
  from_vector_.add(loads);
  pending_ = pending_ || !loads.empty();
}

void Outstanding::add_transfer(std::vector<Transfer> transfers, LocalMemory &memory, int wave) {
  add_vector({}, memory, wave);
  vector_.back().transfers = std::move(transfers);
}

void Outstanding::add_local(const RegisterSet &loads) {
  if (local_.size() >= most_local) wait_local(most_local - 1);
  local_.push_back({loads, false, {}});
  from_local_.add(loads);
  pending_ = pending_ || !loads.empty();
}

void Outstanding::add_scalar(const RegisterSet &loads) {
  local_.push_back({loads, true, {}});
  from_local_.add(loads);
  pending_ = true;
}

void Outstanding::wait_vector(size_t left, LocalMemory &memory, int wave) {
  if (vector_.size() <= left) return;
  while (vector_.size() > left) {
    for (const Transfer &transfer : vector_.front().transfers) memory.arrive(wave, transfer.address, transfer.value);
    vector_.pop_front();
  }
  rebuild();
}

void Outstanding::wait_local(size_t left) {
  if (local_.size() <= left) return;
  if (left > 0)
    for (const Access &access : local_)
      if (access.scalar) return;  // which of them have returned is not known
  while (local_.size() > left) local_.pop_front();
  rebuild();
}

void Outstanding::clear() {
  vector_.clear(), local_.clear();
  rebuild();
}

}  // namespace lamina::hip_emulator
