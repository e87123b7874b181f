#include "manifest/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/json.h"

namespace lamina::manifest {

namespace {

constexpr uint64_t max_header = 100'000'000;  // the limit of the format's own library
constexpr size_t max_rank = 32;

struct FormatDtype {
  const char *word, *name;
};
constexpr FormatDtype format_dtypes[] = {{"F64", "float64"}, {"F32", "float32"}, {"F16", "float16"}, {"BF16", "bfloat16"}, {"BOOL", "bool"},
                                         {"I8", "int8"},     {"I16", "int16"},   {"I32", "int32"},   {"I64", "int64"},     {"U8", "uint8"},
                                         {"U16", "uint16"},  {"U32", "uint32"},  {"U64", "uint64"}};

struct Range {
  uint64_t begin, end;
  std::string name;
};

class HeaderReader {
 public:
  HeaderReader(const std::string &path, const unsigned char *data, uint64_t data_size) : path_(path), data_(data), data_size_(data_size) {}

  TensorView tensor(const std::string &name, const Json &json) {
    if (!json.is_object() || json.size() != 3 || !json.contains("dtype") || !json.contains("shape") || !json.contains("data_offsets"))
      refuse("tensor " + quoted(name) + " must have exactly dtype, shape and data_offsets");
    TensorView view;
    view.dtype = dtype(name, json["dtype"]);
    const Json &shape = json["shape"];
    if (!shape.is_array() || shape.size() > max_rank) refuse("tensor " + quoted(name) + ": shape must be a list of at most 32 extents");
    uint64_t bytes = static_cast<uint64_t>(dtype_bytes(view.dtype));
    bool empty = false;
    for (const Json &extent : shape) {
      if (!extent.is_number_unsigned() || extent.get<uint64_t>() > INT64_MAX)
        refuse("tensor " + quoted(name) + ": an extent is no whole number from 0");
      view.shape.push_back(extent.get<int64_t>());
      empty = empty || view.shape.back() == 0;
    }
    // An extent of 0 hides no overflow of the others: strides multiply them all.
    for (const int64_t extent : view.shape)
      if (extent != 0 && __builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes))
        refuse("tensor " + quoted(name) + ": the extents overflow");
    if (bytes > INT64_MAX) refuse("tensor " + quoted(name) + ": the extents overflow");
    const Range range = offsets(name, json["data_offsets"]);
    if (range.end - range.begin != (empty ? 0 : bytes))
      refuse("tensor " + quoted(name) + ": dtype and shape " + shape_text(view.shape) + " need " + std::to_string(empty ? 0 : bytes) +
             " bytes, its offsets span " + std::to_string(range.end - range.begin));
    view.strides = row_major_strides(view.shape);
    view.data = data_ + range.begin;
    ranges_.push_back(range);
    return view;
  }

  // The tensors must tile the data: nothing shared, nothing hidden between or behind them.
  void check_coverage() {
    std::sort(ranges_.begin(), ranges_.end(),
              [](const Range &a, const Range &b) { return a.begin != b.begin ? a.begin < b.begin : a.end < b.end; });
    uint64_t at = 0;
    for (const Range &range : ranges_) {
      if (range.begin < at) refuse("tensor " + quoted(range.name) + " overlaps another");
      if (range.begin > at) refuse("there are bytes that belong to no tensor before " + quoted(range.name));
      at = range.end;
    }
    if (at != data_size_)
      refuse("the tensors cover " + std::to_string(at) + " of " + std::to_string(data_size_) +
             " bytes of data; the file is cut or has a tail");
  }

  [[noreturn]] void refuse(const std::string &why) const {
    throw Error(ErrorKind::malformed, path_ + " is no valid safetensors file: " + why);
  }

 private:
  static std::string quoted(const std::string &name) { return "'" + name.substr(0, 200) + "'"; }

  lamina_dtype dtype(const std::string &name, const Json &word) {
    if (!word.is_string()) refuse("tensor " + quoted(name) + ": dtype is no string");
    for (const FormatDtype &known : format_dtypes)
      if (known.word == word.get<std::string>()) return *dtype_named(known.name);
    throw Error(ErrorKind::unsupported,
                path_ + ": tensor " + quoted(name) + " has dtype " + quoted(word.get<std::string>()) + ", which Lamina does not read");
  }

  Range offsets(const std::string &name, const Json &json) {
    if (!json.is_array() || json.size() != 2 || !json[0].is_number_unsigned() || !json[1].is_number_unsigned())
      refuse("tensor " + quoted(name) + ": data_offsets must be two whole numbers");
    const Range range{json[0], json[1], name};
    if (range.begin > range.end || range.end > data_size_)
      refuse("tensor " + quoted(name) + ": bytes " + std::to_string(range.begin) + " to " + std::to_string(range.end) + " of " +
             std::to_string(data_size_) + " are not inside the file");
    return range;
  }

  const std::string &path_;
  const unsigned char *data_;
  uint64_t data_size_;
  std::vector<Range> ranges_;
};

}  // namespace

std::shared_ptr<const SafetensorsFile> SafetensorsFile::open(const std::filesystem::path &path) {
  const std::shared_ptr<SafetensorsFile> file(new SafetensorsFile);
  file->path_ = path;
  const auto fail = [&](int code) { return Error(kind_of_errno(code), "cannot open " + path.string() + ": " + std::strerror(code)); };
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) throw fail(errno);
  struct stat status{};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  const size_t size = regular ? static_cast<size_t>(status.st_size) : 0;
  void *mapping = size < 8 ? nullptr : ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, descriptor, 0);
  const int code = errno;
  ::close(descriptor);
  if (mapping == MAP_FAILED) throw fail(code);
  const std::string name = path.string();
  if (mapping == nullptr)
    throw Error(ErrorKind::malformed,
                name + " is no valid safetensors file: " + (regular ? "it is shorter than 8 bytes" : "not a regular file"));
  file->mapping_ = static_cast<const unsigned char *>(mapping);
  file->size_ = size;

  uint64_t header_size;
  std::memcpy(&header_size, file->mapping_, 8);
  const unsigned char *header = file->mapping_ + 8;
  if (header_size > max_header || header_size > size - 8)
    throw Error(ErrorKind::malformed, name + " is no valid safetensors file: its header claims " + std::to_string(header_size) + " bytes");
  const std::string_view text(reinterpret_cast<const char *>(header), header_size);
  HeaderReader reader(name, header + header_size, size - 8 - header_size);
  if (!text.starts_with('{')) reader.refuse("the header does not begin with '{'");
  const Json json = parse_json(text, name, {.max_bytes = max_header, .max_depth = 4});
  if (!json.is_object()) reader.refuse("the header is no object");
  for (const auto &[key, value] : json.items()) {
    if (key != "__metadata__") {
      file->tensors_.emplace(key, reader.tensor(key, value));
      continue;
    }
    if (!value.is_object()) reader.refuse("__metadata__ is no object");
    for (const auto &[word, meaning] : value.items()) {
      if (!meaning.is_string()) reader.refuse("__metadata__ holds something else than text");
      file->metadata_[word] = meaning;
    }
  }
  reader.check_coverage();
  return file;
}

SafetensorsFile::~SafetensorsFile() {
  if (mapping_) ::munmap(const_cast<unsigned char *>(mapping_), size_);
}

const TensorView *SafetensorsFile::find(const std::string &name) const {
  const auto found = tensors_.find(name);
  return found == tensors_.end() ? nullptr : &found->second;
}

void write_safetensors(const std::filesystem::path &path, const std::map<std::string, TensorView> &tensors,
                       const std::map<std::string, std::string> &metadata) {
  std::vector<const std::pair<const std::string, TensorView> *> order;
  for (const auto &entry : tensors) order.push_back(&entry);
  std::stable_sort(order.begin(), order.end(),
                   [](auto *a, auto *b) { return dtype_bytes(a->second.dtype) > dtype_bytes(b->second.dtype); });
  Json header = Json::object();
  if (!metadata.empty()) header["__metadata__"] = metadata;
  std::string data;
  for (const auto *entry : order) {
    const auto &[name, view] = *entry;
    const auto *known = std::find_if(std::begin(format_dtypes), std::end(format_dtypes),
                                     [&](const FormatDtype &one) { return dtype_name(view.dtype) == one.name; });
    if (known == std::end(format_dtypes))
      throw Error(ErrorKind::invalid_argument, "tensor " + name + ": safetensors has no dtype " + dtype_name(view.dtype));
    const std::vector<unsigned char> bytes = copy_contiguous(view);
    header[name] = {{"dtype", known->word}, {"shape", view.shape}, {"data_offsets", {data.size(), data.size() + bytes.size()}}};
    data.append(reinterpret_cast<const char *>(bytes.data()), bytes.size());
  }
  std::string text = header.dump();
  text.resize((text.size() + 7) / 8 * 8, ' ');  // the data begins aligned
  const uint64_t size = text.size();
  write_file_atomically(path, std::string(reinterpret_cast<const char *>(&size), 8) + text + data);
}

}  // namespace lamina::manifest
