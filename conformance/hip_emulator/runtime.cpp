// The machine, its threads and its errors; and what tests see of them.
#include "conformance/hip_emulator/runtime.h"

#include <cstdio>
#include <cstdlib>
#include <sstream>

namespace lamina::hip_emulator {
namespace {

Machine machine_of_environment() {
  Machine machine;
  const char *given = std::getenv("LAMINA_HIP_EMULATOR");
  std::istringstream words(given ? given : "");
  const std::map<std::string, int *> numbers{{"devices", &machine.devices}, {"threads", &machine.threads}, {"races", &machine.races},
                                             {"aligned", &machine.aligned}, {"runtime", &machine.runtime}, {"report", &machine.report}};
  for (std::string word; words >> word;) {
    const size_t equals = word.find('=');
    const std::string name = word.substr(0, equals), value = equals == std::string::npos ? "" : word.substr(equals + 1);
    const auto number = numbers.find(name);
    char *end = nullptr;
    const long parsed = std::strtol(value.c_str(), &end, 10);
    if (name == "arch" && (value == "gfx90a" || value == "gfx942" || value == "gfx950")) {
      machine.arch = value;
    } else if (number != numbers.end() && !value.empty() && !*end && parsed >= 0 && parsed < 1L << 30) {
      *number->second = static_cast<int>(parsed);
    } else {
      std::fprintf(stderr,
                   "LAMINA_HIP_EMULATOR: '%s' is not understood; words are arch= devices= threads= races= aligned= runtime= report=\n",
                   word.c_str());
      std::abort();
    }
  }
  return machine;
}

class ModelControl final : public Control {
 public:
  Machine &machine() override { return model().machine; }
  void fail_next(const std::string &function, int code, int nth) override {
    const std::lock_guard hold(model().lock);
    model().faults[function] = {nth, code};
  }
  std::map<std::string, int> calls() override { return copy(model().calls); }
  std::vector<Launched> launches() override { return copy(model().launches); }
  std::vector<std::string> misuses() override { return copy(model().misuses); }
  void forget() override {
    const std::lock_guard hold(model().lock);
    for (const auto &stream : model().streams) stream->queue.clear();
    model().calls.clear(), model().launches.clear(), model().misuses.clear(), model().faults.clear();
    model().sticky = this_thread().last = hipSuccess;
  }
  int loaded_modules() override {
    const std::lock_guard hold(model().lock);
    int alive = 0;
    for (const auto &module : model().modules) alive += module->alive;
    return alive;
  }
  size_t live_bytes() override {
    const std::lock_guard hold(model().lock);
    size_t bytes = 0;
    for (const auto &[address, size] : model().memory) bytes += size;
    return bytes;
  }

 private:
  template <class T>
  static T copy(const T &value) {
    const std::lock_guard hold(model().lock);
    return value;
  }
};

}  // namespace

Model &model() {
  static Model *const all = [] {
    auto *made = new Model;  // outlives every thread that still calls
    made->machine = machine_of_environment();
    made->streams.push_back(std::make_unique<Stream>());
    return made;
  }();
  return *all;
}

Thread &this_thread() {
  thread_local Thread state;
  return state;
}

Entry::Entry(const char *function) : hold_(model().lock) {
  Model &m = model();
  ++m.calls[function];
  const auto fault = m.faults.find(function);
  if (fault == m.faults.end() || --fault->second.first > 0) return;
  code_ = static_cast<hipError_t>(fault->second.second);
  m.faults.erase(fault);
}

hipError_t failed(hipError_t code) {
  if (code != hipSuccess) this_thread().last = code;
  return code;
}

hipError_t misuse(hipError_t code, const std::string &sentence) {
  std::fprintf(stderr, "hip emulator: %s\n", sentence.c_str());
  model().misuses.push_back(sentence);
  return failed(code);
}

}  // namespace lamina::hip_emulator

extern "C" __attribute__((visibility("default"))) lamina::hip_emulator::Control *lamina_hip_emulator() {
  static lamina::hip_emulator::ModelControl control;
  return &control;
}
