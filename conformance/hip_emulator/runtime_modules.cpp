// Code objects, their kernels, and launches.
#include <algorithm>
#include <cstdio>

#include "conformance/hip_emulator/runtime.h"

namespace lamina::hip_emulator {
namespace {

Module *module_of(hipModule_t given) {
  for (const auto &module : model().modules)
    if (module->alive && reinterpret_cast<hipModule_t>(module.get()) == given) return module.get();
  return nullptr;
}

Function *function_of(const void *given) {
  for (const auto &function : model().functions)
    if (function.get() == given) return function.get();
  return nullptr;
}

u32 most_local_bytes() { return model().machine.arch == "gfx950" ? 163840 : 65536; }

// The segment that the kernel's arguments lie in: the caller's, then those that the compiler adds.
hipError_t fill_arguments(const Kernel &kernel, const Grid &grid, void **parameters, void **extra, std::vector<u8> &segment) {
  const KernelFacts &facts = kernel.facts;
  segment.assign(facts.argument_bytes, 0);
  size_t explicit_end = 0;
  for (const Argument &argument : facts.arguments)
    if (!argument.hidden()) explicit_end = std::max<size_t>(explicit_end, argument.offset + argument.bytes);
  if (extra) {
    const void *buffer = nullptr;
    size_t bytes = 0;
    for (size_t i = 0; extra[i] != HIP_LAUNCH_PARAM_END; i += 2) {
      if (i > 8) return misuse(hipErrorInvalidValue, facts.name + ": the extra parameters have no end");
      if (extra[i] == HIP_LAUNCH_PARAM_BUFFER_POINTER) buffer = extra[i + 1];
      if (extra[i] == HIP_LAUNCH_PARAM_BUFFER_SIZE) bytes = *static_cast<const size_t *>(extra[i + 1]);
    }
    if (parameters || !buffer) return misuse(hipErrorInvalidValue, facts.name + ": parameters and extra do not go together");
    if (bytes < explicit_end || bytes > facts.argument_bytes)
      return misuse(hipErrorInvalidValue,
                    facts.name + ": gets " + std::to_string(bytes) + " bytes of arguments; it takes " + std::to_string(explicit_end));
    std::memcpy(segment.data(), buffer, std::min(bytes, explicit_end));
  }
  size_t next = 0;
  for (const Argument &argument : facts.arguments) {
    u64 value = 0;
    if (!argument.hidden()) {
      if (extra) continue;
      if (!parameters || !parameters[next])
        return misuse(hipErrorInvalidValue, facts.name + ": argument " + std::to_string(next) + " is missing");
      std::memcpy(segment.data() + argument.offset, parameters[next++], argument.bytes);
      continue;
    }
    const size_t axis = static_cast<size_t>(argument.kind.back() - 'x');
    if (argument.kind.starts_with("hidden_block_count_") && axis < 3) value = grid.groups[axis];
    else if (argument.kind.starts_with("hidden_group_size_") && axis < 3) value = grid.threads[axis];
    else if (argument.kind == "hidden_grid_dims") value = grid.groups[2] > 1 ? 3 : grid.groups[1] > 1 ? 2 : 1;
    else if (argument.kind == "hidden_dynamic_lds_size") value = grid.dynamic_bytes;
    std::memcpy(segment.data() + argument.offset, &value, std::min<size_t>(argument.bytes, sizeof value));
  }
  return hipSuccess;
}

void run_launch(const Kernel &kernel, const Grid &grid, const std::vector<u8> &arguments, size_t index) {
  Model &m = model();
  try {
    Checks checks;
    checks.threads = m.machine.threads, checks.races = m.machine.races != 0, checks.aligned = m.machine.aligned != 0;
    const Result result = run_grid(kernel, grid, arguments, checks);
    if (index < m.launches.size()) m.launches[index].instructions += result.instructions;
    if (m.machine.report)
      std::fprintf(stderr, "hip emulator: %s, %u x %u x %u workgroups: %.3f million wave instructions in %.4f s, %.1f million a second\n",
                   kernel.facts.name.c_str(), grid.groups[0], grid.groups[1], grid.groups[2],
                   static_cast<double>(result.instructions) * 1e-6, result.seconds,
                   static_cast<double>(result.instructions) * 1e-6 / result.seconds);
  } catch (const Trap &trap) {
    m.sticky = trap.kind == Trap::illegal_address ? hipErrorIllegalAddress : hipErrorLaunchFailure;
    (void)misuse(m.sticky, trap.what());
  }
}

hipError_t check_shape(const Kernel &kernel, const Grid &grid) {
  const std::string &name = kernel.facts.name;
  const u64 threads = u64{grid.threads[0]} * grid.threads[1] * grid.threads[2];
  if (!threads || !grid.groups[0] || !grid.groups[1] || !grid.groups[2])
    return misuse(hipErrorInvalidValue, name + ": an empty grid or block");
  if (threads > 1024 || threads > kernel.facts.most_threads)
    return misuse(hipErrorInvalidValue,
                  name + ": " + std::to_string(threads) + " threads; it was compiled for " + std::to_string(kernel.facts.most_threads));
  for (int axis = 0; axis < 3; ++axis)
    if (u64{grid.groups[static_cast<size_t>(axis)]} * grid.threads[static_cast<size_t>(axis)] > 0xffffffff)
      return misuse(hipErrorInvalidValue, name + ": a grid of more than 2^32 threads on one axis");
  if (u64{kernel.descriptor.group_bytes} + grid.dynamic_bytes > most_local_bytes())
    return misuse(hipErrorInvalidValue, name + ": " + std::to_string(kernel.descriptor.group_bytes + grid.dynamic_bytes) +
                                            " bytes of LDS; a workgroup has " + std::to_string(most_local_bytes()));
  return hipSuccess;
}

}  // namespace

}  // namespace lamina::hip_emulator

using namespace lamina::hip_emulator;

extern "C" {

hipError_t hipModuleLoadData(hipModule_t *module, const void *image) {
  LAMINA_ENTRY(hipModuleLoadData);
  if (!module) return failed(hipErrorInvalidValue);
  if (!model().machine.devices) return failed(hipErrorNoDevice);
  if (unsafe_now()) return refuse_unsafe("hipModuleLoadData");
  try {
    const char *arch = CodeObject::arch_name(image);
    if (!arch || model().machine.arch != arch) return failed(hipErrorNoBinaryForGpu);
    auto made = std::make_unique<Module>();
    made->code = std::make_unique<CodeObject>(image), made->device = this_thread().device;
    *module = reinterpret_cast<hipModule_t>(made.get());
    model().modules.push_back(std::move(made));
    return hipSuccess;
  } catch (const Refusal &refusal) { return misuse(hipErrorInvalidImage, std::string("hipModuleLoadData: ") + refusal.what()); }
}

hipError_t hipModuleUnload(hipModule_t given) {
  LAMINA_ENTRY(hipModuleUnload);
  Module *module = module_of(given);
  if (!module) return misuse(hipErrorInvalidHandle, "hipModuleUnload of a module that is not loaded");
  if (unsafe_now()) return refuse_unsafe("hipModuleUnload");
  finish_everything();
  module->alive = false;
  std::erase_if(model().functions, [&](const auto &function) { return function->module == module; });
  module->code.reset();
  return failed(model().sticky);
}

hipError_t hipModuleGetFunction(hipFunction_t *function, hipModule_t given, const char *name) {
  LAMINA_ENTRY(hipModuleGetFunction);
  Module *module = module_of(given);
  if (!module) return failed(hipErrorInvalidHandle);
  if (!function || !name) return failed(hipErrorInvalidValue);
  const Kernel *kernel = module->code->find(name);
  if (!kernel) return failed(hipErrorNotFound);
  try {
    kernel->program();
  } catch (const Refusal &refusal) { return misuse(hipErrorInvalidImage, std::string(name) + ": " + refusal.what()); }
  model().functions.push_back(std::make_unique<Function>(Function{module, kernel}));
  *function = reinterpret_cast<hipFunction_t>(model().functions.back().get());
  return hipSuccess;
}

hipError_t hipFuncSetAttribute(const void *given, hipFuncAttribute attribute, int value) {
  LAMINA_ENTRY(hipFuncSetAttribute);
  const Function *function = function_of(given);
  if (!function) return misuse(hipErrorInvalidHandle, "hipFuncSetAttribute of a kernel that is not loaded");
  if (attribute != hipFuncAttributeMaxDynamicSharedMemorySize)
    return misuse(hipErrorInvalidValue, "hipFuncSetAttribute: the emulator knows no attribute " + std::to_string(attribute));
  if (value < 0 || static_cast<u32>(value) + function->kernel->descriptor.group_bytes > most_local_bytes())
    return misuse(hipErrorInvalidValue,
                  function->kernel->facts.name + ": asks for " + std::to_string(value) + " bytes of LDS, more than a workgroup has");
  return hipSuccess;
}

hipError_t hipModuleLaunchKernel(hipFunction_t given, unsigned groups_x, unsigned groups_y, unsigned groups_z, unsigned threads_x,
                                 unsigned threads_y, unsigned threads_z, unsigned dynamic_bytes, hipStream_t given_stream,
                                 void **parameters, void **extra) {
  LAMINA_ENTRY(hipModuleLaunchKernel);
  if (model().sticky != hipSuccess) return failed(model().sticky);
  const Function *function = function_of(given);
  if (!function) return misuse(hipErrorInvalidHandle, "hipModuleLaunchKernel of a kernel that is not loaded");
  Stream *stream = stream_of(given_stream);
  if (!stream) return misuse(hipErrorInvalidHandle, "a launch on a stream that does not exist");
  const Kernel &kernel = *function->kernel;
  const int device = given_stream ? stream->device : this_thread().device;
  if (device != function->module->device)
    return misuse(hipErrorInvalidHandle, kernel.facts.name + ": launched on another device than it was loaded on");
  const Grid grid{{groups_x, groups_y, groups_z}, {threads_x, threads_y, threads_z}, dynamic_bytes};
  if (const hipError_t code = check_shape(kernel, grid); code != hipSuccess) return code;
  std::vector<u8> arguments;
  if (const hipError_t code = fill_arguments(kernel, grid, parameters, extra, arguments); code != hipSuccess) return code;
  const size_t index = model().launches.size();
  model().launches.push_back({kernel.facts.name,
                              {groups_x, groups_y, groups_z},
                              {threads_x, threads_y, threads_z},
                              dynamic_bytes,
                              arguments,
                              given_stream,
                              device,
                              stream->capturing,
                              0});
  return failed(enqueue(*stream, [&kernel, grid, arguments, index] { run_launch(kernel, grid, arguments, index); }));
}
}
