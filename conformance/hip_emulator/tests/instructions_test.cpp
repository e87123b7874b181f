// Single instructions against what numpy says (instructions.txt), and their texts against LLVM's.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cstring>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#include "conformance/hip_emulator/code_object.h"
#include "conformance/hip_emulator/local_memory.h"
#include "conformance/hip_emulator/numbers.h"
#include "conformance/hip_emulator/reach.h"
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
  bool is_place = false;  // in memory, of which the lanes say how far from its beginning
};

// What lies in memory and in LDS before anything is written; words that a line names are different afterwards.
constexpr u32 memory_words = 1024;
constexpr u32 initial_word(u32 k) { return (k + 1) * 0x9e3779b1u; }
using Words = std::map<u32, u32>;  // by place in bytes

struct Line {
  std::string arch, text;
  std::vector<u32> words;
  std::vector<Value> before, after;
  Words memory, lds;
};

Register register_named(const std::string &name) {
  if (name == "vcc") return {Register::scalar, code::vcc, 2};
  if (name == "exec") return {Register::scalar, code::exec, 2};
  if (name == "m0") return {Register::scalar, code::m0, 1};
  if (name == "scc") return {Register::condition};
  int first = 0, last = 0;
  if (std::sscanf(name.c_str() + 1, "[%d:%d]", &first, &last) != 2) first = last = std::stoi(name.substr(1));
  if (name[0] == 'a') first += 256, last += 256;
  return {name[0] == 's' ? Register::scalar : Register::vector, first, last - first + 1};
}

std::vector<u64> numbers_of(const std::string &list) {
  std::vector<u64> all;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');) all.push_back(std::stoull(part, nullptr, 16));
  return all;
}

Words words_of(const std::string &list) {
  Words words;
  std::istringstream parts(list);
  for (std::string part; std::getline(parts, part, ',');)
    words[static_cast<u32>(std::stoul(part, nullptr, 16))] = static_cast<u32>(std::stoul(part.substr(part.find(':') + 1), nullptr, 16));
  return words;
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
    Line line{columns[0], columns[1], {}, {}, {}, {}, {}};
    for (const u64 word : numbers_of(columns[2])) line.words.push_back(static_cast<u32>(word));
    std::istringstream before(columns[3]), after(columns[4]);
    for (std::string pair; before >> pair;) {
      const size_t equals = pair.find('=');
      const bool is_place = pair[equals + 1] == '@';
      line.before.push_back({register_named(pair.substr(0, equals)), inputs.at(pair.substr(equals + 1 + is_place)), 0, is_place});
    }
    for (std::string pair; after >> pair;) {
      if (pair.starts_with("memory=")) {
        line.memory = words_of(pair.substr(7));
        continue;
      }
      if (pair.starts_with("lds=")) {
        line.lds = words_of(pair.substr(4));
        continue;
      }
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

// Memory and LDS that hold initial_word everywhere.
struct Memory {
  alignas(16) u32 words[memory_words];
  LocalMemory local;
  Reach reach{{{address(), address() + sizeof words, true, "the memory"}}};
  Memory() {
    local.begin(sizeof words, true);
    for (u32 k = 0; k < memory_words; ++k) words[k] = initial_word(k), local.arrive(0, 4 * k, words[k]);
    local.barrier();
  }
  u64 address() const { return reinterpret_cast<u64>(words); }
  void check(const Line &line) {
    local.barrier();  // nobody else reads while the lanes write
    for (u32 k = 0; k < memory_words; ++k) {
      const auto wanted = [&](const Words &changed) { return changed.contains(4 * k) ? changed.at(4 * k) : initial_word(k); };
      if (words[k] != wanted(line.memory)) FAIL_CHECK(line.text << ", memory at " << std::hex << 4 * k << ": " << words[k]);
      const u32 place[lane_count] = {4 * k};
      u32 found[1][lane_count];
      u64 undefined = 0;
      local.read(0, place, 1, 1, 4, found, undefined);
      if (found[0][0] != wanted(line.lds)) FAIL_CHECK(line.text << ", LDS at " << std::hex << 4 * k << ": " << found[0][0]);
    }
  }
};

// Lane (or trial) `which` of a value; a scalar gets trial `which`.
void put(Wave &wave, const Value &value, size_t which, const Memory &memory) {
  const u64 given = value.lanes[std::min(which, value.lanes.size() - 1)] + (value.is_place ? memory.address() : 0);
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

bool touches_memory(const Instruction &i) { return i.row->format == Format::smem || i.row->format >= Format::ds; }

void run_line(const Line &line) {
  const Arch arch = arch_named(line.arch);
  Program program;
  const Instruction i = decode_instruction(line.words, 0, arch, program);
  CHECK(text_of(line.words, 0, arch) == line.text);
  const bool scalar = i.row->format <= Format::sopp || i.row->format == Format::smem;
  for (size_t trial = 0; trial < (scalar ? given_lanes : 1); ++trial) {
    const auto memory = std::make_unique<Memory>();
    const auto wave = fresh_wave(arch, memory->local);
    wave->reach = &memory->reach;
    for (const Value &value : line.before)
      for (size_t lane = 0; lane < given_lanes; ++lane)
        if (!scalar || lane == trial) put(*wave, value, lane, *memory);
    const auto untouched = std::make_unique<Wave>(*wave);
    i.run(*wave, i);
    wave->outstanding.wait_vector(0, memory->local, wave->id);
    wave->outstanding.wait_local(0);
    if (touches_memory(i)) memory->check(line);
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
  for (const Line &line : lines) {
    CAPTURE(line.arch);
    CAPTURE(line.text);
    run_line(line);
  }
}

// Every row of the table has a line, but for those whose effect is no register or memory of the lanes' own.
TEST_CASE("every instruction that the emulator takes has a line") {
  std::set<std::string> tested{"s_nop", "s_sleep", "s_setprio", "s_barrier", "s_waitcnt", "s_trap", "s_endpgm", "s_branch"};
  for (const char *condition : {"scc0", "scc1", "vccz", "vccnz", "execz", "execnz"}) tested.insert(std::string("s_cbranch_") + condition);
  // lanes_test.cpp has these, and all matrix instructions.
  for (const char *name : {"v_readlane_b32", "v_readfirstlane_b32", "v_writelane_b32", "v_mbcnt_lo_u32_b32", "v_mbcnt_hi_u32_b32",
                           "ds_swizzle_b32", "ds_permute_b32", "ds_bpermute_b32", "v_permlane16_swap_b32", "v_permlane32_swap_b32",
                           "v_div_scale_f32", "v_div_fmas_f32", "v_div_fixup_f32"})
    tested.insert(name);
  for (const Line &line : read_lines()) {
    Program program;
    tested.insert(decode_instruction(line.words, 0, arch_named(line.arch), program).row->name);
  }
  int rows = 0;
  for (const Arch arch : {Arch::gfx90a, Arch::gfx942, Arch::gfx950})
    for (u16 format = 0; format < 15; ++format)
      for (u16 opcode = 0; opcode < 1024; ++opcode) {
        const Row *row = find_row(static_cast<Format>(format), opcode, arch);
        if (!row || row->layout == Layout::matrix) continue;
        ++rows;
        CHECK_MESSAGE(tested.contains(row->name), row->name << " has no line in instructions.txt");
      }
  CHECK(rows > 1500);
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
