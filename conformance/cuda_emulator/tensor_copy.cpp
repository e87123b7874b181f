// Copies between device and shared memory that run on their own: tensor copies by boxes, and cp.async.
//
// A load poisons its target when it is asked for and writes it at some later time: who overwrites what is still read, or reads too early, sees it.
#include <cstring>

#include "conformance/cuda_emulator/barrier.h"
#include "conformance/cuda_emulator/failure.h"
#include "conformance/cuda_emulator/numbers.h"
#include "conformance/fake_cuda/fake_cuda.h"

namespace lamina::cuda_emulator {
namespace {

using fake_cuda::TensorMap;
constexpr uint32_t line_bytes = 128;

struct Box {
  TensorMap map;
  uint32_t shared;
  int at[3];

  Box(const void *given, uint32_t address, const int (&where)[3], int rank) : shared(address), at{where[0], where[1], where[2]} {
    std::memcpy(&map, given, sizeof map);
    if (map.mark != TensorMap::marked) fail("a tensor copy by what is no tensor map");
    if (static_cast<int>(map.rank) != rank) fail("a tensor copy of rank %d by a map of rank %u", rank, map.rank);
    if (map.rank < 2 || map.rank > 3) fail("a tensor map of rank %u; the emulator knows 2 and 3", map.rank);
    if (map.swizzle != 128 || map.box[0] * 2 != line_bytes) fail("a tensor map without the 128-byte swizzle and lines of 64 elements");
    if (shared % 1024) fail("a box at %u of shared memory, which is no multiple of 1024", shared);
  }
  uint32_t depth() const { return map.rank > 2 ? map.box[2] : 1; }
  int bytes() const { return static_cast<int>(line_bytes * map.box[1] * depth()); }

  // The 64 elements of each line: where the first of them would lie in device memory, and [first, last) that exist.
  template <class Use>
  void each_line(Use use) const {
    uint32_t line = shared;
    for (uint32_t z = 0; z < depth(); ++z)
      for (uint32_t y = 0; y < map.box[1]; ++y, line += line_bytes) {
        const int64_t row = at[1] + static_cast<int64_t>(y), matrix = (map.rank > 2 ? at[2] : 0) + static_cast<int64_t>(z);
        const bool exists = row >= 0 && row < static_cast<int64_t>(map.elements[1]) && matrix >= 0 &&
                            (map.rank < 3 || matrix < static_cast<int64_t>(map.elements[2]));
        const int64_t before = exists && at[0] < 0 ? -static_cast<int64_t>(at[0]) : 0;
        const int64_t left = exists ? static_cast<int64_t>(map.elements[0]) - at[0] : 0;
        const int first = static_cast<int>(before < 64 ? before : 64), last = static_cast<int>(left < first ? first
                                                                                               : left < 64  ? left
                                                                                                            : 64);
        const uint64_t address = map.address + static_cast<uint64_t>(row) * map.strides[0] +
                                 (map.rank > 2 ? static_cast<uint64_t>(matrix) * map.strides[1] : 0) +
                                 static_cast<uint64_t>(static_cast<int64_t>(at[0]) * 2);
        use(reinterpret_cast<char *>(address), line, first, last);
      }
  }
};

void poison_box(Cta &cta, const Box &box) {
  cta.overwrite(box.shared, box.bytes());
  std::memset(cta.pointer(box.shared), 0xff, static_cast<size_t>(box.bytes()));
}

void load(Cta &cta, const Box &box) {
  box.each_line([&](const char *from, uint32_t line, int first, int last) {
    for (int element = 0; element < 64; ++element) {
      uint16_t value = 0;
      if (element >= first && element < last) std::memcpy(&value, from + element * 2, sizeof value);
      std::memcpy(cta.pointer(swizzled_128(line + static_cast<uint32_t>(element) * 2)), &value, sizeof value);
    }
  });
}

void store(Cta &cta, const Box &box) {
  box.each_line([&](char *to, uint32_t line, int first, int last) {
    for (int element = first; element < last; ++element)
      std::memcpy(to + element * 2, cta.pointer(swizzled_128(line + static_cast<uint32_t>(element) * 2)), 2);
  });
}

// A launch that may overlap the one before it: until griddepcontrol.wait it writes nothing, and reads nothing that the other writes.
void check_overlap(Cta &cta, const TensorMap &map, bool stores) {
  const Grid &grid = cta.cluster().grid();
  const uint64_t begin = map.address, end = map.address + map.bytes;
  if (grid.overlaps_previous && !cta.waited_for_previous) {
    if (stores) fail("a tensor store before griddepcontrol.wait, in a launch that may overlap the one before it");
    for (const auto &[from, to] : *grid.written_before)
      if (begin < to && from < end) fail("a tensor load before griddepcontrol.wait of what the launch before it writes");
  }
  if (stores) grid.written->emplace(begin, end);
}

bool stores_read(const void *what, uint64_t pending) {
  const Thread &thread = *static_cast<const Thread *>(what);
  for (size_t i = 0; i + pending < thread.store_groups.size(); ++i)
    if (*thread.store_groups[i]) return false;
  return true;
}

}  // namespace

void load_box(const void *map, void *barrier, void *to, const int (&at)[3], int rank, unsigned ranks) {
  Cta &mine = running_cta();
  const Box box(map, mine.address(to), at, rank);
  check_overlap(mine, box.map, false);
  const uint32_t full = mine.address(barrier);
  Cluster &cluster = mine.cluster();
  if (ranks >> cluster.size()) fail("a tensor load for CTAs %x of a cluster of %d", ranks, cluster.size());
  for (int target = 0; target < cluster.size(); ++target) {
    if (ranks ? !(ranks >> target & 1) : target != mine.rank()) continue;
    poison_box(cluster.cta(target), box);
    cluster.begin_transfer({[&cluster, target, box, full] {
                              Cta &cta = cluster.cta(target);
                              load(cta, box);
                              complete_bytes(cta, full, box.bytes());
                            },
                            nullptr, true});
  }
}

void store_box(const void *map, const void *from, const int (&at)[3], int rank) {
  Cta &cta = running_cta();
  const Box box(map, cta.address(from), at, rank);
  // A load brings zeros from there; a store traps on silicon.
  for (int i = 0; i < rank; ++i)
    if (at[i] < 0) fail("a tensor store of a box that begins at %d along dimension %d, before the tensor", at[i], i);
  check_overlap(cta, box.map, true);
  cta.require_published(box.shared, box.bytes(), "a tensor store");
  Thread &thread = cta.thread();
  if (!thread.open_stores) thread.open_stores = std::make_shared<int>(0);
  ++*thread.open_stores;
  cta.cluster().begin_transfer({[&cta, box] { store(cta, box); }, thread.open_stores, false});
}

void commit_stores() {
  Thread &thread = running_cta().thread();
  thread.store_groups.push_back(thread.open_stores ? std::move(thread.open_stores) : std::make_shared<int>(0));
  thread.open_stores = nullptr;
}

void wait_stores(int pending) {
  Cta &cta = running_cta();
  Thread &thread = cta.thread();
  cta.wait({stores_read, &thread, static_cast<uint64_t>(pending), "its tensor stores, but for"});
  while (thread.store_groups.size() > static_cast<size_t>(pending)) thread.store_groups.pop_front();
}

void copy_async(void *to, const void *from, bool valid) {
  Thread &thread = running_cta().thread();
  std::memset(to, 0xff, 16);
  thread.open_copies.push_back({to, from, valid});
}

void commit_copies() {
  Thread &thread = running_cta().thread();
  thread.copy_groups.push_back(std::move(thread.open_copies));
  thread.open_copies.clear();
}

// As late as allowed.
void wait_copies(int pending) {
  Thread &thread = running_cta().thread();
  for (; thread.copy_groups.size() > static_cast<size_t>(pending); thread.copy_groups.pop_front())
    for (const Thread::Copy &copy : thread.copy_groups.front()) {
      if (copy.valid) std::memcpy(copy.to, copy.from, 16);
      else std::memset(copy.to, 0, 16);
    }
}

}  // namespace lamina::cuda_emulator
