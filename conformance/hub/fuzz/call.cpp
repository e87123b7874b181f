// Fuzzing: what a host may hand to a plug-in: attributes, structs of other sizes, descriptors and calls that disagree with the op's table.
// LAMINA_FUZZ_BUILDS names instrumented builds, separated by colons.
#include "conformance/hub/fuzz/fuzz.h"
#include "abi/lamina_abi.h"

#include <dlfcn.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <memory>
#include <vector>

using namespace lamina;

namespace {

constexpr uint64_t max_span = 1 << 16, max_work = 1 << 14;

class Source {  // zeros without an end behind the input
 public:
  explicit Source(std::string_view bytes) : bytes_(bytes) {}
  uint8_t byte() {
    if (bytes_.empty()) return 0;
    const auto first = static_cast<uint8_t>(bytes_.front());
    bytes_.remove_prefix(1);
    return first;
  }
  int64_t number() {  // often one at an edge
    static constexpr int64_t edges[] = {
        0, 1, 2, 3, 7, 8, 16, 24, -1, -8, 768, 776, 65537, 1 << 30, INT64_C(1) << 32, INT64_C(1) << 61, INT64_MAX, INT64_MIN};
    const uint8_t kind = byte();
    if (kind % 4) return edges[kind / 4 % std::size(edges)];
    uint64_t value = 0;
    for (int i = 0; i < 8; ++i) value = value << 8 | byte();
    return static_cast<int64_t>(value);
  }

 private:
  std::string_view bytes_;
};

const lamina_library *library(uint8_t choice) {
  static const auto all = [] {
    std::vector<const lamina_library *> found;
    std::string paths = std::getenv("LAMINA_FUZZ_BUILDS");
    for (size_t at = 0; at <= paths.size();) {
      const size_t colon = std::min(paths.find(':', at), paths.size());
      void *handle = dlopen(paths.substr(at, colon - at).c_str(), RTLD_NOW | RTLD_LOCAL);
      if (!handle) std::fprintf(stderr, "%s\n", dlerror());
      fuzz::require(handle);
      found.push_back(reinterpret_cast<lamina_library_v1_function>(dlsym(handle, LAMINA_LIBRARY_SYMBOL))());
      at = colon + 1;
    }
    return found;
  }();
  return all[choice % all.size()];
}

// A struct of the ABI as hosts of other versions have it: shorter, or longer with zeros or garbage; no byte more than it says.
template <class T>
class Struct {
 public:
  Struct(const T &full, Source &source) {
    const uint8_t kind = source.byte();
    const uint32_t sizes[] = {0, 4, 8, sizeof(T) - 8, sizeof(T) + 16, sizeof(T) + 16, 1 << 12};
    size_ = kind < 200 ? sizeof(T) : sizes[kind % 7];
    memory_ = std::make_unique<char[]>(std::max<size_t>(size_, 4));
    std::memset(memory_.get(), kind % 2 ? 0x5a : 0, std::max<size_t>(size_, 4));
    std::memcpy(memory_.get(), &full, std::min<size_t>(size_, sizeof(T)));
    std::memcpy(memory_.get(), &size_, 4);
  }
  T *get() { return reinterpret_cast<T *>(memory_.get()); }

 private:
  uint32_t size_;
  std::unique_ptr<char[]> memory_;
};

struct Descriptor {
  bool present = true, null_data = false;
  lamina_tensor tensor{};
  std::vector<int64_t> shape = std::vector<int64_t>(16, 1), strides = std::vector<int64_t>(16, 1);
  bool explicit_strides = false;
  std::unique_ptr<char, void (*)(void *)> memory{nullptr, std::free};

  uint64_t element() const { return std::max<uint64_t>(tensor.dtype.bits / 8, 1); }
  // Bytes from the first element to the end of the last, and how many elements there are; false when that is not small and positive.
  bool measure(uint64_t &span, uint64_t &count) const {
    span = element(), count = 1;
    if (tensor.ndim < 0 || tensor.ndim > 8 || tensor.byte_offset > 4096) return false;
    for (int i = tensor.ndim - 1; i >= 0; --i) {
      const int64_t extent = shape[static_cast<size_t>(i)];
      const int64_t stride = explicit_strides ? strides[static_cast<size_t>(i)] : static_cast<int64_t>(count);
      if (extent < 0 || extent > 4096 || stride < 0 || stride > 65536) return false;
      if (extent) span += static_cast<uint64_t>((extent - 1) * stride) * element();
      count *= static_cast<uint64_t>(extent);
      if (count > max_work || span > max_span) return false;
    }
    return true;
  }
};

lamina_dtype dtype_of(uint64_t bits, uint8_t choice) {
  static constexpr lamina_dtype dtypes[] = {{LAMINA_CODE_FLOAT, 64, 1},  {LAMINA_CODE_FLOAT, 32, 1}, {LAMINA_CODE_FLOAT, 16, 1},
                                            {LAMINA_CODE_BFLOAT, 16, 1}, {LAMINA_CODE_BOOL, 8, 1},   {LAMINA_CODE_INT, 8, 1},
                                            {LAMINA_CODE_UINT, 8, 1},    {LAMINA_CODE_INT, 32, 1},   {LAMINA_CODE_INT, 64, 1}};
  std::vector<lamina_dtype> accepted;
  for (size_t i = 0; i < std::size(dtypes); ++i)
    if (bits >> i & 1) accepted.push_back(dtypes[i]);
  return accepted.empty() ? dtypes[1] : accepted[choice % accepted.size()];
}

class Attempt {
 public:
  explicit Attempt(std::string_view input) : source_(input), op_(choose()) {}

  void make() {
    if (!create()) return;
    describe();
    call_all(false);
    for (int changes = source_.byte() % 4; changes > 0; --changes) change();
    call_all(true);
    op_.plan_destroy(plan_);
  }

 private:
  const lamina_op &choose() {
    const lamina_library *one = library(source_.byte());
    return *one->ops[source_.byte() % one->op_count];
  }

  lamina_status checked(lamina_status status) {
    if (status != LAMINA_OK) fuzz::require(error_.message[0] && std::memchr(error_.message, 0, sizeof error_.message));
    std::memset(error_.message, 0, sizeof error_.message);
    return status;
  }

  bool create() {
    error_.struct_size = sizeof error_;
    static const char *words[] = {"",        "fp32",   "bf16", "tf32", "exact",    "activations", "nothing", "parameter",
                                  "float32", "swiglu", "relu", "\xff", "outgoing", "incoming",    "gelu"};
    std::vector<lamina_attr> attributes;
    for (int count = source_.byte() % 4; count > 0; --count) {
      lamina_attr one{};
      const uint8_t which = source_.byte();
      if (op_.attr_count && which < 240) one = op_.attrs[which % op_.attr_count];
      else one.name = which % 2 ? "nobody knows" : "", one.kind = LAMINA_ATTR_INT;
      if (source_.byte() > 200) one.kind = source_.byte() % 6;
      if (one.kind == LAMINA_ATTR_STRING) one.value.s = words[source_.byte() % std::size(words)];
      else if (one.kind == LAMINA_ATTR_FLOAT) one.value.f = static_cast<double>(source_.number()) * (source_.byte() % 2 ? 1e-9 : 1);
      else one.value.i = source_.number();
      attributes.push_back(one);
    }
    lamina_plan_desc desc{};
    desc.device = source_.byte() < 240 ? lamina_device{LAMINA_CPU, 0}
                                       : lamina_device{static_cast<int32_t>(source_.number()), static_cast<int32_t>(source_.number())};
    desc.flags = source_.byte() < 240 ? 0 : source_.byte();
    desc.attrs = attributes.data(), desc.attr_count = static_cast<uint32_t>(attributes.size());
    Struct<lamina_plan_desc> given(desc, source_);
    plan_ = reinterpret_cast<lamina_plan *>(16);
    const lamina_status status = checked(op_.plan_create(&op_, given.get(), &plan_, &error_));
    fuzz::require((status == LAMINA_OK) == (plan_ != nullptr));
    return plan_;
  }

  // A call as the table wants it, with small extents.
  void describe() {
    std::map<std::string, int64_t> extents;
    for (uint32_t i = 0; i < op_.arg_count; ++i) {
      const lamina_arg &row = op_.args[i];
      Descriptor one;
      one.present = !(row.flags & LAMINA_OPTIONAL) || source_.byte() % 2;
      one.tensor.device = {LAMINA_CPU, 0};
      const bool same =
          row.dtype_of >= 0 && static_cast<size_t>(row.dtype_of) < given_.size() && !(row.flags & LAMINA_OR_FLOAT32 && source_.byte() % 2);
      one.tensor.dtype = same ? given_[static_cast<size_t>(row.dtype_of)].tensor.dtype : dtype_of(row.dtypes, source_.byte());
      for (std::string words = row.shape; !words.empty();) {
        const std::string word = words.substr(0, words.find(' '));
        words.erase(0, word.size() + 1);
        static constexpr int64_t small[] = {8, 16, 1, 2, 3, 5, 8, 0};
        if (!extents.contains(word))
          extents[word] = isdigit(static_cast<unsigned char>(word[0])) ? std::atoll(word.c_str()) : small[source_.byte() % 8];
        one.shape[static_cast<size_t>(one.tensor.ndim++)] = extents[word];
      }
      given_.push_back(std::move(one));
    }
  }

  void change() {
    if (given_.empty()) return;
    Descriptor &one = given_[source_.byte() % given_.size()];
    const size_t axis = source_.byte() % 8;
    switch (source_.byte() % 10) {
      case 0: one.present = !one.present; break;
      case 1: one.tensor.ndim = static_cast<int32_t>(std::clamp<int64_t>(source_.number(), -3, 16)); break;
      case 2: one.shape[axis] = source_.number(); break;
      case 3:
        one.explicit_strides = true;
        for (int64_t i = one.tensor.ndim - 1, stride = 1; i >= 0 && i < 16;
             stride *= std::clamp<int64_t>(one.shape[static_cast<size_t>(i--)], 1, 99))
          one.strides[static_cast<size_t>(i)] = stride;
        if (source_.byte() % 2) one.strides[axis] = source_.number();
        break;
      case 4: one.tensor.dtype = {source_.byte(), source_.byte(), static_cast<uint16_t>(source_.byte() % 3)}; break;
      case 5: one.tensor.device = {static_cast<int32_t>(source_.byte() % 12), static_cast<int32_t>(source_.number())}; break;
      case 6: one.tensor.byte_offset = static_cast<uint64_t>(source_.number()); break;
      case 7: one.null_data = true; break;
      case 8: alias_ = source_.byte(); break;
      default: tensor_count_ = source_.byte() % 40;
    }
  }

  // plan_need, infer and run: what one refuses the others must not take, and no byte outside the tensors is touched.
  void call_all(bool strange) {
    std::vector<const lamina_tensor *> table(std::max<size_t>(op_.arg_count, 40) + 1, nullptr);
    bool small = true;
    for (size_t i = 0; i < given_.size(); ++i) {
      Descriptor &one = given_[i];
      one.tensor.shape = one.shape.data(), one.tensor.strides = one.explicit_strides ? one.strides.data() : nullptr;
      if (!one.present) continue;
      table[i] = &one.tensor;
      uint64_t span = 0, count = 0;
      const bool fits = one.measure(span, count);
      small = small && fits;
      if (fits) place(one, span);
      else one.tensor.data = reinterpret_cast<void *>(uintptr_t{1} << 40);  // memory that nobody has
    }
    if (strange && alias_ && given_.size() > 1 && small)
      given_[alias_ % given_.size()].tensor.data = given_[(alias_ / 16) % given_.size()].tensor.data;
    lamina_call full{};
    full.tensors = table.data(), full.tensor_count = strange && tensor_count_ ? tensor_count_ : op_.arg_count;
    infer_sizes(full, small);
    Struct<lamina_call> call(full, source_);
    lamina_need need{};
    Struct<lamina_need> asked(need, source_);
    const lamina_status possible = checked(op_.plan_need(plan_, call.get(), asked.get(), &error_));
    if (possible == LAMINA_OK) std::memcpy(&need, asked.get(), std::min<size_t>(asked.get()->struct_size, sizeof need));
    if (possible == LAMINA_OK && (!small || alias_ || need.workspace_size > 1 << 24)) return;  // would be right, and too much
    const uint64_t less = source_.byte() > 250;
    void *workspace = nullptr;
    fuzz::require(posix_memalign(&workspace, std::max<uint64_t>(need.workspace_align, 64), need.workspace_size) == 0);
    const std::unique_ptr<void, void (*)(void *)> owned(workspace, std::free);
    full.workspace = workspace, full.workspace_size = need.workspace_size - std::min(less, need.workspace_size);
    const lamina_status ran = checked(op_.run(plan_, &full, &error_));
    if (possible != LAMINA_OK && call.get()->struct_size == sizeof full && asked.get()->struct_size == sizeof need)
      fuzz::require(ran != LAMINA_OK);
  }

  // The end of the memory is the end of the tensor.
  void place(Descriptor &one, uint64_t span) {
    if (one.null_data) return void(one.tensor.data = nullptr);
    const uint64_t bytes = span + one.tensor.byte_offset;
    void *memory = nullptr;
    fuzz::require(posix_memalign(&memory, 64, bytes) == 0);
    std::memset(memory, 0, bytes);
    one.memory.reset(static_cast<char *>(memory));
    one.tensor.data = memory;
  }

  // Packed and saved bytes are as long as the op says.
  void infer_sizes(lamina_call &call, bool small) {
    std::vector<lamina_tensor> out(op_.arg_count);
    std::vector<int64_t> extents(op_.arg_count * 8);
    for (uint32_t i = 0; i < op_.arg_count; ++i) out[i].shape = &extents[i * 8];
    if (checked(op_.infer(plan_, &call, out.data(), &error_)) != LAMINA_OK || !small) return;
    for (uint32_t i = 0; i < op_.arg_count; ++i) {
      const uint32_t role = op_.args[i].role;
      if ((role != LAMINA_PACKED && role != LAMINA_SAVED) || !given_[i].present || given_[i].tensor.ndim != 1) continue;
      given_[i].shape[0] = extents[i * 8];
      uint64_t span = 0, count = 0;
      if (extents[i * 8] > 1 << 20) given_[i].present = false;
      else if (given_[i].measure(span, count)) place(given_[i], span);
    }
  }

  Source source_;
  const lamina_op &op_;
  lamina_plan *plan_ = nullptr;
  lamina_error error_{};
  std::vector<Descriptor> given_;
  uint8_t alias_ = 0;
  uint32_t tensor_count_ = 0;
};

}  // namespace

FUZZ(input) { Attempt(input).make(); }
