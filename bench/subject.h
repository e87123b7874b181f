// What is timed: one op of a plug-in with tensors, plan, packed weights and workspace of its own, through the ABI alone.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "abi/lamina_abi.h"

namespace lamina::bench {

// The plug-in's table.  Never unloaded.  Errors: not_found, malformed (not a Lamina plug-in).
const lamina_library &open_plugin(const std::string &path);

struct Setting {
  std::string op = "forward", dtype = "float32";
  std::map<std::string, int64_t> dims;            // by letter; complete_dims() fills the rest
  std::map<std::string, std::string> attributes;  // as text
  // Optional arguments to give; a * at the end takes all that begin so, one at the beginning all that end so.  A gradient whose own argument
  // is absent is absent too.
  std::vector<std::string> given;
};

// Where tensors lie and how work is waited for.
struct Home {
  lamina_device device{LAMINA_CPU, 0};
  void *stream = nullptr;
  // `bytes` of memory, copied from `content` unless that is null.
  std::function<std::shared_ptr<void>(uint64_t bytes, uint64_t align, const void *content)> allocate;
  std::function<void()> synchronise;
  std::shared_ptr<const lamina_host> host = nullptr;  // services for plans: profiler ranges; null gives none
  bool processor_time = false;                        // times are what the process spent on processors, not what the wall clock says
  int runs_at_once = 1;                               // runs that are enqueued before one is waited for
};
Home processor_home();

class Subject {
 public:
  // Draws every tensor, packs the weights where there is an op "pack"; before an op of kind BACKWARD runs forward_train once where something
  // is saved.  Errors: invalid_argument (unknown op, attribute or argument),
  // unsupported and whatever the plug-in says.
  Subject(const lamina_library &library, const Setting &setting, const Home &home);
  ~Subject();
  Subject(const Subject &) = delete;
  Subject &operator=(const Subject &) = delete;

  void run() const;
  uint64_t workspace_bytes() const { return need_.workspace_size; }
  uint64_t saved_bytes() const { return saved_bytes_; }
  uint64_t packed_bytes() const { return need_.packed_size; }
  uint64_t output_bytes() const { return output_bytes_; }

 private:
  struct Slot {
    std::shared_ptr<void> memory;
    std::vector<int64_t> shape;
    lamina_tensor tensor{};
  };
  void place(int argument, lamina_dtype dtype, const std::vector<int64_t> &shape);
  std::vector<unsigned char> draw(int argument, lamina_dtype dtype, const std::vector<int64_t> &shape, uint64_t bytes) const;
  void pack(const lamina_library &library, const Setting &setting);
  void save(const lamina_library &library, const Setting &setting);
  lamina_call call() const;

  const lamina_op &op_;
  const Home home_;
  lamina_plan *plan_ = nullptr;
  std::vector<Slot> slots_;
  std::vector<const lamina_tensor *> table_;
  std::shared_ptr<void> workspace_;
  lamina_need need_{};
  uint64_t output_bytes_ = 0, saved_bytes_ = 0;
};

// The subjects' runs, one after the other, as one: seconds of each of at least `repeats` (of home's runs_at_once, their mean), and as many
// as `seconds` hold, after one that is not counted.
std::vector<double> time_together(const std::vector<std::unique_ptr<Subject>> &subjects, const Home &home, int repeats, double seconds);

// Every letter of the op's shapes gets a value: B is 1 where it is not given, any other that is missing is C's, or the last one's given.
void complete_dims(const lamina_library &library, Setting &setting);

}  // namespace lamina::bench
