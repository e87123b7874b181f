// The host half of the backward by portable kernels: its launches, one group of batches after the other.
#pragma once
#include "cuda_backward_kernels.h"
#include "cuda_backward_plan.h"
#include "cuda_forward.h"

namespace lamina::triangle_multiplication {

namespace kernel {
#define LAMINA_ROW(name, ...) name,
enum BackwardIndex {
  before_backward = portable_count - 1,
  LAMINA_PRODUCT_KERNELS(LAMINA_ROW) LAMINA_TURNING_KERNELS(LAMINA_ROW) LAMINA_PLANE_KERNELS(LAMINA_ROW) LAMINA_PLAIN_KERNELS(LAMINA_ROW)
      backward_count
};
#undef LAMINA_ROW
}  // namespace kernel

// clang-format off
#define LAMINA_PRODUCT_ROW(name, ...) {#name, product_bytes},
#define LAMINA_PLANE_ROW(name, ...) {#name, channel_sums_bytes},
#define LAMINA_BACKWARD_ROWS                  \
  LAMINA_PRODUCT_KERNELS(LAMINA_PRODUCT_ROW)  \
  LAMINA_TURNING_KERNELS(LAMINA_SHAPED_ROW)   \
  LAMINA_PLANE_KERNELS(LAMINA_PLANE_ROW)      \
  LAMINA_PLAIN_KERNELS(LAMINA_TABLE_ROW)
// clang-format on

class BackwardGroup {
 public:
  BackwardGroup(const Gradients &g, const BackwardPlan &plan, char *workspace, cuda::Launcher &launcher)
      : g_(g), p_(g.p), plan_(plan), wanted_(g), workspace_(workspace), launcher_(launcher) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    first_ = first, batches_ = batches, cells_ = batches * plan_.per_batch;
    LAMINA_TRY(recompute(failure));
    LAMINA_TRY(output(failure));
    LAMINA_TRY(residual(failure));
    if (wanted_.norm_out) LAMINA_TRY(norm_out(failure));
    if (!wanted_.operands) return Status::ok;
    LAMINA_TRY(contractions(failure));
    return front(failure);
  }

  // Gradients of the parameters, once all groups have run.
  Status finish(Failure &failure) {
    FinishJob job{};
    int count = 0;
    const int C = static_cast<int>(p_.C), H = static_cast<int>(p_.H), G = static_cast<int>(p_.gate_width());
    const auto add = [&](const View &out, int64_t partial, int64_t parts, int rows_of_part, int rows, int columns, int from = 0,
                         int group = 0, float factor = 1) {
      if (out.present)
        job.item[count++] = {out,
                             floats(partial),
                             static_cast<int64_t>(rows_of_part) * columns,
                             static_cast<int>(p_.B && p_.N ? parts : 0),
                             rows,
                             columns,
                             from,
                             group,
                             factor};
    };
    const auto norm = [&](const Norm &out, int64_t partial, int channels) {
      add(out.weight, partial, plan_.norm_blocks, 2 * channels, channels, 1);
      add(out.bias, partial, plan_.norm_blocks, 2 * channels, channels, 1, channels);
    };
    const auto linear = [&](const Linear &out, int64_t weights, const Splits &splits, int64_t biases, int all, int rows, int columns,
                            int from, int group, float factor) {
      add(out.weight, weights, splits.count, all, rows, columns, from, group, factor);
      add(out.bias, biases, plan_.bias.count, all, rows, 1, from, group, factor);
    };
    const auto operand = [&](const Linear &out, int from, float factor) {
      linear(out, plan_.front_sums, plan_.front, plan_.front_biases, 4 * H, H, C, from, 1, factor);
    };
    norm(g_.norm_in, plan_.norm_in_sums, C), norm(g_.norm_out, plan_.norm_out_sums, H);
    operand(g_.a_projection, 0, 1), operand(g_.a_gate, 8, gate_factor);
    operand(g_.b_projection, 2 * H, 1), operand(g_.b_gate, 2 * H + 8, gate_factor);
    linear(g_.out_projection, plan_.out_sums, plan_.out, plan_.out_biases, C, C, H, 0, 0, 1);
    linear(g_.out_gate, plan_.gate_sums, plan_.gate, plan_.gate_biases, G, G, C, 0, 0, 1);
    if (!count) return Status::ok;
    return launch(kernel::finish_parameters_kernel, {64, static_cast<unsigned>(count), 1}, 0, job, failure);
  }

 private:
  char *at(int64_t offset) const { return workspace_ + offset; }
  char *plane(int64_t region, int64_t channel) const { return at(region) + channel * cells_ * plan_.storage_bytes; }
  float *floats(int64_t offset) const { return reinterpret_cast<float *>(at(offset)); }
  CellStatistics *statistics(int64_t offset) const { return reinterpret_cast<CellStatistics *>(at(offset)); }
  const float *bias(const PackedPart &part) const { return floats(plan_.packed + part.bias); }
  char *weight(const PackedPart &part) const { return at(plan_.packed + part.weight); }
  Cells cells() const { return {static_cast<int>(p_.N), static_cast<int>(plan_.pitch), static_cast<int>(plan_.per_batch), cells_, false}; }
  bool aligned(const View &view) const { return aligned_16(view, static_cast<int64_t>(size_of(view.dtype))); }
  PackedNorm norm(int64_t offset, bool present, int64_t channels) const {
    const float *weights = floats(plan_.packed + offset);
    return {present ? weights : nullptr, weights + channels, static_cast<int>(channels), static_cast<float>(p_.settings.eps)};
  }
  PackedNorm norm_in() const { return norm(plan_.layout.norm_in, p_.norm_in.weight.present, p_.C); }
  PackedNorm norm_of_o() const { return norm(plan_.layout.norm_out, true, p_.H); }

  struct Grid {
    int64_t x, y, z;
  };
  template <class Job>
  Status launch(int index, Grid grid, uint32_t bytes, Job &job, Failure &failure) {
    void *parameters[] = {&job};
    const unsigned x = static_cast<unsigned>(grid.x), y = static_cast<unsigned>(grid.y), z = static_cast<unsigned>(grid.z);
    return launcher_.launch({index, {x, y, z}, rows_threads, false, bytes}, parameters, failure);
  }
  int kind(int first) const { return first + plan_.plane_kind(); }

  static ProductJob job_of(int64_t rows, int64_t columns, const ProductPart &part) {
    ProductJob job{};
    job.part[0] = part, job.rows = job.a_rows = rows, job.columns = job.b_rows = columns;
    return job;
  }
  Status product(int form, ProductJob &job, int64_t matrices, int64_t batches, Failure &failure) {
    const int64_t tiles = (job.rows + product_tile - 1) / product_tile * ((job.columns + product_tile - 1) / product_tile);
    return launch(kind(form), {tiles, matrices, batches}, 0, job, failure);
  }
  // Planes of `rows` channels from planes at `from`, weights [rows][depth].
  ProductJob linear(const PackedPart &part, int64_t first_row, int64_t rows, const char *from) const {
    const char *weights = weight(part) + first_row * part.depth * plan_.storage_bytes;
    ProductJob job = job_of(rows, cells_, {weights, from, part.depth, cells_, part.depth});
    job.out_line = cells_, job.bias = bias(part) + first_row, job.mask = floats(plan_.mask);
    return job;
  }
  // Sums over all cells of gradient row x plane, in parts.
  Status weights(const char *gradient, int64_t rows, const char *planes, int64_t columns, const Splits &splits, int64_t sums,
                 Failure &failure) {
    ProductJob job = job_of(rows, columns, {gradient, planes, cells_, cells_, cells_});
    job.split = job.a_batch = job.b_batch = splits.cells;
    job.out_batch = rows * columns, job.out_line = columns, job.out = floats(sums);
    job.ending = Ending::partial, job.add = first_ > 0;
    return product(kernel::product_depth_depth_float32, job, 1, splits.count, failure);
  }
  Status biases(const char *planes, int64_t rows, int64_t sums, Failure &failure) {
    SumJob job{planes, cells_, plan_.bias.cells, floats(sums), first_ > 0};
    return launch(kind(kernel::sum_planes_float32), {rows, plan_.bias.count, 1}, 0, job, failure);
  }
  // out = A B' of every channel and batch; each lies as its enumerator says.
  Status contraction(int form, const char *left, const char *right, char *out, Failure &failure) {
    const int64_t N = p_.N, pitch = plan_.pitch;
    ProductJob job = job_of(N, pitch, {left, right, pitch, pitch, N});
    job.a_rows = form == kernel::product_rows_rows_float32 ? pitch : N;
    job.b_rows = form == kernel::product_depth_depth_float32 ? N : pitch;
    job.a_matrix = job.b_matrix = job.out_matrix = cells_, job.a_batch = job.b_batch = job.out_batch = plan_.per_batch;
    job.out = out, job.out_line = pitch, job.ending = Ending::store;
    return product(form, job, p_.H, batches_, failure);
  }

  Status rows(RowsJob &job, const View &view, int64_t planes, Failure &failure) {
    job.rows = from_batch(view, first_), job.aligned = aligned(job.rows);
    job.cells = cells(), job.channels = static_cast<int>(p_.C), job.planes = at(planes);
    return launch(kind(kernel::rows_to_planes_float32), {(cells_ + cells_of_tile - 1) / cells_of_tile, 1, 1},
                  turned_bytes(p_.C, plan_.storage_bytes), job, failure);
  }

  // z, a, b, o and the statistics of o, as in the forward.
  Status recompute(Failure &failure) {
    RowsJob job{};
    job.pair_mask = from_batch(p_.pair_mask, first_), job.token_mask = from_batch(p_.token_mask, first_);
    job.norm = norm_in(), job.mask = floats(plan_.mask), job.statistics = statistics(plan_.statistics_in);
    LAMINA_TRY(rows(job, p_.pair, plan_.z, failure));
    for (const bool second : {false, true}) {
      ProductJob operand = linear(plan_.layout.front, second ? 2 * p_.H : 0, 2 * p_.H, at(plan_.z));
      operand.ending = Ending::operands, operand.out = at(second ? plan_.b : plan_.a);
      LAMINA_TRY(product(kernel::product_depth_rows_float32, operand, 1, 1, failure));
    }
    const int form = p_.settings.incoming ? kernel::product_rows_rows_float32 : kernel::product_depth_depth_float32;
    LAMINA_TRY(contraction(form, at(plan_.a), at(plan_.b), at(plan_.o), failure));
    NormOutJob norm{at(plan_.o), p_.settings.gate_before_projection ? nullptr : at(plan_.normalised), statistics(plan_.statistics_out),
                    cells(), norm_of_o()};
    return launch(kind(kernel::normalise_planes_float32), {(cells_ + cells_of_tile - 1) / cells_of_tile, 1, 1}, 0, norm, failure);
  }

  // Through output projection and gate: their weights, and the gradient of the normalised o.
  Status output(Failure &failure) {
    const bool before = p_.settings.gate_before_projection;
    const PackedPart &out = plan_.layout.out;
    RowsJob job{};
    job.dropout_mask = from_batch(p_.dropout_mask, first_);
    LAMINA_TRY(rows(job, g_.out, plan_.incoming, failure));
    ProductJob gate = linear(plan_.layout.out_gate, 0, p_.gate_width(), at(plan_.z));
    gate.ending = before ? Ending::gate_before : Ending::gate, gate.gate = at(plan_.gates);
    gate.out = at(plan_.normalised), gate.o = at(plan_.o), gate.statistics = statistics(plan_.statistics_out), gate.norm = norm_of_o();
    LAMINA_TRY(product(kernel::product_depth_rows_float32, gate, 1, 1, failure));
    if (!before) {
      ProductJob projection = linear(out, 0, p_.C, at(plan_.normalised));
      projection.ending = Ending::gate_backward, projection.gate = at(plan_.gates), projection.incoming = at(plan_.incoming);
      LAMINA_TRY(product(kernel::product_depth_rows_float32, projection, 1, 1, failure));
    }
    if (g_.out_projection.weight.present)
      LAMINA_TRY(weights(at(plan_.incoming), p_.C, at(plan_.normalised), p_.H, plan_.out, plan_.out_sums, failure));
    if (g_.out_projection.bias.present) LAMINA_TRY(biases(at(plan_.incoming), p_.C, plan_.out_biases, failure));
    ProductJob back = job_of(p_.H, cells_, {weight(out), at(plan_.incoming), out.depth, cells_, p_.C});
    back.out = at(plan_.normalised), back.out_line = cells_, back.ending = before ? Ending::gate_before_backward : Ending::store;
    back.gate = at(plan_.gates), back.o = at(plan_.o), back.statistics = statistics(plan_.statistics_out), back.norm = norm_of_o();
    LAMINA_TRY(product(kernel::product_rows_rows_float32, back, 1, 1, failure));
    if (g_.out_gate.weight.present)
      LAMINA_TRY(weights(at(plan_.gates), p_.gate_width(), at(plan_.z), p_.C, plan_.gate, plan_.gate_sums, failure));
    if (g_.out_gate.bias.present) LAMINA_TRY(biases(at(plan_.gates), p_.gate_width(), plan_.gate_biases, failure));
    return Status::ok;
  }

  Status norm_out(Failure &failure) {
    NormOutBackwardJob job{
        at(plan_.o), at(plan_.normalised), statistics(plan_.statistics_out), cells(), norm_of_o(), floats(plan_.norm_out_sums), first_ > 0};
    return launch(kind(kernel::norm_out_backward_float32), {plan_.norm_blocks, 1, 1}, 0, job, failure);
  }

  Status residual(Failure &failure) {
    if (!g_.residual.present || g_.residual.data == g_.out.data) return Status::ok;
    CopyJob job{from_batch(g_.out, first_), from_batch(g_.residual, first_), cells(), static_cast<int>(p_.C)};
    return launch(kernel::copy_rows_kernel, {1024, 1, 1}, 0, job, failure);
  }

  // Gradients of a and b, planes in the places of the incoming gradient and of b.
  Status contractions(Failure &failure) {
    const char *a = at(plan_.a), *o = at(plan_.o);
    char *b = at(plan_.b), *of_a = at(plan_.incoming);
    if (p_.settings.incoming) {
      LAMINA_TRY(contraction(kernel::product_depth_depth_float32, b, o, of_a, failure));
      return contraction(kernel::product_depth_rows_float32, a, o, b, failure);
    }
    LAMINA_TRY(contraction(kernel::product_depth_rows_float32, o, b, of_a, failure));
    return contraction(kernel::product_rows_rows_float32, o, a, b, failure);
  }

  // Through the front's linears and the LayerNorm of pair.
  Status front(Failure &failure) {
    const PackedPart &part = plan_.layout.front, &gate = plan_.layout.out_gate;
    for (const bool second : {false, true}) {  // b's gradients overwrite that of a
      ProductJob operand = linear(part, second ? 2 * p_.H : 0, 2 * p_.H, at(plan_.z));
      operand.ending = Ending::operands_backward, operand.gradient = at(second ? plan_.b : plan_.incoming);
      operand.out = plane(plan_.a, second ? 2 * p_.H : 0);
      LAMINA_TRY(product(kernel::product_depth_rows_float32, operand, 1, 1, failure));
    }
    if (wanted_.front_weights) LAMINA_TRY(weights(at(plan_.a), 4 * p_.H, at(plan_.z), p_.C, plan_.front, plan_.front_sums, failure));
    if (wanted_.front_biases) LAMINA_TRY(biases(at(plan_.a), 4 * p_.H, plan_.front_biases, failure));
    if (!wanted_.input) return Status::ok;
    ProductJob job = job_of(p_.C, cells_, {weight(part), at(plan_.a), p_.C, cells_, 4 * p_.H});
    job.part[1] = {weight(gate), at(plan_.gates), p_.C, cells_, p_.gate_width()};
    job.out = at(plan_.b), job.out_line = cells_, job.ending = Ending::store;
    LAMINA_TRY(product(kernel::product_rows_rows_float32, job, 1, 1, failure));
    PairGradientJob pair{};
    pair.pair = from_batch(p_.pair, first_), pair.out = from_batch(g_.pair, first_), pair.pair_aligned = aligned(pair.pair);
    pair.gradient = at(plan_.b), pair.statistics = statistics(plan_.statistics_in), pair.cells = cells(), pair.norm = norm_in();
    pair.channels = static_cast<int>(p_.C), pair.partial = floats(plan_.norm_in_sums), pair.add = first_ > 0;
    return launch(kind(kernel::pair_gradient_float32), {plan_.norm_blocks, 1, 1}, turned_bytes(p_.C, plan_.storage_bytes), pair, failure);
  }

  const Gradients &g_;
  const Problem &p_;
  const BackwardPlan &plan_;
  const Wanted wanted_;
  char *workspace_;
  cuda::Launcher &launcher_;
  int64_t first_ = 0, batches_ = 0, cells_ = 0;
};

inline uint64_t cuda_backward_workspace_bytes(const Gradients &g, const void *, int) {
  return g.p.B && g.p.N ? static_cast<uint64_t>(BackwardPlan(g.p).workspace) : 0;
}

inline Status cuda_backward(const Gradients &g, const Run &run, Failure &failure) {
  const Problem &p = g.p;
  const BackwardPlan plan(p);
  cuda::Launcher launcher(code_of(run.state), run.stream);
  LAMINA_TRY(launcher.open(failure));
  BackwardGroup group(g, plan, static_cast<char *>(run.workspace), launcher);
  if (p.B && p.N)
    LAMINA_TRY(launch_pack_as(p, plan.layout, plan.plane_kind(), launcher, static_cast<char *>(run.workspace) + plan.packed, failure));
  for (int64_t first = 0; p.N && first < p.B; first += plan.group)
    LAMINA_TRY(group.run(first, p.B - first < plan.group ? p.B - first : plan.group, failure));
  return group.finish(failure);
}

inline Status cuda_training_check(const Problem &p, Pass, Save, const void *, Failure &failure) { return check_positions(p, failure); }

// keeps: the build has kernels that use what was kept, whose training_check then says of which problems.
template <const cuda::Image &image, bool keeps>
Status cuda_training_create(const Settings &settings, Pass, Save save, Device device, void **state, Failure &failure) {
  if (save == Save::activations && !keeps)
    return fail(failure, Status::unsupported, "triangle_multiplication: this build keeps no activations; it takes save = nothing");
  return cuda_create<image>(settings, device, state, failure);
}

template <const cuda::Image &image>
constexpr Training cuda_training(decltype(Training::backward_workspace_bytes) workspace_bytes, decltype(Training::backward) backward) {
  return {cuda_training_create<image, false>, cuda_destroy, cuda_training_check, nullptr, nullptr, nullptr, workspace_bytes, backward};
}

}  // namespace lamina::triangle_multiplication
