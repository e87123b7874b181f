#include "conformance/hip_emulator/outstanding.h"

#include "conformance/hip_emulator/local_memory.h"

namespace lamina::hip_emulator {
namespace {

constexpr size_t most_vector = 63, most_local = 15,
                 most_followed = 64;  // the counters' ends: an instruction waits where they would pass it

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
  for (size_t i = 0; i < vector_.count; ++i) from_vector_.add(vector_[i].loads);
  for (size_t i = 0; i < local_.count; ++i) from_local_.add(local_[i].loads);
  pending_registers_ = from_vector_;
  pending_registers_.add(from_local_);
  pending_ = !pending_registers_.empty();
}

void Outstanding::add_vector(const RegisterSet &loads, LocalMemory &memory, int wave) {
  if (vector_.count >= most_vector) wait_vector(most_vector - 1, memory, wave);
  vector_.push(loads, false);
  if (loads.empty()) return;
  from_vector_.add(loads), pending_registers_.add(loads);
  pending_ = true;
}

void Outstanding::add_transfer(std::vector<Transfer> transfers, LocalMemory &memory, int wave) {
  add_vector({}, memory, wave);
  vector_[vector_.count - 1].transfers = true;
  transfers_.push_back(std::move(transfers));
}

void Outstanding::add_local(const RegisterSet &loads) {
  if (local_.count >= most_local) wait_local(most_local - 1);
  push_local(loads, false);
}

void Outstanding::add_scalar(const RegisterSet &loads) { push_local(loads, true); }

void Outstanding::push_local(const RegisterSet &loads, bool scalar) {
  if (local_.count >= most_followed) throw Trap("more scalar loads and LDS accesses under way than the emulator follows");
  local_.push(loads, scalar);
  if (loads.empty()) return;
  from_local_.add(loads), pending_registers_.add(loads);
  pending_ = true;
}

void Outstanding::wait_vector(size_t left, LocalMemory &memory, int wave) {
  if (vector_.count <= left) return;
  while (vector_.count > left) {
    if (vector_[0].transfers) {
      for (const Transfer &transfer : transfers_.front()) memory.arrive(wave, transfer.address, transfer.value);
      transfers_.pop_front();
    }
    vector_.pop();
  }
  if (pending_) rebuild();
}

void Outstanding::wait_local(size_t left) {
  if (local_.count <= left) return;
  if (left > 0)
    for (size_t i = 0; i < local_.count; ++i)
      if (local_[i].scalar) return;  // which of them have returned is not known
  while (local_.count > left) local_.pop();
  if (pending_) rebuild();
}

void Outstanding::clear() {
  vector_.count = local_.count = 0;
  transfers_.clear();
  rebuild();
}

}  // namespace lamina::hip_emulator
