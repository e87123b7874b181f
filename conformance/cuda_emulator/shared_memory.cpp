// Addresses of shared memory, and the calls about products, which go to the running thread's warpgroup.
#include "conformance/cuda_emulator/cluster.h"

namespace lamina::cuda_emulator {

uint32_t shared_address(const void *pointer) { return running_cta().address(pointer); }
char *shared_pointer(uint32_t address) { return running_cta().pointer(address); }
void wrote_shared(uint32_t address, int bytes) { running_cta().write(address, bytes); }
void publish_shared() { running_cta().publish(); }

namespace {

int in_warpgroup(Cta &cta) { return static_cast<int>(cta.thread().index % 128); }

}  // namespace

void begin_products() {
  Cta &cta = running_cta();
  cta.warpgroup().fence(in_warpgroup(cta));
}

void multiply(float *sums, const ProductOperands &operands) {
  Cta &cta = running_cta();
  cta.warpgroup().issue(in_warpgroup(cta), sums, operands);
}

void commit_products() {
  Cta &cta = running_cta();
  Warpgroup &warpgroup = cta.warpgroup();
  const int thread = in_warpgroup(cta);
  warpgroup.commit(thread);
  if (cta.cluster().product_time() == ProductTime::early) warpgroup.execute_next(cta);
}

void wait_products(int pending) {
  Cta &cta = running_cta();
  Warpgroup &warpgroup = cta.warpgroup();
  const int thread = in_warpgroup(cta);
  warpgroup.read_sums(thread);
  const uint64_t committed = warpgroup.committed(thread), count = static_cast<uint64_t>(pending);
  if (committed <= count) return;
  const auto all = [](const void *what, uint64_t groups) { return static_cast<const Warpgroup *>(what)->all_committed(groups); };
  cta.wait({all, &warpgroup, committed - count, "the other threads' commits of products, up to"});
  warpgroup.execute(cta, committed - count);
}

}  // namespace lamina::cuda_emulator
