// A tvm-ffi build as tvm-ffi calls it, with a stand-in for the runtime: this program defines the C functions that the adapter imports weakly.
#include <dlfcn.h>
#include <malloc.h>

#include <cstdlib>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "adapters/tests/fake_cuda.h"
#include "adapters/tvm_ffi/runtime.h"

using namespace lamina::tvm_ffi;

// ---- the stand-in ------------------------------------------------------------------------------------------------------------------------

namespace {
thread_local std::string raised_kind, raised_message;
bool allocator_set = false, allocator_full = false;
int live_objects = 0, allocations = 0;
void *stream_of_device[2] = {};

struct TensorObject {
  Object header{1, type_tensor, 0, nullptr};
  lamina_tensor tensor{};
  std::vector<int64_t> shape;
  std::vector<char> bytes;
  ManagedTensor *managed = nullptr;
};
static_assert(offsetof(TensorObject, tensor) == sizeof(Object));
}  // namespace

extern "C" {
void TVMFFIErrorSetRaisedFromCStr(const char *kind, const char *message) { raised_kind = kind, raised_message = message; }
void *TVMFFIEnvGetStream(int32_t type, int32_t device) { return type == LAMINA_CUDA ? stream_of_device[device] : nullptr; }
void *TVMFFIEnvGetDLPackManagedTensorAllocator(void) { return allocator_set ? &allocator_set : nullptr; }
int TVMFFIEnvTensorAlloc(lamina_tensor *prototype, void **out) {
  if (allocator_full) return TVMFFIErrorSetRaisedFromCStr("RuntimeError", "the stand-in's memory is full"), -1;
  TensorObject *object = new TensorObject;
  object->shape.assign(prototype->shape, prototype->shape + prototype->ndim);
  size_t bytes = prototype->dtype.bits / 8u;
  for (const int64_t extent : object->shape) bytes *= static_cast<size_t>(extent);
  object->bytes.assign(bytes + 1, 'x');
  object->tensor = *prototype;
  object->tensor.shape = object->shape.data(), object->tensor.strides = nullptr, object->tensor.byte_offset = 0;
  object->tensor.data = object->bytes.data();
  ++live_objects, ++allocations;
  return *out = object, 0;
}
int TVMFFITensorFromDLPack(ManagedTensor *from, int32_t, int32_t, void **out) {
  TensorObject *object = new TensorObject;
  object->tensor = from->tensor, object->managed = from;
  ++live_objects;
  return *out = object, 0;
}
int TVMFFIObjectDecRef(void *handle) {
  TensorObject *object = static_cast<TensorObject *>(handle);
  if (object->managed) object->managed->deleter(object->managed);
  delete object;
  return --live_objects, 0;
}
}

// ---- a problem ---------------------------------------------------------------------------------------------------------------------------

namespace {

constexpr int64_t N = 5, C = 16;

struct Tensor {
  std::vector<int64_t> shape;
  std::vector<float> values;
  lamina_tensor view{};
  explicit Tensor(std::vector<int64_t> extents, float scale = 0.5f) : shape(std::move(extents)) {
    thread_local uint32_t seed = 1;
    size_t count = 1;
    for (const int64_t extent : shape) count *= static_cast<size_t>(extent);
    values.resize(count);
    for (float &value : values) value = scale * (static_cast<float>((seed = seed * 1664525u + 1013904223u) >> 8) / 8388608.0f - 1.0f);
    view = {values.data(), {LAMINA_CPU, 0}, static_cast<int32_t>(shape.size()), {LAMINA_CODE_FLOAT, 32, 1}, shape.data(), nullptr, 0};
  }
};

struct Build {
  void *library;
  int (*forward)(void *, const Any *, int32_t, Any *);
  int (*pack)(void *, const Any *, int32_t, Any *);
  const lamina_library *core;
  explicit Build(const char *path) {
    library = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
    if (!library) FAIL(dlerror());
    forward = reinterpret_cast<decltype(forward)>(dlsym(library, "__tvm_ffi_forward"));
    pack = reinterpret_cast<decltype(pack)>(dlsym(library, "__tvm_ffi_pack"));
    core = reinterpret_cast<const lamina_library *(*)()>(dlsym(library, "lamina_library_v1"))();
  }
};
const Build &build() {
  static const char *const path = std::getenv("LAMINA_TVM_FFI_BUILD");
  static const Build made(path ? path : "build/plugins/tvm_ffi/triangle_multiplication-1.0.0-reference-tvm_ffi.so");
  return made;
}

Any none() { return {type_none, 0, {.int64 = 0}}; }
Any number(double value) { return {type_float, 0, {.float64 = value}}; }
Any whole(int64_t value) { return {type_int, 0, {.int64 = value}}; }
Any pointer_to(const Tensor &tensor) { return {type_tensor_pointer, 0, {.pointer = const_cast<lamina_tensor *>(&tensor.view)}}; }
Any raw(const char *text) { return {type_raw_string, 0, {.pointer = const_cast<char *>(text)}}; }
Any small(const char *text) {
  Any value{type_small_string, static_cast<uint32_t>(std::strlen(text)), {.int64 = 0}};
  std::memcpy(value.bytes, text, value.small_length);
  return value;
}
struct StringObject {
  Object header{1, type_string, 0, nullptr};
  ByteArray content{};
  std::string text;
  explicit StringObject(std::string value) : text(std::move(value)) { content = {text.data(), text.size()}; }
  Any any() { return {type_string, 0, {.object = &header}}; }
};

struct Problem {
  Tensor pair{{1, N, N, C}, 2.0f}, out{{1, N, N, C}}, norm_in_w{{C}}, norm_in_b{{C}}, a_p{{C, C}}, a_g{{C, C}}, b_p{{C, C}}, b_g{{C, C}},
      norm_out_w{{C}}, norm_out_b{{C}}, z{{C, C}}, g{{C, C}};
  // Every argument by position, `last` in place of `out`.
  std::vector<Any> positional(Any last) const {
    const auto t = pointer_to;
    return {t(pair), none(), none(), none(),        none(),        t(norm_in_w), t(norm_in_b), t(a_p), none(), t(a_g), none(), t(b_p),
            none(),  t(b_g), none(), t(norm_out_w), t(norm_out_b), t(z),         none(),       t(g),   none(), none(), last};
  }
  std::vector<Any> parameters() const {
    return {raw("norm_in_weight"),        pointer_to(norm_in_w),  raw("norm_in_bias"),    pointer_to(norm_in_b),
            raw("a_projection_weight"),   pointer_to(a_p),        raw("a_gate_weight"),   pointer_to(a_g),
            raw("b_projection_weight"),   pointer_to(b_p),        raw("b_gate_weight"),   pointer_to(b_g),
            raw("norm_out_weight"),       pointer_to(norm_out_w), raw("norm_out_bias"),   pointer_to(norm_out_b),
            raw("out_projection_weight"), pointer_to(z),          raw("out_gate_weight"), pointer_to(g)};
  }
};

std::vector<Any> joined(std::vector<Any> a, const std::vector<Any> &b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// The same through the plug-in ABI.
std::vector<float> direct(const Problem &p, const char *direction) {
  const lamina_op *op = build().core->ops[0];
  REQUIRE(std::strcmp(op->name, "forward") == 0);
  lamina_attr attribute{"direction", LAMINA_ATTR_STRING, 0, {.s = direction}};
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.device = {LAMINA_CPU, 0}, desc.attrs = &attribute, desc.attr_count = 1;
  lamina_plan *plan = nullptr;
  REQUIRE(op->plan_create(op, &desc, &plan, nullptr) == LAMINA_OK);
  Tensor out{{1, N, N, C}};
  std::vector<const lamina_tensor *> tensors;
  for (const Any &value : p.positional(pointer_to(out)))
    tensors.push_back(value.type_index == type_none ? nullptr : static_cast<const lamina_tensor *>(value.pointer));
  lamina_call call{};
  call.struct_size = sizeof call, call.tensor_count = static_cast<uint32_t>(tensors.size()), call.tensors = tensors.data();
  lamina_need need{};
  need.struct_size = sizeof need;
  REQUIRE(op->plan_need(plan, &call, &need, nullptr) == LAMINA_OK);
  void *workspace = nullptr;
  REQUIRE(posix_memalign(&workspace, 4096, need.workspace_size + 1) == 0);
  call.workspace = workspace, call.workspace_size = need.workspace_size;
  REQUIRE(op->run(plan, &call, nullptr) == LAMINA_OK);
  op->plan_destroy(plan);
  std::free(workspace);
  return out.values;
}

int run(const std::vector<Any> &values, Any &result) {
  return build().forward(nullptr, values.data(), static_cast<int32_t>(values.size()), &result);
}
void refused(const std::vector<Any> &values, const char *kind, const char *part) {
  Any result{};
  raised_kind.clear(), raised_message.clear();
  CHECK(run(values, result) == -1);
  CHECK(result.type_index == type_none);
  CHECK(raised_kind == kind);
  CHECK_MESSAGE(raised_message.find(part) != std::string::npos, raised_message);
}
std::vector<float> floats(const void *object) {
  const lamina_tensor &tensor = static_cast<const TensorObject *>(object)->tensor;
  std::vector<float> values(static_cast<size_t>(N * N * C));
  std::memcpy(values.data(), static_cast<char *>(tensor.data) + tensor.byte_offset, values.size() * sizeof(float));
  return values;
}

}  // namespace

// ---- tests -------------------------------------------------------------------------------------------------------------------------------

TEST_CASE("by position, by name, and any kind of string: bit for bit the plug-in's own result") {
  Problem p;
  const std::vector<float> outgoing = direct(p, "outgoing"), incoming = direct(p, "incoming");
  REQUIRE(outgoing != incoming);
  Any result{};
  REQUIRE(run(p.positional(pointer_to(p.out)), result) == 0);
  CHECK(result.type_index == type_none);
  CHECK(p.out.values == outgoing);
  StringObject name("direction"), value("incoming");
  for (const auto &attribute : {std::vector<Any>{raw("direction"), raw("incoming")}, std::vector<Any>{name.any(), value.any()}}) {
    p.out.values.assign(p.out.values.size(), 0);
    REQUIRE(run(joined(p.positional(pointer_to(p.out)), attribute), result) == 0);
    CHECK(p.out.values == incoming);
  }
  p.out.values.assign(p.out.values.size(), 0);
  REQUIRE(run(joined(joined({pointer_to(p.pair), small("out"), pointer_to(p.out), small("eps"), number(1e-5)}, p.parameters()),
                     {raw("residual"), none(), raw("direction"), none(), raw("operands"), small("ab")}),
              result) == 0);
  CHECK(p.out.values == outgoing);
}

TEST_CASE("an output that is left out is allocated and returned; workspace and results go back") {
  Problem p;
  const std::vector<float> expected = direct(p, "outgoing");
  Any result{};
  for (const bool environment : {false, true}) {
    allocator_set = environment, allocations = 0;
    REQUIRE(run(joined({pointer_to(p.pair)}, p.parameters()), result) == 0);
    REQUIRE(result.type_index == type_tensor);
    CHECK(live_objects == 1);
    CHECK((allocations > 0) == environment);
    const lamina_tensor &tensor = static_cast<TensorObject *>(result.pointer)->tensor;
    CHECK(tensor.ndim == 4);
    CHECK(tensor.shape[3] == C);
    CHECK(floats(result.pointer) == expected);
    TVMFFIObjectDecRef(result.pointer);

    // Packed bytes are the op's result, and serve the next call.
    Any packed{};
    const std::vector<Any> parameters = p.parameters();
    REQUIRE(build().pack(nullptr, parameters.data(), static_cast<int32_t>(parameters.size()), &packed) == 0);
    REQUIRE(packed.type_index == type_tensor);
    p.out.values.assign(p.out.values.size(), 0);
    const int status =
        run(joined(joined({pointer_to(p.pair)}, parameters), {raw("packed"), packed, raw("out"), pointer_to(p.out)}), result);
    if (environment) {  // the stand-in's allocator promises no alignment, which the plug-in's table asks for
      if (status != 0) CHECK_MESSAGE(raised_message.find("aligned to 64") != std::string::npos, raised_message);
    } else {
      REQUIRE(status == 0);
      CHECK(p.out.values == expected);
    }
    TVMFFIObjectDecRef(packed.pointer);
    CHECK(live_objects == 0);
  }
  Tensor few{{3}};
  few.view.dtype = {LAMINA_CODE_UINT, 8, 1};
  refused(joined({pointer_to(p.pair), raw("workspace"), pointer_to(few)}, p.parameters()), "ValueError", "workspace has 3 bytes");
  CHECK(live_objects == 0);
  allocator_full = true;
  refused(joined({pointer_to(p.pair)}, p.parameters()), "RuntimeError", "the stand-in's memory is full");
  allocator_set = allocator_full = false;
  CHECK(live_objects == 0);
}

TEST_CASE("refusals arrive as Python's exceptions with sentences") {
  Problem p;
  const std::vector<Any> good = joined({pointer_to(p.pair), raw("out"), pointer_to(p.out)}, p.parameters());
  refused(joined(good, {raw("direction"), raw("up")}), "RuntimeError", "unknown value 'up'; it takes outgoing, incoming");
  refused(joined(good, {raw("eps"), number(-1)}), "ValueError", "attribute 'eps' is -1");
  refused(joined(good, {raw("eps"), raw("big")}), "TypeError", "attribute 'eps' is a string, expected a number");
  refused(joined(good, {raw("direction"), whole(1)}), "TypeError", "attribute 'direction' is an integer, expected a string");
  refused(joined(good, {raw("eps"), number(1e-5), raw("eps"), number(1e-5)}), "TypeError", "attribute 'eps' is given twice");
  refused(joined(good, {raw("out"), pointer_to(p.out)}), "TypeError", "argument 'out' is given twice");
  refused(joined(good, {raw("colour"), whole(1)}), "TypeError", "'colour' is neither an argument nor an attribute");
  refused(joined(good, {raw("eps")}), "TypeError", "the last name has no value");
  refused(joined(good, {whole(3), whole(4)}), "TypeError", "an integer stands where a name is expected");
  refused(joined(good, {raw("mask"), whole(4)}), "TypeError", "'mask' is neither");
  refused(joined(good, {raw("pair_mask"), whole(4)}), "TypeError", "argument 'pair_mask' is an integer, expected a tensor or None");
  refused(joined(good, {raw("direction"), raw(std::string(200, 'x').c_str())}), "ValueError", "no value is that long");
  StringObject nul(std::string("in\0coming", 9));
  refused(joined(good, {raw("direction"), nul.any()}), "ValueError", "NUL byte");
  refused(joined(good, {raw("pair_mask"), pointer_to(p.pair)}), "ValueError", "argument 1 'pair_mask': rank is 4, expected 3");
  refused({pointer_to(p.pair), raw("out"), pointer_to(p.out)}, "ValueError", "is missing");
  refused(joined(p.positional(pointer_to(p.out)), {none()}), "TypeError", "takes at most 23 arguments by position");
  Tensor few{{3}};
  few.view.dtype = {LAMINA_CODE_UINT, 8, 1};
  refused(joined(good, {raw("workspace"), pointer_to(few)}), "ValueError", "workspace has 3 bytes, these shapes need");
  refused(joined(good, {raw("workspace"), pointer_to(p.pair)}), "ValueError", "workspace must be a tensor of bytes");
  Tensor elsewhere = p.pair;
  elsewhere.view.shape = elsewhere.shape.data(), elsewhere.view.device = {LAMINA_CUDA, 0};
  refused(joined({pointer_to(elsewhere), raw("out"), pointer_to(p.out)}, p.parameters()), "ValueError",
          "device type is 2, this build runs on 1");
}

TEST_CASE("a workspace may be given, and many sets of attributes and threads are at home") {
  Problem p;
  const std::vector<float> expected = direct(p, "outgoing");
  Tensor workspace{{1 << 20}};
  workspace.shape[0] = 4 << 20, workspace.view.dtype = {LAMINA_CODE_UINT, 8, 1};
  const size_t misfit = reinterpret_cast<uintptr_t>(workspace.view.data) % 4096;
  workspace.view.byte_offset = 4096 - misfit, workspace.shape[0] -= 4096;
  const std::vector<Any> good = joined({pointer_to(p.pair), raw("out"), pointer_to(p.out)}, p.parameters());
  Any result{};
  allocator_set = allocator_full = true;  // nothing may be allocated
  CHECK(run(joined(good, {raw("workspace"), pointer_to(workspace)}), result) == 0);
  CHECK(p.out.values == expected);
  allocator_set = allocator_full = false;
  // A smaller problem first, with a plan of its own: what it needed is not enough for the larger one.
  Tensor cut = p.pair, little{{1, N - 2, N - 2, C}};
  cut.shape = {1, N - 2, N - 2, C}, cut.view.shape = cut.shape.data(), cut.view.data = cut.values.data();
  const std::vector<Any> eps = {raw("eps"), number(3e-4)};
  CHECK(run(joined(joined({pointer_to(cut), raw("out"), pointer_to(little)}, p.parameters()), eps), result) == 0);
  CHECK_MESSAGE(run(joined(good, eps), result) == 0, raised_message);
  // Plans beyond those that are kept go again.
  for (int i = 0; i < 100; ++i) REQUIRE(run(joined(good, {raw("eps"), number(1e-6 * (i + 1))}), result) == 0);
  const size_t used = mallinfo2().uordblks;
  for (int i = 100; i < 400; ++i) REQUIRE(run(joined(good, {raw("eps"), number(1e-6 * (i + 1))}), result) == 0);
  CHECK(mallinfo2().uordblks < used + 20000);
  CHECK(p.out.values != expected);

  std::vector<std::thread> threads;
  std::vector<int> wrong(8, 0);
  for (size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&, t] {
      Tensor mine{{1, N, N, C}};
      for (int i = 0; i < 50; ++i) {
        // Two shapes in turn, so that what was remembered of one is never taken for the other.
        const int64_t n = (i + static_cast<int>(t)) % 2 ? N : N - 2;
        Tensor cut = p.pair, out{{1, n, n, C}};
        cut.shape = {1, n, n, C}, cut.view.shape = cut.shape.data(), cut.view.data = cut.values.data();
        Any ignored{};
        wrong[t] += run(joined({pointer_to(cut), raw("out"), pointer_to(out)}, p.parameters()), ignored) != 0;
        if (n == N) wrong[t] += out.values != expected;
      }
    });
  for (std::thread &thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(8, 0));
}

TEST_CASE("a GPU build gets the stream of its device, and memory from the allocator or from nobody") {
  FakeCuda cuda;
  const Build gpu("build/plugins/tvm_ffi/triangle_multiplication-1.0.0-cuda_sm80-tvm_ffi.so");
  Problem p;
  const auto on_device = [&](int32_t device) {
    for (Tensor *tensor :
         {&p.pair, &p.out, &p.norm_in_w, &p.norm_in_b, &p.a_p, &p.a_g, &p.b_p, &p.b_g, &p.norm_out_w, &p.norm_out_b, &p.z, &p.g})
      tensor->view.device = {LAMINA_CUDA, device};
  };
  const auto call = [&](std::vector<Any> values) {
    Any result{};
    raised_kind.clear(), raised_message.clear();
    const int status = gpu.forward(nullptr, values.data(), static_cast<int32_t>(values.size()), &result);
    if (result.type_index == type_tensor) TVMFFIObjectDecRef(result.pointer);
    return status;
  };
  for (int32_t device : {0, 1}) {
    on_device(device);
    const std::vector<Any> given = joined({pointer_to(p.pair), raw("out"), pointer_to(p.out)}, p.parameters());
    allocator_set = true, allocations = 0;
    for (void *stream : {static_cast<void *>(nullptr), cuda.streams[device]}) {
      stream_of_device[device] = stream;
      CHECK_MESSAGE(call(given) == 0, raised_message);
      CHECK_MESSAGE(call(joined({pointer_to(p.pair)}, p.parameters())) == 0, raised_message);
    }
    CHECK(allocations >= 4);
    CHECK(live_objects == 0);
    stream_of_device[device] = cuda.streams[1 - device];
    CHECK(call(given) == -1);
    CHECK_MESSAGE(raised_message.find("another CUDA context") != std::string::npos, raised_message);
    CHECK(raised_kind == "ValueError");
    stream_of_device[device] = nullptr;
    allocator_set = false;
    CHECK(call(given) == -1);
    CHECK_MESSAGE(raised_message.find("no allocator is set for device type 2; give 'workspace'") != std::string::npos, raised_message);
    CHECK(call(joined({pointer_to(p.pair)}, p.parameters())) == -1);
    CHECK_MESSAGE(raised_message.find("no allocator is set for device type 2; give 'out'") != std::string::npos, raised_message);
  }
}
