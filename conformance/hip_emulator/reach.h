// The memory that device code may touch, to the byte.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "conformance/hip_emulator/types.h"

namespace lamina::hip_emulator {

struct Region {
  u64 begin, end;
  bool writable;
  const char *what;  // "an allocation", "the kernel's arguments", "the code object"
};

// All regions of the process.  Any thread.
class Regions {
 public:
  void add(const void *address, size_t bytes, bool writable, const char *what);
  bool remove(const void *address);  // false: none begins there
  // Whether the bytes lie within one region.
  bool holds(const void *address, size_t bytes) const;
  bool begins(const void *address) const;
  std::vector<Region> sorted() const;

 private:
  mutable std::mutex lock_;
  std::map<u64, Region> by_address_;
};
Regions &regions();

// One thread's view of them while a kernel runs.
class Reach {
 public:
  explicit Reach(std::vector<Region> sorted) : regions_(std::move(sorted)) {}
  // Throws Trap where bytes at lane's address, for each of `lanes`, do not lie within one region, or are to be written and must not be.
  void check(const u64 *address, u64 lanes, u32 bytes, bool writes);
  void check(u64 address, u32 bytes, bool writes);

 private:
  bool covers(u64 begin, u64 end, bool writes);
  [[noreturn]] void refuse(u64 address, u32 bytes, bool writes, int lane) const;
  std::vector<Region> regions_;
  size_t last_[2] = {};  // where the latest accesses were found
};

}  // namespace lamina::hip_emulator
