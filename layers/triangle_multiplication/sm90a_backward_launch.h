// What the host does for the Hopper kernels of both backwards, of 128 and of 256 channels.
#pragma once
#include "sm90a_backward_256_kernels.h"
#include "sm90a_backward_job.h"
#include "sm90a_backward_kernels.h"
#include "sm90a_forward.h"

namespace lamina::triangle_multiplication {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum HopperBackwardIndex {
  before_hopper_backward = hopper_count - 1,
  LAMINA_HOPPER_BACKWARD_KERNELS(LAMINA_ROW) LAMINA_HOPPER_256_KERNELS(LAMINA_ROW) hopper_backward_count
};
#undef LAMINA_ROW
}  // namespace kernel

#define LAMINA_HOPPER_BACKWARD_ROWS LAMINA_HOPPER_BACKWARD_KERNELS(LAMINA_HOPPER_ROW) LAMINA_HOPPER_256_KERNELS(LAMINA_HOPPER_ROW)

namespace hopper {

// Of what forward_train keeps: a, b and o of each group of batches, behind each other.
inline int64_t saved_planes(const Problem &p, int64_t batches, int64_t per_batch) { return p.C * batches * per_batch * 2; }

// Of one group of batches.
class BackwardLaunches : protected Launches {
 protected:
  // `forward` tells where a lies in the workspace; b and o lie behind it.
  BackwardLaunches(const Gradients &g, const Plan &forward, char *workspace, const cuda::DeviceCode &code, cuda::Launcher &launcher)
      : Launches(g.p, forward.pitch, forward.per_batch, g.p.dtype == DType::float16, code, launcher),
        g_(g),
        forward_(forward),
        wanted_(g),
        workspace_(workspace) {}

  char *at(int64_t offset) const { return workspace_ + offset; }
  float *floats(int64_t offset) const { return reinterpret_cast<float *>(at(offset)); }
  const char *packed(int64_t offset) const { return workspace_ + forward_.packed + offset; }
  const float *packed_floats(int64_t offset) const { return reinterpret_cast<const float *>(packed(offset)); }
  int64_t planes() const { return p_.C * static_cast<int64_t>(positions_) * 2; }
  char *place_of_a() const { return at(forward_.a); }
  char *place_of_b() const { return at(forward_.a) + planes(); }
  char *place_of_o() const { return at(forward_.a) + 2 * planes(); }
  // Of the row of a table whose twin for fp16 lies `twin` rows behind it.
  int of_backward(int row) const {
    return row + (half_ ? kernel::hopper_contract_square_mixed_float16 - kernel::hopper_contract_square_mixed : 0);
  }

  Status map_weights(const PackedPart &part, uint64_t rows, CUtensorMap &to, Failure &failure) const {
    return map(packed(part.weight), static_cast<uint64_t>(p_.C), rows, box, 128, to, failure);
  }
  Status map_planes(const void *data, uint64_t channels, uint32_t box_channels, CUtensorMap &to, Failure &failure) const {
    return map(data, positions_, channels, box, box_channels, to, failure);
  }
  Status map_factors(const void *factors, CUtensorMap &to, Failure &failure) const {
    return map({factors, {positions_, factor_planes, 1}, positions_, 0, {box, 8, 1}, 2}, to, failure);
  }
  template <class Job>
  Status launch(int index, unsigned x, unsigned y, const LaunchShape &shape, Job &job, Failure &failure) {
    void *parameters[] = {&job};
    const bool waits = index != kernel::copy_rows_kernel;  // for the kernel before it, by itself
    return launcher_.launch({index, {x, y, 1}, shape.threads, waits}, parameters, failure);
  }
  template <class Job>
  void set_mask(Job &job) const {
    job.pair_mask = from_batch(p_.pair_mask, first_), job.token_mask = from_batch(p_.token_mask, first_);
    const View &mask = job.pair_mask;
    if (mask.present && pitch_ == p_.N && mask.stride[2] == 1 && mask.stride[1] == p_.N && (batches_ == 1 || mask.stride[0] == p_.N * p_.N))
      job.flat_mask = mask.data;
  }

  // a, b and o: those that were kept, or as the forward computes them.
  Status operands(Failure &failure) {
    if (g_.saved) {
      a_ = static_cast<const char *>(g_.saved) + 3 * saved_planes(p_, first_, per_batch_), b_ = a_ + planes(), o_ = b_ + planes();
      return Status::ok;
    }
    a_ = place_of_a(), b_ = place_of_b(), o_ = place_of_o();
    LAMINA_TRY(front(packed(0), forward_.layout, place_of_a(), failure));
    return contract(p_.settings.incoming, a_, b_, o_, failure);
  }

  // The gradients of a and of b, from that of o in o's place; b's takes b's place.
  Status contractions(char *of_a, Failure &failure) {
    const bool incoming = p_.settings.incoming;
    const char *of_o = place_of_o();
    LAMINA_TRY(incoming ? contract(false, b_, of_o, of_a, failure) : contract_mixed(of_o, b_, of_a, failure));
    return incoming ? contract_mixed(a_, of_o, place_of_b(), failure) : contract(true, of_o, a_, place_of_b(), failure);
  }

  Status residual(Failure &failure) {
    if (!g_.residual.present || g_.residual.data == g_.out.data) return Status::ok;
    CopyJob job{from_batch(g_.out, first_), from_batch(g_.residual, first_), cells(), static_cast<int>(p_.C)};
    return launch(kernel::copy_rows_kernel, 1024, 1, finish_shape, job, failure);
  }

  // From `totals` to what the caller gets.  The job comes with its blocks of totals.
  Status finish(int row, FoldedFinishJob &job, Failure &failure) {
    const PackedLayout &layout = forward_.layout;
    const Linear *linear[] = {&g_.a_projection, &g_.a_gate, &g_.b_projection, &g_.b_gate, &g_.out_gate, &g_.out_projection};
    for (int at = 0; at < 6; ++at) {
      job.item[at].weight = linear[at]->weight, job.item[at].bias = linear[at]->bias;
      job.item[at].factor = at == 1 || at == 3 ? gate_factor : 1, job.item[at].norm = at == 5;
    }
    job.norm[0] = packed_floats(layout.norm_in), job.norm[1] = packed_floats(layout.norm_out);
    job.norm_weight[0] = g_.norm_in.weight, job.norm_bias[0] = g_.norm_in.bias;
    job.norm_weight[1] = g_.norm_out.weight, job.norm_bias[1] = g_.norm_out.bias;
    return launch(row, static_cast<unsigned>(finish_columns(static_cast<int>(p_.C))), 7, finish_shape, job, failure);
  }

  const Gradients &g_;
  const Plan &forward_;
  const Wanted wanted_;
  char *workspace_;
  const char *a_ = nullptr, *b_ = nullptr, *o_ = nullptr;

 private:
  // out = left right, for every channel.
  Status contract_mixed(const char *left, const char *right, char *out, Failure &failure) {
    ContractJob job{};
    LAMINA_TRY(contract_job(left, 128, right, 64, out, job, failure));
    const int form = square(p_.N) ? kernel::hopper_contract_square_mixed : kernel::hopper_contract_wide_mixed;
    return launch(of_backward(form), contract_ctas(job), 1, contract_shape(256), job, failure);
  }
};

}  // namespace hopper
}  // namespace lamina::triangle_multiplication
