#include "bench/subject.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <sstream>

#include "manifest/convert.h"
#include "manifest/error.h"
#include "manifest/tensor.h"

namespace lamina::bench {
namespace {

struct Said {
  lamina_error error{};
  Said() { error.struct_size = sizeof error; }
  void check(lamina_status status, const std::string &step) const {
    if (status == LAMINA_OK) return;
    const bool asked = status == LAMINA_INVALID_ARGUMENT;
    throw Error(asked                          ? ErrorKind::invalid_argument
                : status == LAMINA_UNSUPPORTED ? ErrorKind::unsupported
                                               : ErrorKind::internal,
                step + ": " + error.message);
  }
};

const lamina_op &op_named(const lamina_library &library, const std::string &name) {
  for (uint32_t i = 0; i < library.op_count; ++i)
    if (name == library.ops[i]->name) return *library.ops[i];
  throw Error(ErrorKind::invalid_argument, std::string(library.name) + " has no op '" + name + "'");
}

int argument_named(const lamina_op &op, const char *name) {
  for (uint32_t i = 0; i < op.arg_count; ++i)
    if (!std::strcmp(name, op.args[i].name)) return static_cast<int>(i);
  return -1;
}

std::vector<std::string> words_of(const char *shape) {
  std::vector<std::string> words;
  std::istringstream text(shape);
  for (std::string word; text >> word;) words.push_back(word);
  return words;
}

bool matches(const std::string &pattern, const std::string &name) {
  if (!pattern.empty() && pattern.front() == '*') return name.ends_with(pattern.substr(1));
  if (!pattern.empty() && pattern.back() == '*') return name.compare(0, pattern.size() - 1, pattern, 0, pattern.size() - 1) == 0;
  return pattern == name;
}

// The attributes of `setting` that this op has; strings point into `setting`.
lamina_plan *make_plan(const lamina_op &op, const Setting &setting, const Home &home) {
  std::vector<lamina_attr> list;
  for (uint32_t i = 0; i < op.attr_count; ++i) {
    lamina_attr attr = op.attrs[i];
    const auto found = setting.attributes.find(attr.name);
    if (op.kind == LAMINA_PACK && !std::strcmp(attr.name, "dtype")) attr.value.s = setting.dtype.c_str();
    else if (found == setting.attributes.end()) continue;
    else if (attr.kind == LAMINA_ATTR_STRING) attr.value.s = found->second.c_str();
    else if (attr.kind == LAMINA_ATTR_FLOAT) attr.value.f = std::atof(found->second.c_str());
    else attr.value.i = std::atoll(found->second.c_str());
    list.push_back(attr);
  }
  lamina_plan_desc desc{};
  desc.struct_size = sizeof desc, desc.device = home.device, desc.host = home.host.get();
  desc.attrs = list.data(), desc.attr_count = static_cast<uint32_t>(list.size());
  lamina_plan *plan = nullptr;
  Said said;
  said.check(op.plan_create(&op, &desc, &plan, &said.error), std::string("creating a plan of ") + op.name);
  return plan;
}

}  // namespace

Home processor_home() {
  Home home;
  home.allocate = [](uint64_t size, uint64_t align, const void *content) {
    uint64_t bytes = size;
    void *memory = nullptr;
    // Huge pages where the system gives them, as in the heap that peers.cpp arranges for the peers.
    constexpr uint64_t huge_page = 2u << 20;
    if (bytes >= huge_page) align = std::max(align, huge_page), bytes = (bytes + huge_page - 1) / huge_page * huge_page;
    if (posix_memalign(&memory, std::max<uint64_t>(align, 4096), std::max<uint64_t>(bytes, 1)))
      throw Error(ErrorKind::internal, "no memory for " + std::to_string(bytes) + " bytes");
    if (bytes >= huge_page) madvise(memory, bytes, MADV_HUGEPAGE);
    if (content) std::memcpy(memory, content, size);
    else std::memset(memory, 0, bytes);
    return std::shared_ptr<void>(memory, std::free);
  };
  home.synchronise = [] {};
  return home;
}

const lamina_library &open_plugin(const std::string &path) {
  char resolved[PATH_MAX];
  if (!realpath(path.c_str(), resolved)) throw Error(ErrorKind::not_found, path + ": no such file; `make plugins` builds it");
  void *handle = dlopen(resolved, RTLD_NOW | RTLD_LOCAL);
  if (!handle) throw Error(ErrorKind::malformed, path + " does not load: " + dlerror());
  const auto entry = reinterpret_cast<lamina_library_v1_function>(dlsym(handle, LAMINA_LIBRARY_SYMBOL));
  if (!entry || !entry()) throw Error(ErrorKind::malformed, path + " exports no " LAMINA_LIBRARY_SYMBOL "; it is not a Lamina plug-in");
  return *entry();
}

void complete_dims(const lamina_library &library, Setting &setting) {
  const lamina_op &op = op_named(library, setting.op == "training" ? "backward" : setting.op);
  if (setting.dims.empty()) throw Error(ErrorKind::invalid_argument, "no dimensions are given, for instance N=256,C=128");
  const auto channels = setting.dims.find("C");
  const int64_t other = channels != setting.dims.end() ? channels->second : setting.dims.rbegin()->second;
  for (uint32_t i = 0; i < op.arg_count; ++i) {
    if (op.args[i].role == LAMINA_PACKED || op.args[i].role == LAMINA_SAVED) continue;
    for (const std::string &word : words_of(op.args[i].shape))
      if (word[0] < '0' || word[0] > '9') setting.dims.emplace(word, word == "B" ? 1 : other);
  }
}

Subject::Subject(const lamina_library &library, const Setting &setting, const Home &home)
    : op_(op_named(library, setting.op)), home_(home), slots_(op_.arg_count), table_(op_.arg_count, nullptr) {
  const std::optional<lamina_dtype> dtype = manifest::dtype_named(setting.dtype);
  if (!dtype) throw Error(ErrorKind::invalid_argument, "no dtype is called '" + setting.dtype + "'");
  for (const std::string &pattern : setting.given) {
    bool used = false;
    for (uint32_t i = 0; i < op_.arg_count; ++i) used = used || matches(pattern, op_.args[i].name);
    if (!used) throw Error(ErrorKind::invalid_argument, std::string(op_.name) + " has no argument '" + pattern + "'");
  }
  for (uint32_t i = 0; i < op_.arg_count; ++i) {
    const lamina_arg &arg = op_.args[i];
    if (arg.role == LAMINA_PACKED || arg.role == LAMINA_SAVED) continue;
    const bool wanted = std::any_of(setting.given.begin(), setting.given.end(), [&](const std::string &p) { return matches(p, arg.name); });
    if ((arg.flags & LAMINA_OPTIONAL) && !wanted) continue;
    if (const std::string name = arg.name, ending = "_gradient"; arg.role == LAMINA_OUTPUT && name.ends_with(ending))
      if (const int owner = argument_named(op_, name.substr(0, name.size() - ending.size()).c_str());
          owner >= 0 && !table_[static_cast<size_t>(owner)])
        continue;
    std::vector<int64_t> shape;
    for (const std::string &word : words_of(arg.shape))
      shape.push_back(word[0] >= '0' && word[0] <= '9' ? std::atoll(word.c_str()) : setting.dims.at(word));
    place(static_cast<int>(i), *dtype, shape);
  }
  plan_ = make_plan(op_, setting, home_);
  try {
    pack(library, setting);
    save(library, setting);
    need_.struct_size = sizeof need_;
    const lamina_call request = call();
    Said said;
    said.check(op_.plan_need(plan_, &request, &need_, &said.error), op_.name);
    if (need_.workspace_size) workspace_ = home_.allocate(need_.workspace_size, need_.workspace_align, nullptr);
  } catch (...) {
    op_.plan_destroy(plan_);
    throw;
  }
}

Subject::~Subject() { op_.plan_destroy(plan_); }

void Subject::place(int argument, lamina_dtype dtype, const std::vector<int64_t> &shape) {
  Slot &slot = slots_[static_cast<size_t>(argument)];
  uint64_t bytes = static_cast<uint64_t>(manifest::dtype_bytes(dtype));
  for (const int64_t extent : shape) bytes *= static_cast<uint64_t>(extent);
  const std::vector<unsigned char> content = draw(argument, dtype, shape, bytes);
  slot.memory = home_.allocate(bytes, 64, content.empty() ? nullptr : content.data());
  slot.shape = shape;
  slot.tensor = {slot.memory.get(), home_.device, static_cast<int32_t>(shape.size()), dtype, slot.shape.data(), nullptr, 0};
  table_[static_cast<size_t>(argument)] = &slot.tensor;
  if (op_.args[argument].role == LAMINA_OUTPUT && !output_bytes_) output_bytes_ = bytes;
}

// Values of unit size; matrices are divided by the square root of their last extent, so that results stay of unit size.
std::vector<unsigned char> Subject::draw(int argument, lamina_dtype dtype, const std::vector<int64_t> &shape, uint64_t bytes) const {
  const int32_t role = static_cast<int32_t>(op_.args[argument].role);
  if (role == LAMINA_OUTPUT || role == LAMINA_PACKED || role == LAMINA_SAVED) return {};
  std::vector<unsigned char> content(bytes);
  const int64_t width = manifest::dtype_bytes(dtype);
  int64_t elements = 1;
  for (const int64_t extent : shape) elements *= extent;
  const double scale = role == LAMINA_PARAM && shape.size() == 2 ? 1 / std::sqrt(static_cast<double>(shape[1])) : 1;
  constexpr int64_t period = 65521;  // a prime: rows do not repeat in step
  uint64_t state = 0x9e3779b97f4a7c15u + static_cast<uint64_t>(argument);
  for (int64_t i = 0; i < std::min(elements, period); ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const double uniform = static_cast<double>(state >> 11) * 0x1p-53;
    manifest::store_element(content.data() + i * width, dtype, (uniform - 0.5) * 3.4641 * scale);
  }
  for (int64_t i = period; i < elements; i += period)
    std::memcpy(content.data() + i * width, content.data(), static_cast<size_t>(std::min(elements - i, period) * width));
  return content;
}

void Subject::pack(const lamina_library &library, const Setting &setting) {
  const int packed = argument_named(op_, "packed");
  if (packed < 0) return;
  Setting packing = setting;
  packing.op = "pack";
  const lamina_op &op = op_named(library, "pack");
  const std::unique_ptr<lamina_plan, void (*)(lamina_plan *)> plan(make_plan(op, packing, home_), op.plan_destroy);
  std::vector<const lamina_tensor *> table(op.arg_count, nullptr);
  for (uint32_t i = 0; i < op.arg_count; ++i)
    if (const int here = argument_named(op_, op.args[i].name); here >= 0) table[i] = table_[static_cast<size_t>(here)];
  lamina_call request{};
  request.struct_size = sizeof request, request.tensors = table.data(), request.tensor_count = op.arg_count;
  lamina_need need{};
  need.struct_size = sizeof need;
  Said said;
  said.check(op.plan_need(plan.get(), &request, &need, &said.error), "asking what pack needs");
  place(packed, *manifest::dtype_named("uint8"), {static_cast<int64_t>(need.packed_size)});
  table[static_cast<size_t>(argument_named(op, "packed"))] = table_[static_cast<size_t>(packed)];
  std::shared_ptr<void> workspace;
  if (need.workspace_size) workspace = home_.allocate(need.workspace_size, std::max<uint64_t>(need.workspace_align, 1), nullptr);
  request.stream = home_.stream, request.workspace = workspace.get(), request.workspace_size = need.workspace_size;
  said.check(op.run(plan.get(), &request, &said.error), "packing the weights");
  home_.synchronise();
}

void Subject::save(const lamina_library &library, const Setting &setting) {
  const auto saved_of = [](const lamina_op &op) {
    for (uint32_t i = 0; i < op.arg_count; ++i)
      if (op.args[i].role == LAMINA_SAVED) return static_cast<int>(i);
    return -1;
  };
  const int saved = saved_of(op_);
  if (saved < 0) return;
  std::vector<int64_t> room(op_.arg_count * 8);
  std::vector<lamina_tensor> told(op_.arg_count);
  for (uint32_t i = 0; i < op_.arg_count; ++i) told[i].shape = room.data() + 8 * i;
  const lamina_call request = call();
  Said said;
  said.check(op_.infer(plan_, &request, told.data(), &said.error), "asking what is saved");
  saved_bytes_ = static_cast<uint64_t>(told[static_cast<size_t>(saved)].shape[0]);
  if (!saved_bytes_) return;
  place(saved, *manifest::dtype_named("uint8"), {static_cast<int64_t>(saved_bytes_)});
  if (op_.kind != LAMINA_BACKWARD) return;
  Setting before = setting;  // backward reads what forward_train of the same tensors wrote
  before.op = "forward_train", before.given.clear();
  const lamina_op &train = op_named(library, before.op);
  for (uint32_t i = 0; i < train.arg_count; ++i)
    if (const int here = argument_named(op_, train.args[i].name); here >= 0 && here != saved && table_[static_cast<size_t>(here)])
      before.given.push_back(train.args[i].name);
  const Subject first(library, before, home_);
  for (uint32_t i = 0; i < train.arg_count; ++i)
    if (const int here = argument_named(op_, train.args[i].name); here >= 0 && table_[static_cast<size_t>(here)])
      const_cast<Subject &>(first).table_[i] = table_[static_cast<size_t>(here)];
  first.run();
  home_.synchronise();
}

lamina_call Subject::call() const {
  lamina_call call{};
  call.struct_size = sizeof call;
  call.tensors = table_.data(), call.tensor_count = op_.arg_count;
  call.stream = home_.stream, call.workspace = workspace_.get(), call.workspace_size = workspace_ ? need_.workspace_size : 0;
  return call;
}

void Subject::run() const {
  const lamina_call request = call();
  Said said;
  said.check(op_.run(plan_, &request, &said.error), op_.name);
}

std::vector<double> time_together(const std::vector<std::unique_ptr<Subject>> &subjects, const Home &home, int repeats, double seconds) {
  const auto now = [&] {
    timespec time;
    clock_gettime(home.processor_time ? CLOCK_PROCESS_CPUTIME_ID : CLOCK_MONOTONIC, &time);
    return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
  };
  const auto run = [&] {
    for (const auto &subject : subjects) subject->run();
  };
  run();
  home.synchronise();
  std::vector<double> times;
  for (double total = 0; static_cast<int>(times.size()) < repeats || total < seconds; total += times.back()) {
    const double begin = now();
    for (int i = 0; i < home.runs_at_once; ++i) run();
    home.synchronise();
    times.push_back((now() - begin) / home.runs_at_once);
  }
  return times;
}

}  // namespace lamina::bench
