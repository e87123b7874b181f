#include "conformance/hip_emulator/reach.h"

#include <algorithm>
#include <cstdio>

namespace lamina::hip_emulator {

void Regions::add(const void *address, size_t bytes, bool writable, const char *what) {
  const u64 begin = reinterpret_cast<u64>(address);
  const std::lock_guard hold(lock_);
  by_address_[begin] = {begin, begin + bytes, writable, what};
}

bool Regions::remove(const void *address) {
  const std::lock_guard hold(lock_);
  return by_address_.erase(reinterpret_cast<u64>(address)) != 0;
}

bool Regions::holds(const void *address, size_t bytes) const {
  const u64 begin = reinterpret_cast<u64>(address);
  const std::lock_guard hold(lock_);
  auto after = by_address_.upper_bound(begin);
  return after != by_address_.begin() && bytes <= (--after)->second.end - begin && begin < after->second.end;
}

bool Regions::begins(const void *address) const {
  const std::lock_guard hold(lock_);
  return by_address_.contains(reinterpret_cast<u64>(address));
}

std::vector<Region> Regions::sorted() const {
  const std::lock_guard hold(lock_);
  std::vector<Region> all;
  for (const auto &[begin, region] : by_address_) all.push_back(region);
  return all;
}

Regions &regions() {
  static Regions *const all = new Regions;  // lives as long as any thread that may still free memory
  return *all;
}

bool Reach::covers(u64 begin, u64 end, bool writes) {
  const auto fits = [&](const Region &region) { return begin >= region.begin && end <= region.end && (!writes || region.writable); };
  for (const size_t index : last_)
    if (index < regions_.size() && fits(regions_[index])) return true;
  const auto after =
      std::upper_bound(regions_.begin(), regions_.end(), begin, [](u64 at, const Region &region) { return at < region.begin; });
  if (after == regions_.begin() || !fits(*(after - 1))) return false;
  last_[1] = last_[0];
  last_[0] = static_cast<size_t>(after - 1 - regions_.begin());
  return true;
}

void Reach::check(const u64 *address, u64 lanes, u32 bytes, bool writes) {
  u64 lowest = ~u64{0}, highest = 0;
  if (lanes == all_lanes) {
    for (int lane = 0; lane < lane_count; ++lane) {
      lowest = std::min(lowest, address[lane]);
      highest = std::max(highest, address[lane]);
    }
  } else {
    for (u64 left = lanes; left; left &= left - 1) {
      const int lane = std::countr_zero(left);
      lowest = std::min(lowest, address[lane]);
      highest = std::max(highest, address[lane]);
    }
  }
  if (!lanes || (highest + bytes > highest && covers(lowest, highest + bytes, writes))) return;
  for (u64 left = lanes; left; left &= left - 1) {
    const int lane = std::countr_zero(left);
    if (!covers(address[lane], address[lane] + bytes, writes)) refuse(address[lane], bytes, writes, lane);
  }
}

void Reach::check(u64 address, u32 bytes, bool writes) {
  if (!covers(address, address + bytes, writes)) refuse(address, bytes, writes, -1);
}

void Reach::refuse(u64 address, u32 bytes, bool writes, int lane) const {
  char text[320];
  int used = std::snprintf(text, sizeof text, "%s %u bytes at 0x%llx", writes ? "writes" : "reads", bytes,
                           static_cast<unsigned long long>(address));
  if (lane >= 0) used += std::snprintf(text + used, sizeof text - static_cast<size_t>(used), " (lane %d)", lane);
  const Region *nearest = nullptr;
  u64 distance = ~u64{0};
  for (const Region &region : regions_) {
    const u64 away = address < region.begin ? region.begin - address : address < region.end ? 0 : address - region.end;
    if (away < distance) distance = away, nearest = &region;
  }
  const size_t room = sizeof text - static_cast<size_t>(used);
  if (!nearest || distance > u64{1} << 30) std::snprintf(text + used, room, ", out of bounds: nothing is allocated near it");
  else if (distance == 0 && address + bytes <= nearest->end)
    std::snprintf(text + used, room, ", which lies in %s and must not be written", nearest->what);
  else
    std::snprintf(text + used, room, ", out of bounds: %s of %llu bytes begins at 0x%llx, that is %lld bytes before", nearest->what,
                  static_cast<unsigned long long>(nearest->end - nearest->begin), static_cast<unsigned long long>(nearest->begin),
                  static_cast<long long>(address - nearest->begin));
  throw Trap(Trap::illegal_address, text);
}

}  // namespace lamina::hip_emulator
