#include "conformance/draft.h"

#include <algorithm>
#include <cstring>

#include "manifest/error.h"

namespace lamina::conformance {

Draft::Draft(const lamina_call &valid, const lamina_op &op)
    : tensors(op.arg_count + 1), shapes(op.arg_count + 1), strides(op.arg_count + 1), pointers(op.arg_count + 1), call(valid) {
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    if (!valid.tensors[i]) continue;
    tensors[i] = *valid.tensors[i];
    for (int dim = 0; dim < tensors[i].ndim; ++dim)
      shapes[i][static_cast<size_t>(dim)] = tensors[i].shape[dim], strides[i][static_cast<size_t>(dim)] = tensors[i].strides[dim];
    tensors[i].shape = shapes[i].data(), tensors[i].strides = strides[i].data();
    pointers[i] = &tensors[i];
  }
  call.tensors = pointers.data();
}

const Case *plain_case(const Session &session, const CaseList &list) {
  const Case *best = nullptr;
  for (const Case &one : list.cases) {
    const lamina_op *op = session.build.op(one.op);
    if (!op || op->kind == LAMINA_PACK || op->kind == LAMINA_FORWARD_TRAIN || op->kind == LAMINA_BACKWARD || one.expect ||
        one.on_gpu_only || !one.alias.empty() || !one.layout.empty() || !one.dtypes.empty())
      continue;
    // Extents of 2 and less leave too little room to be wrong in; only a batch may be 1.
    if (std::any_of(one.dims.begin(), one.dims.end(), [](const auto &dim) { return dim.second < (dim.first == "B" ? 1 : 3); })) continue;
    if (std::string why; !takes_dtypes(*op, one, why)) continue;
    if (!best || session.contract.flops(one.op, one.dims) < session.contract.flops(best->op, best->dims)) best = &one;
  }
  return best;
}

std::unique_ptr<Stage> set_stage(Session &session, const lamina_op &op, const Case &base, bool packed_weights) {
  auto stage = std::make_unique<Stage>();
  const bool packs = op.kind == LAMINA_PACK;
  const lamina_op &source = packs ? *session.build.op(base.op) : op;
  std::vector<Drawn> drawn;
  for (Drawn &argument : draw(source, base))
    if (const int index = argument_named(op, argument.name); index >= 0) argument.index = index, drawn.push_back(std::move(argument));
  stage->threads = std::make_unique<HostThreads>(1);
  stage->plan = std::make_unique<Plan>(op, base, session.device_id, stage->threads->host());
  if (stage->plan->created().status == LAMINA_UNSUPPORTED) throw Failure{Verdict::unsupported, stage->plan->created().message};
  if (!stage->plan->created().ok()) fail("plan_create: " + describe(stage->plan->created()));
  if (packed_weights && !packs) stage->packed = session.pack(session.build, base, drawn, 1, 0xff);
  stage->placement =
      std::make_unique<Placement>(op, drawn, base, session.device(), PlacementOptions{false, false, packed_weights && !packs, Edge::back});
  if (stage->packed) stage->placement->set_packed(stage->packed.get());
  stage->saved = session.saved(session.build, base, *stage->plan, *stage->placement);
  Outcome asked = stage->plan->need(stage->placement->call(), stage->need);
  if (!asked.ok()) fail("the valid call is refused: plan_need: " + describe(asked));
  if (packs) {
    stage->packed = session.device().allocate(stage->need.packed_size, 64, Edge::back, "packed weights");
    stage->placement->set_packed(stage->packed.get());
  }
  stage->workspace =
      session.device().allocate(stage->need.workspace_size, std::max<uint64_t>(stage->need.workspace_align, 1), Edge::back, "workspace");
  stage->call = stage->placement->call();
  stage->call.workspace = stage->workspace->data(), stage->call.workspace_size = stage->need.workspace_size;
  return stage;
}

std::string describe(const Wanted &wanted) {
  std::string text = name_of_status(wanted.status);
  if (wanted.arg >= -1) text += " for argument " + std::to_string(wanted.arg);
  if (wanted.other_arg >= 0) text += " or " + std::to_string(wanted.other_arg);
  if (wanted.dim >= -1) text += ", dimension " + std::to_string(wanted.dim);
  return text;
}

void require_refusal(const Outcome &outcome, const Wanted &wanted, const std::string &step) {
  const bool right_arg = wanted.arg == -2 || outcome.arg == wanted.arg || (wanted.other_arg != -2 && outcome.arg == wanted.other_arg);
  if (outcome.status != wanted.status || !right_arg || (wanted.dim != -2 && outcome.dim != wanted.dim))
    fail(step + " says " + describe(outcome) + "; expected " + describe(wanted));
}

void expect_refusal(Session &session, Stage &stage, Draft &draft, const Wanted &wanted) {
  std::vector<unsigned char> packed_before(stage.packed ? stage.packed->size() : 0);
  if (stage.packed) stage.packed->read(packed_before.data());
  require_refusal(stage.plan->run(draft.call), wanted, "run");
  session.device().synchronise();
  if (const std::string damage = stage.placement->damage(); !damage.empty()) fail("refused, but " + damage);
  for (uint32_t i = 0; i < stage.plan->op().arg_count; ++i) {
    const Placed *placed = stage.placement->at(static_cast<int>(i));
    if (placed && placed->written && placed->owned && stage.placement->bytes(*placed) != placed->image)
      fail("refused, but wrote '" + placed->name + "'");
  }
  std::vector<unsigned char> packed_after(packed_before.size());
  if (stage.packed) stage.packed->read(packed_after.data());
  if (packed_after != packed_before) fail("refused, but wrote the packed weights");
  if (stage.threads->calls() != 0 && stage.plan->op().kind != LAMINA_PACK && !stage.packed) fail("refused, but started threads");
}

}  // namespace lamina::conformance
