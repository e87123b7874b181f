#include "memory.h"

#include <stdlib.h>

namespace lamina::tvm_ffi {
namespace {

using adapters::max_rank;
constexpr size_t host_align = 64;

bool has_allocator() { return runtime() && runtime()->allocator(); }

struct HostTensor {  // a tensor of our own: this block, then its data
  ManagedTensor managed;
  int64_t shape[max_rank], strides[max_rank];
};
constexpr size_t data_offset = (sizeof(HostTensor) + host_align - 1) / host_align * host_align;

void *host_tensor(const lamina_tensor &prototype, Failure &failure) {
  uint64_t elements = 1;
  for (int i = 0; i < prototype.ndim; ++i) elements *= static_cast<uint64_t>(prototype.shape[i]);
  const uint64_t bytes = elements * ((prototype.dtype.bits + 7u) / 8u);
  void *memory = nullptr;
  if (!runtime() || prototype.ndim > max_rank || posix_memalign(&memory, host_align, data_offset + bytes) != 0) {
    fail(failure, Mistake::memory, "no memory for a result of %llu bytes", static_cast<unsigned long long>(bytes));
    return nullptr;
  }
  HostTensor *host = static_cast<HostTensor *>(memory);
  host->managed = {prototype, memory, [](ManagedTensor *self) { free(self->context); }};
  int64_t step = 1;
  for (int i = prototype.ndim - 1; i >= 0; --i) {
    host->shape[i] = prototype.shape[i], host->strides[i] = step;
    step *= prototype.shape[i];
  }
  lamina_tensor &tensor = host->managed.tensor;
  tensor.data = static_cast<char *>(memory) + data_offset;
  tensor.shape = host->shape, tensor.strides = host->strides, tensor.byte_offset = 0;
  void *object = nullptr;
  if (runtime()->tensor_from_dlpack(&host->managed, 0, 0, &object) != 0) {
    free(memory);
    failure.mistake = Mistake::raised;  // raised by the runtime
    return nullptr;
  }
  return object;
}

}  // namespace

void *allocate_tensor(const lamina_tensor &prototype, const char *op, const char *what, Failure &failure) {
  if (has_allocator()) {
    lamina_tensor copy = prototype;
    void *object = nullptr;
    if (runtime()->allocate(&copy, &object) == 0) return object;
    failure.mistake = Mistake::raised;  // raised by the runtime: out of memory, in the allocator's own words
    return nullptr;
  }
  if (prototype.device.type == LAMINA_CPU) return host_tensor(prototype, failure);
  fail(failure, Mistake::value, "%s: no allocator is set for device type %d; give '%s', or call with a torch tensor", op,
       prototype.device.type, what);
  return nullptr;
}

bool Workspace::allocate(const char *op, lamina_device device, uint64_t size, uint64_t align, Failure &failure) {
  if (align < sizeof(void *)) align = sizeof(void *);
  if (!has_allocator() && device.type == LAMINA_CPU) {
    if (posix_memalign(&owned_, align, size) != 0)
      return fail(failure, Mistake::memory, "%s: no memory for a workspace of %llu bytes", op, static_cast<unsigned long long>(size));
    data = owned_;
    return true;
  }
  const int64_t bytes = static_cast<int64_t>(size + align - 1);  // allocators promise less than some builds want
  const lamina_tensor prototype = {nullptr, device, 1, {LAMINA_CODE_UINT, 8, 1}, &bytes, nullptr, 0};
  object_ = allocate_tensor(prototype, op, "workspace", failure);
  if (!object_) return false;
  const lamina_tensor *tensor = reinterpret_cast<const lamina_tensor *>(static_cast<const Object *>(object_) + 1);
  const uint64_t address = reinterpret_cast<uint64_t>(tensor->data) + tensor->byte_offset;
  data = reinterpret_cast<void *>((address + align - 1) / align * align);
  return true;
}

Workspace::~Workspace() {
  free(owned_);
  if (object_) runtime()->release(object_);
}

}  // namespace lamina::tvm_ffi
