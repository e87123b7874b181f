// Single instructions against what numpy says (instructions.txt), and their texts against LLVM's.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <fstream>
#include <map>
#include <memory>
#include <sstream>

#include "conformance/hip_emulator/code_object.h"
#include "conformance/hip_emulator/local_memory.h"
#include "conformance/hip_emulator/numbers.h"
#include "conformance/hip_emulator/wave.h"

using namespace lamina::hip_emulator;

namespace {

constexpr const char *cases_path = "conformance/hip_emulator/tests/instructions.txt";
constexpr int given_lanes = 16;
constexpr u64 exec = 0xffdf;
constexpr u32 before_anything = 0xdeadbeef;

struct Register {
  enum Kind { vector, scalar, condition } kind;
  int index = 0, dwords = 1;
};

struct Value {
  Register where;
  std::vector<u64> lanes;
  int tolerance = 0;
};

struct Line {
  std::string arch, text;
  std::vector<u32> words;
  std::vector<Value> before, after;
};

Register register_named(const std::string &name) {
  if (name == "vcc") return {Register::scalar, code::vcc, 2};
  if (name == "exec") return {Register::scalar, code::exec, 2};
  if (name == "scc") return {Register::condition};
  int first = 0, last = 0;
  if (std::sscanf(name.c_str() + 1, "[%d:%d]", &first, &last) != 2) first = last = std::stoi(name.substr(1));
  return {name[0] == 'v' ? Register::vector : Register::scalar, first, last - first + 1};
}

std::vector<u64> numbers_of(const std::string &list) {
  std::vector<u64> all;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) all.push_back(std::stoull(part, nullptr, 16));
  return all;
}

std::vector<Line> read_lines() {
  std::ifstream file(cases_path);
  REQUIRE_MESSAGE(file.good(), cases_path << " cannot be read; run this from the top folder");
  std::map<std::string, std::vector<u64>> inputs;
  std::vector<Line> lines;
  for (std::string text; std::getline(file, text);) {
    if (text.starts_with("#")) continue;
    std::istringstream words(text);
    if (text.starts_with("input ")) {
      std::string input, name, list;
      words >> input >> name >> list;
      inputs[name] = numbers_of(list);
      continue;
    }
    std::vector<std::string> columns;
    for (size_t at = 0, end; at <= text.size(); at = end + 3) {
      end = std::min(text.find(" | ", at), text.size());
      columns.push_back(text.substr(at, end - at));
    }
    REQUIRE(columns.size() == 5);
    Line line{columns[0], columns[1], {}, {}, {}};
    for (const u64 word : numbers_of(columns[2])) line.words.push_back(static_cast<u32>(word));
    std::istringstream before(columns[3]), after(columns[4]);
    for (std::string pair; before >> pair;) {
      const size_t equals = pair.find('=');
      line.before.push_back({register_named(pair.substr(0, equals)), inputs.at(pair.substr(equals + 1))});
    }
    for (std::string pair; after >> pair;) {
      const size_t equals = pair.find('='), tilde = pair.find('~');
      line.after.push_back({register_named(pair.substr(0, equals)), numbers_of(pair.substr(equals + 1, tilde - equals - 1)),
                            tilde == std::string::npos ? 0 : std::stoi(pair.substr(tilde + 1))});
    }
    lines.push_back(line);
  }
  return lines;
}

std::unique_ptr<Wave> fresh_wave(Arch arch, LocalMemory &local) {
  auto wave = std::make_unique<Wave>();
  for (auto &lanes : wave->v)
    for (u32 &lane : lanes) lane = before_anything;
  std::fill(std::begin(wave->defined), std::end(wave->defined), all_lanes);
  std::fill(std::begin(wave->s), std::end(wave->s), before_anything);
  std::fill(std::begin(wave->scalar_defined), std::end(wave->scalar_defined), ~0u);
  wave->scc_defined = true, wave->scc = false, wave->arch = arch, wave->local = &local;
  wave->set_scalar64(code::exec, exec);
  return wave;
}

// Lane (or trial) `which` of a value; a scalar gets trial `which`.
void put(Wave &wave, const Value &value, size_t which) {
  const u64 given = value.lanes[std::min(which, value.lanes.size() - 1)];
  for (int k = 0; k < value.where.dwords; ++k) {
    const u32 word = static_cast<u32>(given >> (32 * k));
    if (value.where.kind == Register::vector) wave.v[value.where.index + k][which] = word;
    if (value.where.kind == Register::scalar) wave.s[value.where.index + k] = word;
    if (value.where.kind == Register::condition) wave.scc = word != 0;
  }
}

u64 get(const Wave &wave, const Register &where, size_t lane) {
  if (where.kind == Register::condition) return wave.scc;
  u64 value = 0;
  for (int k = 0; k < where.dwords; ++k)
    value |= u64{where.kind == Register::vector ? wave.v[where.index + k][lane] : wave.s[where.index + k]} << (32 * k);
  return value;
}

// The distance of two floating-point numbers in places; NaN is near NaN alone.
bool close(u64 found, u64 wanted, Type type, int tolerance) {
  if (found == wanted) return true;
  const auto nan = [&](u64 bits) {
    if (type == Type::f16) return (bits & 0x7fff) > 0x7c00;
    if (type == Type::f64) return (bits & ~(u64{1} << 63)) > 0x7ff0000000000000;
    return type == Type::f32 && (bits & 0x7fffffff) > 0x7f800000;
  };
  if (nan(found) || nan(wanted)) return nan(found) && nan(wanted);
  const u64 distance = found > wanted ? found - wanted : wanted - found;
  return distance <= static_cast<u64>(tolerance);
}
// Two halves, or two floats, in one value.
bool close_pair(u64 found, u64 wanted, Type half, int bits, int tolerance) {
  const u64 mask = (u64{1} << bits) - 1;
  return close(found & mask, wanted & mask, half, tolerance) && close(found >> bits & mask, wanted >> bits & mask, half, tolerance);
}
bool matches(u64 found, u64 wanted, Type type, int tolerance) {
  if (type == Type::f16x2) return close_pair(found, wanted, Type::f16, 16, tolerance);
  if (type == Type::f32x2) return close_pair(found, wanted, Type::f32, 32, tolerance);
  return close(found, wanted, type, tolerance);
}

void run_line(const Line &line) {
  const Arch arch = arch_named(line.arch);
  Program program;
  const Instruction i = decode_instruction(line.words, 0, arch, program);
  CHECK(text_of(line.words, 0, arch) == line.text);
  LocalMemory local;
  const bool scalar = i.row->format <= Format::sopp;
  for (size_t trial = 0; trial < (scalar ? given_lanes : 1); ++trial) {
    const auto wave = fresh_wave(arch, local);
    for (const Value &value : line.before)
      for (size_t lane = 0; lane < given_lanes; ++lane)
        if (!scalar || lane == trial) put(*wave, value, lane);
    const auto untouched = std::make_unique<Wave>(*wave);
    i.run(*wave, i);
    for (const Value &value : line.after) {
      const bool lanes = value.where.kind == Register::vector;
      for (size_t lane = 0; lane < (lanes ? lane_count : 1); ++lane) {
        const bool active = !lanes || (exec >> lane & 1);
        const u64 wanted =
            !active ? get(*untouched, value.where, lane) : value.lanes[std::min(scalar ? trial : lane, value.lanes.size() - 1)];
        const u64 found = get(*wave, value.where, lane);
        const Type type = lanes ? i.row->result : Type::b64;
        CHECK_MESSAGE(matches(found, wanted, type, value.tolerance),
                      line.text << ", lane " << (scalar ? trial : lane) << ": " << std::hex << found << ", not " << wanted);
      }
    }
  }
}

}  // namespace

TEST_CASE("every line of instructions.txt") {
  const std::vector<Line> lines = read_lines();
  CHECK(lines.size() > 350);
  for (const Line &line : lines) {
    CAPTURE(line.arch);
    CAPTURE(line.text);
    run_line(line);
  }
}

TEST_CASE("half precision: every value there and back, and every tie") {
  for (u32 bits = 0; bits < 0x10000; ++bits) {
    const float value = half_to_float(bits);
    if (value != value) {
      CHECK((float_to_half(value) & 0x7fff) > 0x7c00);
      continue;
    }
    CHECK(float_to_half(value) == bits);
    CHECK(float_to_half_toward_zero(value) == bits);
    if ((bits & 0x7fff) >= 0x7bff) continue;
    const float next = half_to_float(bits + 1), tie = (value + next) / 2;
    CHECK(float_to_half(tie) == (bits & 1 ? bits + 1 : bits));
    CHECK(float_to_half(std::nextafter(tie, value)) == bits);
    CHECK(float_to_half(std::nextafter(tie, next)) == bits + 1);
    CHECK(float_to_half_toward_zero(std::nextafter(tie, next)) == bits);
  }
  CHECK(float_to_half(65520.f) == 0x7c00);
  CHECK(float_to_half(65519.f) == 0x7bff);
}
