// The host half of the Hopper kernels of the backward at 256 channels: workspace and launches.  sm90a_backward_256_job.h says what lies where.
#pragma once
#include "sm90a_backward_256_job.h"
#include "sm90a_backward_launch.h"

namespace lamina::triangle_multiplication::hopper {

// Parts that positions are cut into, so that every processor sums one block of rows over one part; a part has 16 chunks at least, or all:
// with fewer, a part's sums would be more to write and to add up than the products save.
inline int parts_of(int processors, int blocks, int64_t chunks) {
  const int64_t parts = processors / blocks < 1 ? 1 : processors / blocks, most = chunks < 16 ? 1 : chunks / 16;
  return static_cast<int>(parts < most ? parts : most);
}

struct Backward256Plan {
  Plan forward;  // its a is where the slots begin
  int64_t factors, front_sums, out_sums, norm_sums, workspace;
  int front_parts, out_parts;

  Backward256Plan(const Problem &p, int processors) : forward(p) {
    // The smallest group of batches has the fewest chunks, and all groups the same parts.
    const int64_t last = p.B % forward.group ? p.B % forward.group : forward.group, cells = forward.group * forward.per_batch;
    const int64_t chunks = (last * forward.per_batch + tile - 1) / tile;
    front_parts = parts_of(processors, front_blocks, chunks), out_parts = parts_of(processors, out_blocks, chunks);
    Cuts cuts;
    cuts.total = forward.a;
    cuts.take(5 * wide * cells * 2);  // the slots, from forward.a on
    factors = cuts.take(2 * factor_planes * cells * 2);
    front_sums = cuts.take(static_cast<int64_t>(front_parts) * front_blocks * sums_of(wide) * 4);
    out_sums = cuts.take(static_cast<int64_t>(out_parts) * out_blocks * sums_of(wide) * 4);
    norm_sums = forward.a;  // written when all groups of batches are done with; N above 32 makes the slots long enough
    workspace = cuts.total;
  }
};

// Zeros into the padding of o, over which the weights' gradients sum.
inline Status clear_padding(const Problem &p, const Cells &cells, char *o, cuda::Launcher &launcher, Failure &failure) {
  if (cells.pitch == cells.N) return Status::ok;
  ClearJob job{o, cells, wide};
  void *parameters[] = {&job};
  const int row = p.dtype == DType::float16 ? kernel::hopper_clear_padding_float16 : kernel::hopper_clear_padding;
  return launcher.launch({row, {264, 1, 1}, finish_shape.threads, true}, parameters, failure);
}

class Backward256Launch : BackwardLaunches {
 public:
  Backward256Launch(const Gradients &g, const Backward256Plan &plan, char *workspace, const cuda::DeviceCode &code,
                    cuda::Launcher &launcher)
      : BackwardLaunches(g, plan.forward, workspace, code, launcher), plan_(plan) {}

  Status run(int64_t first, int64_t batches, Failure &failure) {
    begin(first, batches);
    LAMINA_TRY(operands(failure));
    if (!g_.saved) LAMINA_TRY(clear_padding(p_, cells(), place_of_o(), launcher_, failure));
    LAMINA_TRY(output(failure));
    const auto any = [](const View &one, const View &other) { return one.present || other.present; };
    if (any(g_.out_projection.weight, g_.out_projection.bias) || any(g_.norm_out.weight, g_.norm_out.bias))
      LAMINA_TRY(weights_of_o(failure));
    LAMINA_TRY(residual(failure));
    if (wanted_.operands) {
      LAMINA_TRY(norm(failure));
      LAMINA_TRY(contractions(slot(3), failure));
      LAMINA_TRY(front_gradients(failure));
    }
    if (wanted_.front_weights || wanted_.front_biases || any(g_.norm_in.weight, g_.norm_in.bias) ||
        any(g_.out_gate.weight, g_.out_gate.bias))
      LAMINA_TRY(weights_of_pair(failure));
    return g_.pair.present ? input(failure) : Status::ok;
  }

  Status finish(Failure &failure) {
    const int blocks[] = {6, 0, 2, 4, 8, 0};  // in the order of the slots
    TotalsJob job{};
    for (int at = 0; at < 6; ++at) {
      const bool front = at < 5;
      TotalsItem &item = job.item[at];
      item.sums = floats(front ? plan_.front_sums : plan_.out_sums), item.step = (front ? front_blocks : out_blocks) * sums_of(wide);
      item.parts = front ? plan_.front_parts : plan_.out_parts, item.first = blocks[at] * 128;
    }
    const int last = kernel::hopper_finish_256;
    return BackwardLaunches::finish(of_256(kernel::hopper_total_sums_256), last, job, floats(plan_.norm_sums), failure);
  }

 private:
  // Slots are as long as this group of batches needs.
  char *slot(int which) const { return place_of_a() + which * planes(); }
  int of_256(int row) const { return row + (half_ ? kernel::hopper_output_256_float16 - kernel::hopper_output_256 : 0); }
  void *factors(int which) const { return at(plan_.factors) + which * factor_planes * static_cast<int64_t>(positions_) * 2; }

  Status output(Failure &failure) {
    Output256Job job{};
    const PackedLayout &layout = forward_.layout;
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_positions(g_.out, job.incoming, failure));
    LAMINA_TRY(map_planes(o_, wide, wide, job.o, failure));
    LAMINA_TRY(map_planes(slot(3), 2 * wide, box, job.gradients, failure));
    LAMINA_TRY(map_weights(layout.folded_gate, wide, job.gate, failure));
    LAMINA_TRY(map_weights(layout.folded_out, wide, job.weights, failure));
    job.gate_bias = packed_floats(layout.folded_gate.bias), job.bias = packed_floats(layout.folded_out.bias);
    job.factors[0] = factors(0), job.factors[1] = factors(1);
    job.dropout_mask = from_batch(p_.dropout_mask, first_);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(of_256(kernel::hopper_output_256), grid(2), 1, output_256_shape, job, failure);
  }

  Status weights(int row, const char *rows, int blocks, int parts, int which, int64_t sums, Weights256Job &job, Failure &failure) {
    LAMINA_TRY(map_planes(rows, static_cast<uint64_t>(blocks) * 128, 128, job.rows, failure));
    LAMINA_TRY(map_factors(factors(which), job.factors, failure));
    job.sums = floats(sums), job.add = first_ > 0, job.cells = cells();
    job.blocks = blocks, job.parts = parts, job.chunks = tiles_;
    return launch(of_256(row), static_cast<unsigned>(blocks * parts), 1, weights_256_shape, job, failure);
  }
  Status weights_of_o(Failure &failure) {
    Weights256Job job{};
    LAMINA_TRY(map_planes(o_, wide, wide, job.columns, failure));
    return weights(kernel::hopper_weights_of_o_256, slot(3), out_blocks, plan_.out_parts, 1, plan_.out_sums, job, failure);
  }
  // Of the output gate's weights alone where nothing else is there.
  Status weights_of_pair(Failure &failure) {
    Weights256Job job{};
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    return weights(kernel::hopper_weights_of_pair_256, slot(0), front_blocks, plan_.front_parts, 0, plan_.front_sums, job, failure);
  }

  Status norm(Failure &failure) {
    Norm256Job job{};
    LAMINA_TRY(map_planes(slot(3), wide, box, job.gradients, failure));
    LAMINA_TRY(map_planes(o_, wide, wide, job.o, failure));
    LAMINA_TRY(map_planes(place_of_o(), wide, wide, job.o_gradient, failure));
    LAMINA_TRY(map(packed(forward_.layout.folded_out.weight), wide, wide, box, wide, job.weights, failure));
    job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(of_256(kernel::hopper_norm_256), grid(1), 1, norm_256_shape, job, failure);
  }

  Status front_gradients(Failure &failure) {
    Front256Job job{};
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_planes(slot(0), 4 * wide, box, job.planes, failure));
    LAMINA_TRY(map_weights(forward_.layout.folded_front, 4 * wide, job.weights, failure));
    job.bias = packed_floats(forward_.layout.folded_front.bias);
    set_mask(job);
    job.cells = cells(), job.tiles = tiles_, job.eps = static_cast<float>(p_.settings.eps);
    return launch(of_256(kernel::hopper_front_gradients_256), grid(4), 1, front_256_shape, job, failure);
  }

  // Packed, folded front as groups of 16 rows, of which this takes eight.
  Status map_groups(int gate, CUtensorMap &to, Failure &failure) const {
    const char *first = packed(forward_.layout.folded_front.weight) + front_row(0, gate) * wide * 2;
    return map({first, {wide, 8, 4 * wide / 16}, wide, 16 * wide, {box, 8, 8}, 3}, to, failure);
  }
  Status input(Failure &failure) {
    Input256Job job{};
    LAMINA_TRY(map_planes(slot(0), 5 * wide, box, job.planes, failure));
    LAMINA_TRY(map_groups(0, job.projections, failure));
    LAMINA_TRY(map_groups(1, job.gates, failure));
    LAMINA_TRY(map(packed(forward_.layout.folded_gate.weight), wide, wide, box, box, job.gate, failure));
    LAMINA_TRY(map_positions(p_.pair, job.pair, failure));
    LAMINA_TRY(map_positions(g_.pair, job.out, failure));
    job.tiles = (tiles_ + 1) / 2, job.cells = cells(), job.eps = static_cast<float>(p_.settings.eps);
    const unsigned pairs = static_cast<unsigned>((job.tiles < code_.processors ? job.tiles + 1 : code_.processors) / 2);
    return Launches::launch(of_256(kernel::hopper_input_256), pairs * 2, input_256_shape, &job, failure, 2);
  }

  const Backward256Plan &plan_;
};

}  // namespace lamina::triangle_multiplication::hopper
