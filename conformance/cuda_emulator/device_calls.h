// What a kernel that was compiled for the host calls in place of a GPU's instructions: the stand-ins of device/ are thin over these.
//
// Every function is called by a thread of the running CTA.  Addresses of shared memory are those of a kernel: bytes from the beginning of
// the CTA's dynamic shared memory; static shared memory may lie on either side of it.  A rule that is broken ends the launch.
#pragma once
#include <cstdint>

namespace lamina::cuda_emulator {

struct Index {
  unsigned x = 0, y = 0, z = 0;
};

// Of a warp.  Waits for its 32 lanes; all[i] is what lane i gave.
void gather(uint64_t mine, uint64_t (&all)[32]);

// bar.sync: until `threads` threads are at barrier `index` (0 to 15).
void meet(int index, int threads);

uint32_t shared_address(const void *pointer);
char *shared_pointer(uint32_t address);
// Generic writes, as far as stand-ins make them: what tensor copies and products may not read before the writer has published them.
void wrote_shared(uint32_t address, int bytes);
void publish_shared();

// mbarriers: eight bytes of shared memory.  rank -1: this CTA's, else the twin in CTA `rank` of the cluster.
void barrier_init(void *barrier, int arrivals);
void barrier_arrive(void *barrier, int rank);
void barrier_expect(void *barrier, int bytes);
void barrier_wait(const void *barrier, int parity);

// Tensor copies: `map` is 128 bytes that the stand-in driver wrote.  `ranks`: a bit for each CTA of the cluster that gets the box, 0 for the
// caller's own.
void load_box(const void *map, void *barrier, void *to, const int (&at)[3], int rank, unsigned ranks);
void store_box(const void *map, const void *from, const int (&at)[3], int rank);
void commit_stores();
void wait_stores(int pending);

// cp.async, one thread's.
void copy_async(void *to, const void *from, bool valid);
void commit_copies();
void wait_copies(int pending);

// wgmma, called by the 128 threads of a warpgroup: sums are written when the product is done, which is between its commit and the wait.
struct ProductOperands {
  bool half, add, a_along_rows, b_along_rows;
  int columns;                  // of b and the sums: a thread has columns / 2 of them
  const uint32_t *a_registers;  // null: a lies in shared memory
  uint64_t a, b;                // descriptors
};
void begin_products();
void multiply(float *sums, const ProductOperands &operands);
void commit_products();
void wait_products(int pending);

// Clusters.
int cluster_rank();
void meet_cluster();

// setmaxnreg.  Its sum over the warps is the kernels' own static_assert; here all warps of a warpgroup must agree.
void set_registers(int count, bool raise);
// griddepcontrol.
void allow_next_kernel();
void wait_for_previous_kernel();

}  // namespace lamina::cuda_emulator

extern lamina::cuda_emulator::Index threadIdx, blockIdx, blockDim, gridDim;
