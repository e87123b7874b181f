#include "conformance/hip_emulator/metadata.h"

#include <functional>

namespace lamina::hip_emulator {
namespace {

// One MessagePack value; maps and arrays hold theirs.
struct Value {
  enum Kind { nothing, number, text, array, map } kind = nothing;
  i64 integer = 0;
  std::string string;
  std::vector<Value> items;
  std::vector<std::string> keys;
  const Value *find(const std::string &key) const {
    for (size_t i = 0; i < keys.size(); ++i)
      if (keys[i] == key) return &items[i];
    return nullptr;
  }
};

class Reader {
 public:
  explicit Reader(std::span<const u8> bytes) : bytes_(bytes) {}
  Value read(int depth = 0) {
    if (depth > 16) throw Refusal("the kernels' note is nested too deep");
    const u8 first = next();
    if (first < 0x80) return number(first);
    if (first < 0x90) return map(first & 15, depth);
    if (first < 0xa0) return array(first & 15, depth);
    if (first < 0xc0) return text(first & 31);
    if (first >= 0xe0) return number(static_cast<int8_t>(first));
    switch (first) {
      case 0xc0: return {};
      case 0xc2: return number(0);
      case 0xc3: return number(1);
      case 0xcc: return number(static_cast<i64>(big_endian(1)));
      case 0xcd: return number(static_cast<i64>(big_endian(2)));
      case 0xce: return number(static_cast<i64>(big_endian(4)));
      case 0xcf: return number(static_cast<i64>(big_endian(8)));
      case 0xd0: return number(static_cast<int8_t>(big_endian(1)));
      case 0xd1: return number(static_cast<i16>(big_endian(2)));
      case 0xd2: return number(static_cast<i32>(big_endian(4)));
      case 0xd3: return number(static_cast<i64>(big_endian(8)));
      case 0xd9: return text(big_endian(1));
      case 0xda: return text(big_endian(2));
      case 0xdc: return array(big_endian(2), depth);
      case 0xde: return map(big_endian(2), depth);
      default: throw Refusal("the kernels' note holds a kind of value that it should not");
    }
  }

 private:
  u8 next() {
    if (at_ >= bytes_.size()) throw Refusal("the kernels' note ends too early");
    return bytes_[at_++];
  }
  u64 big_endian(int bytes) {
    u64 value = 0;
    while (bytes--) value = value << 8 | next();
    return value;
  }
  static Value number(i64 integer) { return {Value::number, integer, {}, {}, {}}; }
  Value text(u64 length) {
    if (length > bytes_.size() - at_) throw Refusal("the kernels' note ends within a string");
    Value value;
    value.kind = Value::text;
    value.string.assign(reinterpret_cast<const char *>(bytes_.data() + at_), length);
    at_ += length;
    return value;
  }
  Value array(u64 count, int depth) {
    Value value;
    value.kind = Value::array;
    while (count--) value.items.push_back(read(depth + 1));
    return value;
  }
  Value map(u64 count, int depth) {
    Value value;
    value.kind = Value::map;
    while (count--) {
      value.keys.push_back(read(depth + 1).string);
      value.items.push_back(read(depth + 1));
    }
    return value;
  }
  std::span<const u8> bytes_;
  size_t at_ = 0;
};

u32 integer_of(const Value &map, const char *key, bool required = true) {
  const Value *found = map.find(key);
  if (!found || found->kind != Value::number || found->integer < 0 || found->integer > 0x7fffffff) {
    if (!found && !required) return 0;
    throw Refusal(std::string("the kernels' note has no usable ") + key);
  }
  return static_cast<u32>(found->integer);
}

std::string string_of(const Value &map, const char *key, bool required = true) {
  const Value *found = map.find(key);
  if (found && found->kind == Value::text) return found->string;
  if (required) throw Refusal(std::string("the kernels' note has no ") + key);
  return "";
}

}  // namespace

std::vector<KernelFacts> read_metadata(std::span<const u8> note) {
  const Value root = Reader(note).read();
  const Value *kernels = root.find("amdhsa.kernels");
  if (!kernels || kernels->kind != Value::array) throw Refusal("the kernels' note has no amdhsa.kernels");
  std::vector<KernelFacts> all;
  for (const Value &entry : kernels->items) {
    KernelFacts kernel;
    kernel.name = string_of(entry, ".name"), kernel.symbol = string_of(entry, ".symbol");
    kernel.argument_bytes = integer_of(entry, ".kernarg_segment_size");
    kernel.group_bytes = integer_of(entry, ".group_segment_fixed_size");
    kernel.private_bytes = integer_of(entry, ".private_segment_fixed_size");
    kernel.most_threads = integer_of(entry, ".max_flat_workgroup_size");
    kernel.wave_lanes = integer_of(entry, ".wavefront_size");
    if (const Value *arguments = entry.find(".args"))
      for (const Value &given : arguments->items) {
        Argument argument{string_of(given, ".name", false), string_of(given, ".value_kind"), integer_of(given, ".offset"),
                          integer_of(given, ".size")};
        if (u64{argument.offset} + argument.bytes > kernel.argument_bytes)
          throw Refusal(kernel.name + ": an argument lies past the argument segment");
        kernel.arguments.push_back(argument);
      }
    all.push_back(std::move(kernel));
  }
  return all;
}

}  // namespace lamina::hip_emulator
