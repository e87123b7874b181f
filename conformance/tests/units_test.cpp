// The parts of conformance that decide: conversions, draws, measures, the list of cases.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <set>

#include "conformance/case.h"
#include "conformance/comparison.h"
#include "conformance/conform.h"
#include "conformance/drawing.h"
#include "conformance/isolate.h"
#include "conformance/random.h"
#include "manifest/error.h"
#include "manifest/json.h"

using namespace lamina;
using namespace lamina::conformance;

TEST_CASE("16-bit conversions round to nearest even and come back exactly") {
  for (const Element element : {Element::float16, Element::bfloat16}) {
    double previous = -HUGE_VAL;
    for (uint32_t code = 0; code < 0x10000; ++code) {
      const auto bits = static_cast<uint16_t>(code);
      const double value = load(&bits, element);
      uint16_t again = 0;
      store(&again, element, value);
      if (std::isnan(value)) {
        CHECK(std::isnan(load(&again, element)));
        continue;
      }
      REQUIRE(again == bits);
      if (code == 0x8000) previous = HUGE_VAL;  // negative numbers fall
      if (code != 0 && code != 0x8000) REQUIRE((code < 0x8000 ? value > previous : value < previous));
      // Half way to the next number goes to the even one.
      if ((code & 0x7fff) != 0x7fff) {
        const auto next_bits = static_cast<uint16_t>(code + 1);
        const double next = load(&next_bits, element);
        if (std::isfinite(value) && std::isfinite(next)) {
          store(&again, element, (value + next) / 2);
          REQUIRE(again == (bits % 2 ? next_bits : bits));
        }
      }
      previous = value;
    }
  }
  uint16_t half = 0;
  store(&half, Element::float16, 65519.9);
  CHECK(load(&half, Element::float16) == 65504);
  store(&half, Element::float16, 65520);
  CHECK(std::isinf(load(&half, Element::float16)));
  CHECK(element_of(dtype_of(Element::bfloat16)) == Element::bfloat16);
  CHECK_FALSE(element_of({LAMINA_CODE_FLOAT, 32, 2}));
}

TEST_CASE("draws depend on seed, stream and index alone, and have the moments they should") {
  const Random random(7, "pair"), same(7, "pair"), other(7, "pairs"), later(8, "pair");
  CHECK(random.bits(3) == same.bits(3));
  CHECK(random.bits(3) != other.bits(3));
  CHECK(random.bits(3) != later.bits(3));
  double sum = 0, squares = 0;
  std::set<uint64_t> seen;
  constexpr int count = 100000;
  for (int i = 0; i < count; ++i) {
    const double value = random.normal(static_cast<uint64_t>(i));
    sum += value, squares += value * value;
    seen.insert(random.bits(static_cast<uint64_t>(i)));
  }
  CHECK(std::fabs(sum / count) < 0.02);
  CHECK(std::fabs(squares / count - 1) < 0.02);
  CHECK(seen.size() == count);
}

TEST_CASE("layouts") {
  CHECK(strides_of({2, 3, 4}, "dense") == std::vector<int64_t>{12, 4, 1});
  CHECK(strides_of({3, 4}, "transposed") == std::vector<int64_t>{1, 3});
  CHECK(strides_of({3, 4}, "padded") == std::vector<int64_t>{7, 1});
  CHECK(strides_of({3, 4}, "transposed+second") == std::vector<int64_t>{2, 6});
  CHECK(strides_of({2, 3, 4}, "expanded1") == std::vector<int64_t>{4, 0, 1});
  CHECK(has_offset("padded+offset"));
  CHECK_THROWS_AS(strides_of({2}, "sideways"), Error);
}

TEST_CASE("measures") {
  const Measures limits{0.01, 0.02, 0.05};
  std::vector<double> truth(256, 1.0), build = truth;
  Measures measured;
  CHECK(compare(build, truth, {2, 128}, limits, measured).empty());
  CHECK(measured.frobenius == 0);
  build[5] += 0.04;
  CHECK(compare(build, truth, {2, 128}, limits, measured).empty());
  CHECK(measured.worst_element == doctest::Approx(0.04));
  CHECK(measured.worst_row == doctest::Approx(0.04 / std::sqrt(128.0)));
  build[5] += 0.02;
  CHECK(compare(build, truth, {2, 128}, limits, measured).find("element [0, 5]") != std::string::npos);
  build = truth;
  for (int i = 128; i < 256; ++i) build[static_cast<size_t>(i)] += 0.03;
  CHECK(compare(build, truth, {2, 128}, {1, 0.02, 1}, measured).find("in the row from [1, 0]") != std::string::npos);
  CHECK(compare(build, truth, {2, 128}, limits, measured).find("Frobenius") != std::string::npos);
  build = truth;
  build[7] = std::numeric_limits<double>::quiet_NaN();
  CHECK(compare(build, truth, {2, 128}, limits, measured).find("[0, 7]") != std::string::npos);
  truth[7] = build[7];
  CHECK(compare(build, truth, {2, 128}, limits, measured).empty());
  build[7] = 1;
  CHECK_FALSE(compare(build, truth, {2, 128}, limits, measured).empty());
  // A truth of zeros allows no difference at all; rows narrower than 128 are measured together.
  CHECK(compare({0, 1e-30}, {0, 0}, {2}, limits, measured).find("Frobenius") != std::string::npos);
  std::vector<double> narrow(256, 1.0), off = narrow;
  off[0] += 0.5;
  compare(off, narrow, {32, 8}, limits, measured);
  CHECK(measured.worst_row == doctest::Approx(0.5 / std::sqrt(128.0)));
}

static std::string list_of(const std::string &cases) {
  return R"({"schema": "lamina/cases/1", "layer": "toy", "dims": {"G": {"gate": {"wide": "C", "narrow": "H"}}}, "data": {"x": {"kind": "normal"}},
            "defaults": {"dims": {"N": 4, "C": 8, "H": 2}, "attributes": {"gate": "wide"}}, "cases": [)" +
         cases + "]}";
}

TEST_CASE("sweeps multiply, together advances in step, labels say what was chosen") {
  const CaseList list =
      parse_cases(list_of(R"({"why": "a", "dims": {"N": {"sweep": [1, 2, 3]}, "C": {"together": [8, 16]}, "H": {"together": [1, 2]}},
                                              "dtype": {"sweep": ["float32", "bfloat16"]}})"),
                  "toy.json");
  CHECK(list.cases.size() == 12);
  std::set<std::string> labels;
  for (const Case &one : list.cases) {
    CHECK(one.dims.at("C") == 8 * one.dims.at("H"));
    CHECK(one.dims.at("G") == one.dims.at("C"));
    labels.insert(one.label);
  }
  CHECK(labels.size() == 12);
  const CaseList narrow = parse_cases(list_of(R"({"why": "a", "attributes": {"gate": "narrow"}})"), "toy.json");
  CHECK(narrow.cases[0].dims.at("G") == 2);
}

TEST_CASE("a list with a mistake is refused by file, case and member") {
  const auto message = [](const std::string &cases) -> std::string {
    try {
      parse_cases(list_of(cases), "toy.json");
    } catch (const Error &error) {
      CHECK(error.kind == ErrorKind::malformed);
      return error.what();
    }
    return "";
  };
  CHECK(message(R"({"why": "a", "dim": {}})").find("toy.json: case 0 (a): member 'dim' is unknown") != std::string::npos);
  CHECK(message(R"({"why": "a", "dtype": "float31"})").find("float31") != std::string::npos);
  CHECK(message(R"({"why": "a", "dims": {"N": {"sweep": []}}})").find("a sweep is a list with entries") != std::string::npos);
  CHECK(message(R"({"why": "a", "dims": {"N": {"together": [1]}, "C": {"together": [1, 2]}}})").find("differ in length") !=
        std::string::npos);
  CHECK(message(R"({"dims": {}})").find("why") != std::string::npos);
  CHECK(message(R"({"why": "a", "local_factor": 3})").find("local_factor") != std::string::npos);
  CHECK(message(R"({"why": "a", "expect": {"status": "ok"}})").find("expected invalid_argument or unsupported") != std::string::npos);
  CHECK_THROWS_AS(parse_cases("[1, 2", "toy.json"), Error);
  CHECK_THROWS_AS(read_cases("build/no such file.json"), Error);
}

TEST_CASE("patterns: an exact name beats a pattern, a longer pattern a shorter one") {
  const std::map<std::string, int> patterns{{"*", 0}, {"norm_*", 1}, {"norm_*_weight", 2}, {"norm_out_weight", 3}};
  CHECK(*best_match(patterns, "pair") == 0);
  CHECK(*best_match(patterns, "norm_in_bias") == 1);
  CHECK(*best_match(patterns, "norm_in_weight") == 2);
  CHECK(*best_match(patterns, "norm_out_weight") == 3);
  CHECK_FALSE(matches("a*a", "a"));
}

TEST_CASE("a crash, a hang and an exit are the failure of one job alone") {
  std::vector<Job> jobs;
  jobs.push_back({"t", "fine", "", [](Result &result) { result.measured.frobenius = 0.5; }});
  jobs.push_back({"t", "read past the end", "", [](Result &) {
                    auto buffer = cpu_device()->allocate(100, 4, Edge::back, "argument 'x'");
                    (void)*(static_cast<volatile char *>(buffer->data()) + 103);
                  }});
  jobs.push_back({"t", "write to an input", "", [](Result &) {
                    auto buffer = cpu_device()->allocate(100, 1, Edge::front, "argument 'x'");
                    buffer->forbid_writing();
                    *(static_cast<volatile char *>(buffer->data()) + 7) = 1;
                  }});
  jobs.push_back({"t", "hang", "",
                  [](Result &) {
                    for (volatile bool forever = true; forever;) {}
                  },
                  1});
  jobs.push_back({"t", "exit", "", [](Result &) { _Exit(3); }});
  jobs.push_back({"t", "throw", "", [](Result &) { throw Error(ErrorKind::io, "no disk"); }});
  jobs.push_back({"t", "unsupported", "", [](Result &) { throw Failure{Verdict::unsupported, "not here"}; }});
  std::vector<Result> results;
  run_isolated(jobs, [&](const Result &result) { results.push_back(result); });
  REQUIRE(results.size() == 7);
  CHECK(results[0].verdict == Verdict::pass);
  CHECK(results[0].measured.frobenius == 0.5);
  CHECK(results[1].message.find("argument 'x', 3 bytes past its end (it has 100 bytes)") != std::string::npos);
  CHECK(results[2].message.find("argument 'x', written at byte 7 though it is read-only") != std::string::npos);
  CHECK(results[3].message.find("within 1 s") != std::string::npos);
  CHECK(results[4].message.find("ended with code 3") != std::string::npos);
  CHECK(results[5].message == "no disk");
  CHECK(results[6].verdict == Verdict::unsupported);
  for (int i = 1; i < 6; ++i) CHECK(results[static_cast<size_t>(i)].verdict == Verdict::fail);
  CHECK(run_in_child([] { fail("said so"); }, 10) == "said so");
  CHECK(run_in_child([] {}, 10).empty());
}

TEST_CASE("canaries see writes that no page stops") {
  auto buffer = cpu_device()->allocate(100, 64, Edge::back, "x");  // 28 bytes of canary behind it
  CHECK(reinterpret_cast<uintptr_t>(buffer->data()) % 64 == 0);
  CHECK(buffer->damage().empty());
  static_cast<char *>(buffer->data())[104] = 1;
  CHECK(buffer->damage().find("5 bytes past its end") != std::string::npos);
}

TEST_CASE("a file that is no plug-in is refused by name") {
  CHECK_THROWS_AS(Plugin("build/no such file.so"), Error);
  CHECK_THROWS_AS(Plugin("Makefile"), Error);
}

static std::string text_of(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  REQUIRE(file);
  return {std::istreambuf_iterator<char>(file), {}};
}

TEST_CASE("every committed list parses and fits CI's budget; every why is explained once, and no explanation is left over") {
  const auto whys = manifest::parse_json(text_of("conformance/why.json"), "why.json");
  std::set<std::string> used;
  for (const auto &layer : std::filesystem::directory_iterator("layers")) {
    if (!std::filesystem::exists(layer.path() / "cases.json")) continue;
    CAPTURE(layer.path());
    const CaseList list = read_cases((layer.path() / "cases.json").string());
    CHECK(list.layer == layer.path().filename());
    for (const Case &one : list.cases) used.insert(one.why);
    CHECK(reference_work(manifest::parse_contract(text_of(layer.path() / "contract.json"), "contract.json"), list) <=
          Options{}.reference_gflop);
  }
  for (const std::string &why : used) {
    CAPTURE(why);
    CHECK(whys.contains(why));
  }
  CHECK(whys.size() == used.size());
}
