#include "conformance/cuda_emulator/memory_threads.h"

#include <exception>
#include <semaphore>
#include <thread>
#include <vector>

namespace lamina::cuda_emulator {
namespace {

class MemoryThread {
 public:
  MemoryThread() : thread_([this] { serve(); }) { thread_.detach(); }
  void run(const std::function<void()> &work) {
    work_ = &work, thrown_ = nullptr;
    begin_.release();
    end_.acquire();
    if (thrown_) std::rethrow_exception(thrown_);
  }

 private:
  void serve() {
    for (;;) {
      begin_.acquire();
      try {
        (*work_)();
      } catch (...) { thrown_ = std::current_exception(); }
      end_.release();
    }
  }
  const std::function<void()> *work_ = nullptr;
  std::exception_ptr thrown_;
  std::binary_semaphore begin_{0}, end_{0};
  std::thread thread_;
};

}  // namespace

void on_memory_thread(int rank, const std::function<void()> &work) {
  // Never destroyed: they wait until the process ends.  One launch runs at a time.
  static auto *const threads = new std::vector<MemoryThread *>;
  if (rank == 0) return work();
  while (static_cast<int>(threads->size()) < rank) threads->push_back(new MemoryThread);
  (*threads)[rank - 1]->run(work);
}

}  // namespace lamina::cuda_emulator
