// The XLA adapter as XLA calls it, with a stand-in for XLA: call frames made here, errors kept here.  The build that it loads is the reference.
#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>

#include <cstring>
#include <string>
#include <thread>
#include <vector>

#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include "abi/lamina_abi.h"
#include "adapters/tests/fake_cuda.h"
#include "adapters/xla/xla_ffi.h"

using namespace lamina::xla;

namespace lamina::xla {
struct Error {
  std::string message;
  ErrorCode code;
};
}  // namespace lamina::xla

namespace {

constexpr int64_t N = 4, C = 8;
int live_errors = 0;
int32_t ordinal = 0;
bool has_stream = false;
void *current_stream = nullptr;

Error *create_error(ErrorCreate *create) { return ++live_errors, new Error{create->message, create->code}; }
void destroy_error(ErrorDestroy *destroy) { --live_errors, delete destroy->error; }
Error *get_ordinal(DeviceOrdinalGet *get) { return get->ordinal = ordinal, nullptr; }
Error *get_stream(StreamGet *get) {
  if (has_stream) return get->stream = current_stream, nullptr;
  return ++live_errors, new Error{"there is no stream", ErrorCode::internal};
}

Api api() {
  Api made = {};
  made.struct_size = sizeof made, made.version = {sizeof(ApiVersion), nullptr, 0, 3};
  made.error_create = create_error, made.error_destroy = destroy_error, made.device_ordinal_get = get_ordinal, made.stream_get = get_stream;
  return made;
}

using Handler = Error *(*)(CallFrame *);
Handler handler(const char *name) {
  static void *const library = dlopen("build/lib/liblamina_xla.so", RTLD_NOW | RTLD_LOCAL);
  if (!library) FAIL(dlerror());
  return reinterpret_cast<Handler>(dlsym(library, name));
}

constexpr const char *build_path = "build/plugins/triangle_multiplication-1.0.0-reference.so";
const lamina_library *library() {
  static void *const handle = dlopen(build_path, RTLD_NOW | RTLD_LOCAL);
  if (!handle) FAIL(dlerror());
  return reinterpret_cast<const lamina_library *(*)()>(dlsym(handle, "lamina_library_v1"))();
}

// One call site: everything that a frame points at.
struct Call {
  struct Tensor {
    std::vector<int64_t> dims;
    std::vector<float> values;
    Buffer buffer{};
  };
  std::vector<int64_t> order{0, 5, 6, 7, 9, 11, 13, 15, 16, 17, 19}, results{22};
  std::vector<Tensor> tensors, outputs;
  std::vector<char> workspace = std::vector<char>(1 << 20);
  int64_t workspace_bytes = 1 << 20, device = LAMINA_CPU, align = 64;
  std::string path = build_path, build_id = library()->build_id, op = "forward", direction = "outgoing";
  double eps = 1e-5;
  DataType eps_type = DataType::float64;
  bool with_op = true;
  std::string unknown;

  Call() {
    uint32_t seed = 7;
    for (const std::vector<int64_t> &dims :
         std::vector<std::vector<int64_t>>{{1, N, N, C}, {C}, {C}, {C, C}, {C, C}, {C, C}, {C, C}, {C}, {C}, {C, C}, {C, C}})
      tensors.push_back(make(dims, seed));
    outputs.push_back(make({1, N, N, C}, seed));
  }
  static Tensor make(const std::vector<int64_t> &dims, uint32_t &seed) {
    size_t count = 1;
    for (const int64_t extent : dims) count *= static_cast<size_t>(extent);
    Tensor tensor{dims, std::vector<float>(count), {}};
    for (float &value : tensor.values) value = static_cast<float>((seed = seed * 1664525u + 1013904223u) >> 8) / 16777216.0f - 0.5f;
    return tensor;
  }

  Error *run(const char *stage) {
    std::vector<int32_t> types, result_types;
    std::vector<void *> values, result_values;
    const auto add = [](Tensor &tensor, std::vector<int32_t> &kinds, std::vector<void *> &pointers) {
      tensor.buffer = {sizeof(Buffer),    nullptr, DataType::float32, tensor.values.data(), static_cast<int64_t>(tensor.dims.size()),
                       tensor.dims.data()};
      kinds.push_back(value_buffer), pointers.push_back(&tensor.buffer);
    };
    for (Tensor &tensor : tensors) add(tensor, types, values);
    for (Tensor &tensor : outputs) add(tensor, result_types, result_values);
    Buffer bytes{sizeof(Buffer), nullptr, DataType::uint8, workspace.data(), 1, &workspace_bytes};
    if (align) result_types.push_back(value_buffer), result_values.push_back(&bytes);

    // In the order of their names, as XLA has them.
    std::vector<std::string> names;
    std::vector<int32_t> kinds;
    std::vector<void *> attributes;
    const auto attribute = [&](const char *name, int32_t kind, void *value) {
      names.push_back(name), kinds.push_back(kind), attributes.push_back(value);
    };
    ByteSpan direction_span{direction.data(), direction.size()}, path_span{path.data(), path.size()},
        id_span{build_id.data(), build_id.size()}, op_span{op.data(), op.size()};
    Scalar eps_scalar{eps_type, &eps}, device_scalar{DataType::int64, &device}, align_scalar{DataType::int64, &align};
    Array order_array{DataType::int64, order.size(), order.data()}, results_array{DataType::int64, results.size(), results.data()};
    attribute("direction", attribute_string, &direction_span);
    attribute("eps", attribute_scalar, &eps_scalar);
    attribute("lamina_arguments", attribute_array, &order_array);
    attribute("lamina_build", attribute_string, &path_span);
    attribute("lamina_build_id", attribute_string, &id_span);
    attribute("lamina_device", attribute_scalar, &device_scalar);
    if (with_op) attribute("lamina_op", attribute_string, &op_span);
    attribute("lamina_results", attribute_array, &results_array);
    attribute("lamina_workspace", attribute_scalar, &align_scalar);
    if (!unknown.empty()) attribute(unknown.c_str(), attribute_scalar, &eps_scalar);
    std::vector<ByteSpan> spans;
    for (const std::string &name : names) spans.push_back({name.data(), name.size()});
    std::vector<ByteSpan *> span_pointers;
    for (ByteSpan &span : spans) span_pointers.push_back(&span);

    const Api functions = api();
    CallFrame frame = {};
    frame.struct_size = sizeof frame, frame.api = &functions, frame.stage = 99;  // nobody may look at it
    frame.attributes = {sizeof(CallAttributes), nullptr,          static_cast<int64_t>(names.size()), kinds.data(),
                        span_pointers.data(),   attributes.data()};
    if (std::string(stage).find("execute") != std::string::npos) {
      frame.arguments = {sizeof(Values), nullptr, static_cast<int64_t>(values.size()), types.data(), values.data()};
      frame.results = {sizeof(Values), nullptr, static_cast<int64_t>(result_values.size()), result_types.data(), result_values.data()};
    }
    return handler(stage)(&frame);
  }
  std::vector<float> direct() {
    const lamina_op *found = library()->ops[0];
    const lamina_attr attrs[] = {{"direction", LAMINA_ATTR_STRING, 0, {.s = direction.c_str()}}, {"eps", LAMINA_ATTR_FLOAT, 0, {.f = eps}}};
    lamina_plan_desc desc = {};
    desc.struct_size = sizeof desc, desc.device = {LAMINA_CPU, 0}, desc.attrs = attrs, desc.attr_count = 2;
    lamina_plan *plan = nullptr;
    REQUIRE(found->plan_create(found, &desc, &plan, nullptr) == LAMINA_OK);
    Tensor out = outputs[0];
    std::vector<lamina_tensor> made(found->arg_count);
    std::vector<const lamina_tensor *> given(found->arg_count);
    const auto put = [&](int64_t index, Tensor &tensor) {
      made[static_cast<size_t>(index)] = {tensor.values.data(),
                                          {LAMINA_CPU, 0},
                                          static_cast<int32_t>(tensor.dims.size()),
                                          {LAMINA_CODE_FLOAT, 32, 1},
                                          tensor.dims.data(),
                                          nullptr,
                                          0};
      given[static_cast<size_t>(index)] = &made[static_cast<size_t>(index)];
    };
    for (size_t i = 0; i < order.size(); ++i) put(order[i], tensors[i]);
    put(22, out);
    lamina_call call = {};
    void *memory = nullptr;
    REQUIRE(posix_memalign(&memory, 64, 1 << 20) == 0);
    call.struct_size = sizeof call, call.tensor_count = found->arg_count, call.tensors = given.data(), call.workspace = memory;
    call.workspace_size = 1 << 20;
    REQUIRE(found->run(plan, &call, nullptr) == LAMINA_OK);
    found->plan_destroy(plan);
    free(memory);
    return out.values;
  }
};

void succeeds(Call &call, const char *stage) {
  Error *error = call.run(stage);
  if (error) FAIL(error->message);
}
void refused(Call call, const char *stage, ErrorCode code, const char *part) {
  Error *error = call.run(stage);
  REQUIRE(error != nullptr);
  CHECK(error->code == code);
  CHECK_MESSAGE(error->message.find(part) != std::string::npos, error->message);
  ErrorDestroy destroy{sizeof destroy, nullptr, error};
  destroy_error(&destroy);
  CHECK(live_errors == 0);
}

}  // namespace

TEST_CASE("every handler says what it is") {
  for (const char *name : {"lamina_xla_instantiate", "lamina_xla_initialize", "lamina_xla_execute", "lamina_xla_execute_uncaptured"}) {
    Metadata metadata = {};
    MetadataExtension question{{sizeof question, extension_metadata, nullptr}, &metadata};
    CallFrame frame = {};
    frame.struct_size = sizeof frame, frame.extension_start = &question.base;
    metadata.api_version.minor = -1;
    CHECK(handler(name)(&frame) == nullptr);
    CHECK(metadata.api_version.major == 0);
    CHECK(metadata.api_version.minor == 1);
    CHECK((metadata.traits == trait_command_buffer_compatible) == (std::string(name) == "lamina_xla_execute"));
  }
}

TEST_CASE("the stages of a call: bit for bit the plug-in's own result") {
  Call call;
  for (const char *direction : {"outgoing", "incoming"}) {
    call.direction = direction;
    succeeds(call, "lamina_xla_instantiate");
    succeeds(call, "lamina_xla_initialize");
    succeeds(call, "lamina_xla_execute");
    CHECK(call.outputs[0].values == call.direct());
  }
  const std::vector<float> incoming = call.outputs[0].values;
  call.direction = "outgoing";
  succeeds(call, "lamina_xla_execute_uncaptured");
  CHECK(call.outputs[0].values != incoming);
  std::vector<std::thread> threads;
  std::vector<int> wrong(6, 0);
  for (size_t t = 0; t < wrong.size(); ++t)
    threads.emplace_back([&wrong, t, &call] {
      for (int i = 0; i < 30; ++i) {
        Call mine;
        mine.eps = 1e-6 * (i + 1);  // more sets of attributes than plans are kept for
        wrong[t] += mine.run("lamina_xla_execute") != nullptr;
        mine.eps = call.eps;
        wrong[t] += mine.run("lamina_xla_execute") != nullptr;
        wrong[t] += mine.outputs[0].values != call.outputs[0].values;
      }
    });
  for (std::thread &thread : threads) thread.join();
  CHECK(wrong == std::vector<int>(6, 0));
  // Plans beyond those that are kept go again.
  const auto many = [&](int from) {
    for (int i = from; i < from + 100; ++i) {
      call.eps = 1e-5 * (i + 1);
      succeeds(call, i % 2 ? "lamina_xla_initialize" : "lamina_xla_execute");
    }
  };
  many(10);
  const size_t used = mallinfo2().uordblks;
  many(110), many(210);
  CHECK(mallinfo2().uordblks < used + 20000);
}

TEST_CASE("refusals carry XLA's codes and the plug-in's sentences") {
  const auto changed = [](auto change) {
    Call call;
    change(call);
    return call;
  };
  const ErrorCode invalid = ErrorCode::invalid_argument, unimplemented = ErrorCode::unimplemented;
  for (const char *stage : {"lamina_xla_instantiate", "lamina_xla_initialize", "lamina_xla_execute"}) {
    refused(changed([](Call &c) { c.path = "build/plugins/nothing.so"; }), stage, invalid, "nothing.so cannot be loaded as a Lamina build");
    refused(changed([](Call &c) { c.path = "build/lib/liblamina_xla.so"; }), stage, invalid, "it does not export lamina_library_v1");
    refused(changed([](Call &c) { c.path = std::string(5000, 'x'); }), stage, invalid, "has 5000 bytes");
    refused(changed([](Call &c) { c.build_id = "0123"; }), stage, invalid, "the program was traced for build 0123");
    refused(changed([](Call &c) { c.op = "backwards"; }), stage, invalid, "has no op 'backwards'");
    refused(changed([](Call &c) { c.with_op = false; }), stage, invalid, "lacks one of its lamina_* attributes");
    refused(changed([](Call &c) { c.order[3] = 23; }), stage, invalid, "lamina_arguments names argument 23");
    refused(changed([](Call &c) { c.unknown = "colour"; }), stage, invalid, "unknown attribute 'colour'");
    refused(changed([](Call &c) { c.eps_type = DataType::int8; }), stage, invalid, "attribute 'eps' is neither a number nor a string");
    refused(changed([](Call &c) { c.align = 3; }), stage, invalid, "expected 0 or a power of two");
  }
  refused(changed([](Call &c) { c.direction = "up"; }), "lamina_xla_initialize", unimplemented,
          "unknown value 'up'; it takes outgoing, incoming");
  refused(changed([](Call &c) { c.device = LAMINA_CUDA; }), "lamina_xla_initialize", invalid, "device type is 2, this build runs on 1");
  refused(changed([](Call &c) { c.device = LAMINA_CUDA; }), "lamina_xla_execute", ErrorCode::internal, "XLA does not tell the stream");
  refused(changed([](Call &c) { c.tensors.pop_back(); }), "lamina_xla_execute", invalid, "the attributes speak of 11 and 2");
  refused(changed([](Call &c) { c.tensors[3].dims = {C, C - 1}; }), "lamina_xla_execute", invalid,
          "argument 7 'a_projection_weight': dimension 1");
  refused(changed([](Call &c) { c.workspace_bytes = 65; }), "lamina_xla_execute", invalid, "these shapes need");
}

TEST_CASE("a GPU build plans on the device that XLA names and runs on its stream") {
  FakeCuda cuda;
  Call call;
  call.path = "build/plugins/triangle_multiplication-1.0.0-cuda_sm80.so", call.device = LAMINA_CUDA;
  void *library = dlopen(call.path.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  call.build_id = reinterpret_cast<const struct lamina_library *(*)()>(dlsym(library, "lamina_library_v1"))()->build_id;
  call.align = 256;
  has_stream = true;
  for (const int32_t device : {0, 1}) {
    ordinal = device;
    succeeds(call, "lamina_xla_instantiate");
    succeeds(call, "lamina_xla_initialize");
    current_stream = cuda.streams[device];
    succeeds(call, "lamina_xla_execute");
    current_stream = cuda.streams[1 - device];
    refused(call, "lamina_xla_execute", ErrorCode::invalid_argument, "another CUDA context");
  }
  ordinal = 7;  // there are two
  refused(call, "lamina_xla_initialize", ErrorCode::invalid_argument, "device");
  has_stream = false;
}
