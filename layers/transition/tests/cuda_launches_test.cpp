// What the CUDA builds launch, seen by the stand-in driver: the fused kernel where it serves, the shared kernels in rounds of rows else, from
// raw and from packed weights, forward and backward; every address in its tensor.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <filesystem>

#include "conformance/tests/cuda_host.h"

using namespace lamina;
using namespace lamina::conformance;

namespace {

struct Problem {
  int64_t M, C, I;
  Element dtype = Element::bfloat16;
  bool packed = true, relu = false;
  std::string op = "forward";
};

std::string build_of(const std::string &arch) {
  for (const auto &entry : std::filesystem::directory_iterator("build/plugins")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("transition-") && name.ends_with("-" + arch + ".so")) return entry.path().string();
  }
  throw Error(ErrorKind::not_found, "build/plugins has no build of transition for " + arch);
}

// Runs the problem in a process of its own and gives what it launched to `see`.
void launch(const std::string &arch, const Problem &p, const std::function<void(const std::vector<fake_cuda::Launch> &)> &see) {
  const std::string found = run_in_child(
      [&] {
        const Fake fake;
        const Plugin plugin(build_of(arch));
        HostCall::Request request;
        request.op = p.op, request.dims = {{"M", p.M}, {"C", p.C}, {"I", p.I}, {"S", 0}};
        request.dtype = p.dtype, request.packed = p.packed;
        request.given = {"norm_weight", "norm_bias", "row_mask"};
        if (p.op == "forward") request.given.insert("residual");
        else
          request.given.insert({"down_bias", "x_gradient", "norm_weight_gradient", "norm_bias_gradient", "up_weight_gradient",
                                "down_weight_gradient", "down_bias_gradient"});
        if (!p.relu) request.given.insert("gate_weight");
        if (!p.relu && p.op != "forward") request.given.insert("gate_weight_gradient");
        lamina_attr relu{"activation", LAMINA_ATTR_STRING, 0, {}};
        relu.value.s = "relu";
        if (p.relu) request.attributes.push_back(relu);
        HostCall call(plugin, request);
        fake->forget();
        call.must_run(nullptr, p.op.c_str());
        fake.no_misuse();
        const auto used = check_addresses(fake->launches(), call.addresses());
        std::set<std::string> wanted = {"x", p.op == "forward" ? "out" : "out_gradient"};
        wanted.insert(p.packed ? "packed" : "up_weight");
        for (const std::string &name : wanted) expect(used.contains(name), name + " is not used");
        see(fake->launches());
      },
      60);
  CAPTURE(arch);
  const std::string words =
      p.op + " M=" + std::to_string(p.M) + " C=" + std::to_string(p.C) + " I=" + std::to_string(p.I) + (p.packed ? " packed" : " raw");
  CAPTURE(words);
  CHECK(found == "");
}

void equal(int64_t found, int64_t expected, const std::string &what) {
  expect(found == expected, what + " is " + std::to_string(found) + ", expected " + std::to_string(expected));
}
int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// norm, gate and up, down for every round of 32768 rows.
void check_portable(const Problem &p, const std::vector<fake_cuda::Launch> &launches) {
  size_t at = 0;
  const auto next = [&](const std::string &name, int64_t blocks) {
    expect(at < launches.size(), name + " is not launched");
    const fake_cuda::Launch &one = launches[at++];
    expect(one.kernel == "rows_" + name + "_" + name_of(p.dtype), one.kernel + " is launched where " + name + " is expected");
    equal(one.grid[0], blocks, one.kernel + "'s blocks");
  };
  if (!p.packed) next("pack", 128);
  for (int64_t first = 0; first < p.M; first += 32768) {
    const int64_t rows = std::min<int64_t>(32768, p.M - first);
    next("normalise", divide_up(rows, 8));
    next("product", divide_up(rows, 128) * divide_up(p.relu ? p.I : 2 * p.I, 128));
    next("product", divide_up(rows, 128) * divide_up(p.C, 128));
  }
  equal(static_cast<int64_t>(launches.size()), static_cast<int64_t>(at), "the number of launches");
}

// 16-bit rows on Hopper that the fused kernel does not take: gated products and those with a row mask are portable.
void check_apart(const Problem &p, const std::vector<fake_cuda::Launch> &launches) {
  const std::string type = name_of(p.dtype);
  equal(static_cast<int64_t>(launches.size()), p.packed ? 3 : 4, "the number of launches");
  const std::string begin[] = {"hopper_normalise_" + type, (p.relu ? "hopper_linear_" : "rows_product_") + type, "rows_product_" + type};
  for (size_t i = 0; i < 3; ++i) {
    const std::string &kernel = launches[launches.size() - 3 + i].kernel;
    expect(kernel.starts_with(begin[i]), kernel + " is launched where " + begin[i] + " is expected");
  }
}

// One kernel, in clusters of two, no more blocks than the GPU has processors.
void check_fused(const Problem &p, const std::vector<fake_cuda::Launch> &launches) {
  equal(static_cast<int64_t>(launches.size()), p.packed ? 1 : 2, "the number of launches");
  const fake_cuda::Launch &one = launches.back();
  const std::string name = std::string(p.relu ? "hopper_relu_" : "hopper_swiglu_") + name_of(p.dtype) + "_" + std::to_string(p.C);
  expect(one.kernel == name, one.kernel + " is launched where " + name + " is expected");
  equal(one.cluster, 2, "CTAs of a cluster");
  const int64_t pairs = divide_up(p.M, 128);
  equal(one.grid[0], std::min<int64_t>(132, divide_up(pairs, 2) * 2), "blocks");
}

}  // namespace

TEST_CASE("portable kernels: every row in one round, whatever the widths") {
  for (const Problem &p : {Problem{1, 8, 8},
                           {33, 128, 512, Element::float32},
                           {40000, 136, 272, Element::float16},
                           {300, 128, 512, Element::bfloat16, false},
                           {70000, 1024, 4096, Element::bfloat16, false, true}})
    launch("cuda_sm80", p, [&](const auto &launches) { check_portable(p, launches); });
}

TEST_CASE("cuda_sm90a fuses 16-bit rows of 128 and 256 channels, and takes the portable kernels else") {
  for (const Problem &p :
       {Problem{1, 128, 64}, {65, 128, 512, Element::float16, false}, {262144, 256, 1024}, {1000, 128, 512, Element::bfloat16, true, true}})
    launch("cuda_sm90a", p, [&](const auto &launches) { check_fused(p, launches); });
  for (const Problem &p : {Problem{100, 128, 512, Element::float32},
                           {100, 384, 1536},
                           {100, 128, 72},
                           {100, 256, 2048},
                           {100, 256, 256, Element::float16, true, true}})
    launch("cuda_sm90a", p, [&](const auto &launches) {
      if (p.dtype == Element::float32) check_portable(p, launches);
      else check_apart(p, launches);
    });
}

// Rows of a round: a row's own gradients in one kernel of Hopper, its products apart, or the portable kernels.
int64_t rows_of_round(const std::string &arch, const Problem &p) {
  if (arch != "cuda_sm90a" || p.dtype == Element::float32) return 8192;
  return (p.C == 128 || p.C == 256) && !p.relu && p.I % 64 == 0 ? 67584 : 32768;
}

TEST_CASE("backward: gradients of parameters are gathered last, from sums that every round added to") {
  for (const char *arch : {"cuda_sm80", "cuda_sm90a"})
    for (const Problem &p : {Problem{20000, 128, 512, Element::bfloat16, false, false, "backward"},
                             {100000, 128, 64, Element::float16, false, false, "backward"},
                             {40000, 128, 72, Element::bfloat16, false, false, "backward"},
                             {40000, 256, 64, Element::bfloat16, false, false, "backward"},
                             {7, 24, 40, Element::float32, false, true, "backward"}})
      launch(arch, p, [&](const auto &launches) {
        const int64_t at_once = rows_of_round(arch, p), rounds = divide_up(p.M, at_once);
        const int64_t gathered = p.relu ? 5 : 6;  // up, down, down's bias, the norm's two; gate: a row of blocks each
        int64_t gathers = 0, sums = 0, fused = 0;
        for (size_t i = 0; i < launches.size(); ++i) {
          const fake_cuda::Launch &one = launches[i];
          const bool is_gather = one.kernel == "rows_gather";
          gathers += is_gather;
          expect(is_gather == (static_cast<int64_t>(i) >= static_cast<int64_t>(launches.size()) - 1), "the last launch does not gather");
          if (is_gather) equal(one.grid[1], gathered, "gradients gathered");
          sums += one.kernel.starts_with("rows_column_sums");
          if (!one.kernel.starts_with("hopper_gradient") && !one.kernel.starts_with("hopper_hidden_gradient")) continue;
          const int64_t rows = std::min(at_once, p.M - fused++ * at_once);
          expect(one.kernel == (p.C == 128 ? "hopper_gradient_" : "hopper_hidden_gradient_") + std::string(name_of(p.dtype)),
                 one.kernel + " is launched");
          equal(one.cluster, 2, "CTAs of a cluster");
          equal(one.grid[0], std::min<int64_t>(132, divide_up(divide_up(rows, 128), 2) * 2), "blocks");
        }
        equal(gathers, 1, "gathers");
        equal(sums, 2 * rounds, "column sums: of down's bias and of the norm");
        equal(fused, at_once == 67584 ? rounds : 0, "kernels of rows' gradients");
      });
}
