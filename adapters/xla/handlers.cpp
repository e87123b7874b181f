// The functions that XLA calls, one for each stage; lamina_jax.py registers them.  They are told apart by the stage that they are registered
// for, not by the number in the call frame: that has changed its meaning between versions of XLA.
#include "call.h"

namespace lamina::xla {
namespace {

using adapters::Plan;
using adapters::succeeded;

// XLA asks what a handler is before it calls it; true when this was such a question.
bool answer_metadata(const CallFrame &frame, uint32_t traits) {
  for (Extension *extension = frame.extension_start; extension; extension = extension->next) {
    if (extension->type != extension_metadata) continue;
    Metadata &metadata = *reinterpret_cast<MetadataExtension *>(extension)->metadata;
    metadata.api_version.major = api_major, metadata.api_version.minor = api_minor;
    metadata.traits = traits;
    return true;
  }
  return false;
}

Error *to_error(const CallFrame &frame, const Failure &failure) {
  ErrorCode code = ErrorCode::internal;
  switch (failure.mistake) {
    case Mistake::type:
    case Mistake::value: code = ErrorCode::invalid_argument; break;
    case Mistake::unsupported: code = ErrorCode::unimplemented; break;
    case Mistake::memory: code = ErrorCode::resource_exhausted; break;
    default: break;
  }
  ErrorCreate create{sizeof create, nullptr, failure.message, code};
  return frame.api->error_create(&create);
}

// XLA's own error: nobody else may free it, and ours says more.
bool ask(const CallFrame &frame, Error *error, const char *what, Failure &failure) {
  if (!error) return true;
  ErrorDestroy destroy{sizeof destroy, nullptr, error};
  frame.api->error_destroy(&destroy);
  return fail(failure, Mistake::internal, "XLA does not tell the %s of this call", what);
}

bool device_of(const CallFrame &frame, int32_t type, lamina_device &device, Failure &failure) {
  device = {type, 0};
  if (type == LAMINA_CPU) return true;  // there is one
  if (frame.api->struct_size < offsetof(Api, device_ordinal_get) + sizeof frame.api->device_ordinal_get)
    return fail(failure, Mistake::unsupported, "this version of XLA does not tell a call its device; use jaxlib 0.7 or newer");
  DeviceOrdinalGet ordinal{sizeof ordinal, nullptr, frame.context, 0};
  if (!ask(frame, frame.api->device_ordinal_get(&ordinal), "device", failure)) return false;
  device.id = ordinal.ordinal;
  return true;
}

bool instantiate(const CallFrame &frame, Failure &failure) {
  Site site;
  return site.read(frame.attributes, failure);
}

// Makes the plan before anything is recorded: kernels are loaded here.
bool initialize(const CallFrame &frame, Failure &failure) {
  Site site;
  lamina_device device;
  Plan plan;
  if (!site.read(frame.attributes, failure) || !device_of(frame, site.device_type, device, failure)) return false;
  const lamina_op &op = *site.operation->op;
  if (!site.operation->plans.find_or_create(op, site.attributes, device, plan, failure)) return false;
  if (!plan.memo) op.plan_destroy(plan.plan);
  return true;
}

bool execute(const CallFrame &frame, Failure &failure) {
  Site site;
  lamina_device device;
  Operands operands;
  Plan plan;
  if (!site.read(frame.attributes, failure) || !device_of(frame, site.device_type, device, failure) ||
      !operands.read(site, frame, device, failure))
    return false;
  const lamina_op &op = *site.operation->op;
  lamina_call call = {};
  call.struct_size = sizeof call, call.tensor_count = op.arg_count, call.tensors = operands.given;
  call.workspace = operands.workspace, call.workspace_size = operands.workspace_size;
  if (device.type != LAMINA_CPU) {
    StreamGet stream{sizeof stream, nullptr, frame.context, nullptr};
    if (!ask(frame, frame.api->stream_get(&stream), "stream", failure)) return false;
    call.stream = stream.stream;
  }
  if (!site.operation->plans.find_or_create(op, site.attributes, device, plan, failure)) return false;
  lamina_error error = {};
  error.struct_size = sizeof error;
  const bool done = succeeded(op.run(plan.plan, &call, &error), error, failure);
  if (!plan.memo) op.plan_destroy(plan.plan);
  return done;
}

Error *handle(CallFrame *frame, uint32_t traits, bool (*stage)(const CallFrame &, Failure &)) {
  if (answer_metadata(*frame, traits)) return nullptr;
  Failure failure;
  return stage(*frame, failure) ? nullptr : to_error(*frame, failure);
}

}  // namespace
}  // namespace lamina::xla

#define LAMINA_HANDLER extern "C" __attribute__((visibility("default"))) lamina::xla::Error *
using namespace lamina::xla;

LAMINA_HANDLER lamina_xla_instantiate(CallFrame *frame) { return handle(frame, 0, instantiate); }
LAMINA_HANDLER lamina_xla_initialize(CallFrame *frame) { return handle(frame, 0, initialize); }
// For builds whose plans say LAMINA_CAPTURE_SAFE, and for the others.
LAMINA_HANDLER lamina_xla_execute(CallFrame *frame) { return handle(frame, trait_command_buffer_compatible, execute); }
LAMINA_HANDLER lamina_xla_execute_uncaptured(CallFrame *frame) { return handle(frame, 0, execute); }
