#include "conformance/fake_cuda/model.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>
#include <stdexcept>

namespace lamina::fake_cuda {
namespace {

void read_environment(Machine &machine) {
  const char *words = std::getenv("LAMINA_FAKE_CUDA");
  std::istringstream list(words ? words : "");
  for (std::string word; list >> word;) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
    if (name == "devices") machine.devices = std::stoi(value);
    else if (name == "capability") machine.capability = std::stoi(value);
    else if (name == "driver") machine.driver = std::stoi(value);
    else if (name == "processors") machine.processors = std::stoi(value);
    else if (name == "missing") machine.missing = value;
    else throw std::runtime_error("LAMINA_FAKE_CUDA knows no word '" + word + "'");
  }
}

class TheControl final : public Control {
 public:
  Machine &machine() override { return model().machine; }
  void fail_next(const std::string &function, int code, int nth) override {
    const std::lock_guard hold(model().lock);
    model().faults[function] = {nth, code};
  }
  std::map<std::string, int> calls() override { return copy(model().calls); }
  std::vector<Launch> launches() override { return copy(model().launches); }
  void forget() override {
    const std::lock_guard hold(model().lock);
    model().calls.clear(), model().launches.clear();
  }
  std::vector<std::string> misuses() override { return copy(model().misuses); }
  std::vector<std::string> requested() override { return copy(model().requested); }
  int retained(int device) override {
    const std::lock_guard hold(model().lock);
    return model().primary[device].second;
  }
  int loaded_libraries() override {
    const std::lock_guard hold(model().lock);
    int count = 0;
    for (const auto &library : model().libraries) count += library->alive;
    return count;
  }
  int live_bytes() override {
    const std::lock_guard hold(model().lock);
    size_t bytes = 0;
    for (const auto &[address, size] : model().memory) bytes += size;
    return static_cast<int>(bytes);
  }
  size_t stack_depth() override { return thread().stack.size(); }
  int capture_mode() override { return thread().mode; }
  std::vector<Kernel> kernels(const void *image) override { return kernels_for(pieces_of(image), model().machine.capability); }
  std::vector<int> capabilities(const void *image) override {
    std::vector<int> all;
    for (const Piece &piece : pieces_of(image))
      if (piece.machine_code) all.push_back(piece.capability);
    return all;
  }

 private:
  template <class Value>
  static Value copy(const Value &value) {
    const std::lock_guard hold(model().lock);
    return value;
  }
};

}  // namespace

Model &model() {
  static Model *const the_model = [] {
    auto *made = new Model;  // outlives every static destructor that may still call in
    read_environment(made->machine);
    return made;
  }();
  return *the_model;
}

Thread &thread() {
  static thread_local Thread mine;
  return mine;
}

Entry::Entry(const char *function) : hold_(model().lock, std::defer_lock) {
  Model &m = model();
  if (m.machine.delay) std::this_thread::sleep_for(std::chrono::microseconds(m.machine.delay));
  hold_.lock();
  ++m.calls[function];
  if (const auto fault = m.faults.find(function); fault != m.faults.end() && --fault->second.first == 0) {
    code_ = static_cast<CUresult>(fault->second.second);
    m.faults.erase(fault);
    return;
  }
  static const std::set<std::string> before_init = {"cuInit", "cuDriverGetVersion", "cuGetErrorName", "cuGetErrorString",
                                                    "cuGetProcAddress_v2"};
  if (!m.initialised && !before_init.contains(function)) code_ = CUDA_ERROR_NOT_INITIALIZED;
}

CUresult (*executor)(const Launch &) = nullptr;
CUresult execute(const Launch &launch) { return executor ? executor(launch) : CUDA_SUCCESS; }

void misuse(const std::string &sentence) {
  if (executor) std::fprintf(stderr, "stand-in driver: %s\n", sentence.c_str());
  model().misuses.push_back(sentence);
}

Context *current() { return thread().stack.empty() ? nullptr : thread().stack.back(); }

bool is_default(CUstream stream) { return !stream || stream == CU_STREAM_LEGACY || stream == CU_STREAM_PER_THREAD; }

Stream *stream_of(CUstream stream) {
  for (const auto &known : model().streams)
    if (known->alive && reinterpret_cast<CUstream>(known.get()) == stream) return known.get();
  return nullptr;
}

Handle *handle_of(const void *kernel) {
  for (const auto &known : model().handles)
    if (known.get() == kernel && known->library->alive) return known.get();
  return nullptr;
}

int most_shared_bytes(int capability) {
  switch (capability) {
    case 75: return 64 * 1024;
    case 80:
    case 87: return 163 * 1024;
    case 86:
    case 89:
    case 120: return 99 * 1024;
    default: return 227 * 1024;
  }
}

bool unsafe_now() {
  const auto here = std::this_thread::get_id();
  for (const auto &stream : model().streams) {
    if (!stream->alive || !stream->capturing || stream->mode == CU_STREAM_CAPTURE_MODE_RELAXED) continue;
    const bool mine = stream->origin == here;
    if (thread().mode == CU_STREAM_CAPTURE_MODE_GLOBAL && (mine || stream->mode == CU_STREAM_CAPTURE_MODE_GLOBAL)) return true;
    if (thread().mode == CU_STREAM_CAPTURE_MODE_THREAD_LOCAL && mine) return true;
  }
  return false;
}

CUresult refuse_unsafe(const char *function) {
  misuse(std::string(function) + " while a stream is captured");
  for (const auto &stream : model().streams)
    if (stream->capturing && (stream->origin == std::this_thread::get_id() || stream->mode == CU_STREAM_CAPTURE_MODE_GLOBAL))
      stream->invalid = true;
  return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

}  // namespace lamina::fake_cuda

extern "C" __attribute__((visibility("default"))) lamina::fake_cuda::Control *lamina_fake_cuda() {
  static lamina::fake_cuda::TheControl control;
  return &control;
}
