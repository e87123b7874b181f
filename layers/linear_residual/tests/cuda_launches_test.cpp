// What the CUDA builds launch, seen by the stand-in driver: product and norm for every round of rows by the shared kernels, or one product
// and one norm on Hopper, with a tile that suits the problem; every address in its tensor.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <filesystem>

#include "conformance/tests/cuda_host.h"

using namespace lamina;
using namespace lamina::conformance;

namespace {

struct Problem {
  int64_t M, K, N;
  Element dtype = Element::bfloat16;
  bool packed = true, normed = false;
};

std::string build_of(const std::string &arch) {
  for (const auto &entry : std::filesystem::directory_iterator("build/plugins")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("linear_residual-") && name.ends_with("-" + arch + ".so")) return entry.path().string();
  }
  throw Error(ErrorKind::not_found, "build/plugins has no build of linear_residual for " + arch);
}

// Runs the problem in a process of its own; its launches are these kernels with these numbers of blocks.
struct Expected {
  std::string kernel;
  int64_t blocks;
};
void launch(const std::string &arch, const Problem &p, const std::vector<Expected> &expected) {
  const std::string found = run_in_child(
      [&] {
        const Fake fake;
        const Plugin plugin(build_of(arch));
        HostCall::Request request;
        request.dims = {{"M", p.M}, {"K", p.K}, {"N", p.N}};
        request.dtype = p.dtype, request.packed = p.packed;
        request.given = {"residual", "bias"};
        if (p.normed) request.given.insert({"norm_weight", "norm_bias"});
        HostCall call(plugin, request);
        fake->forget();
        call.must_run(nullptr, "forward");
        fake.no_misuse();
        const auto launches = fake->launches();
        const auto used = check_addresses(launches, call.addresses());
        for (const std::string name : {"x", "residual", "out"}) expect(used.contains(name), name + " is not used");
        std::string seen, wanted;
        for (const auto &one : launches) seen += one.kernel + " " + std::to_string(one.grid[0]) + "; ";
        for (const auto &one : expected) wanted += one.kernel + " " + std::to_string(one.blocks) + "; ";
        expect(seen == wanted, "launched: " + seen + "expected: " + wanted);
      },
      60);
  CAPTURE(arch);
  const std::string words =
      "M=" + std::to_string(p.M) + " K=" + std::to_string(p.K) + " N=" + std::to_string(p.N) + (p.packed ? " packed" : " raw");
  CAPTURE(words);
  CHECK(found == "");
}

}  // namespace

TEST_CASE("portable kernels: a product a round of 32768 rows, and the norm behind it") {
  launch("cuda_sm80", {1, 1, 1}, {{"rows_product_bfloat16", 1}});
  launch("cuda_sm80", {33, 129, 300, Element::float32, false}, {{"rows_pack_float32", 128}, {"rows_product_float32", 3}});
  launch("cuda_sm80", {40000, 64, 136, Element::float16, true, true},
         {{"rows_product_float16", 512}, {"rows_normalise_float16", 4096}, {"rows_product_float16", 114}, {"rows_normalise_float16", 904}});
}

TEST_CASE("cuda_sm90a: the tile that fills the processors in whole rounds") {
  launch("cuda_sm90a", {16384, 4096, 1024}, {{"hopper_linear_bfloat16_128x256_plain", 132}});
  launch("cuda_sm90a", {4096, 5120, 1280}, {{"hopper_linear_bfloat16_256x160_plain", 128}});
  launch("cuda_sm90a", {16384, 1024, 1152}, {{"hopper_linear_bfloat16_128x128_plain", 132}});
  launch("cuda_sm90a", {128, 1280, 1280, Element::float16}, {{"hopper_linear_float16_128x64_plain", 20}});
  launch("cuda_sm90a", {4096, 5120, 1280, Element::bfloat16, true, true},
         {{"hopper_linear_bfloat16_256x160_plain", 128}, {"hopper_normalise_bfloat16_2048", 256}});
  launch("cuda_sm90a", {16384, 4096, 1024, Element::bfloat16, true, true},
         {{"hopper_linear_bfloat16_128x256_plain", 132}, {"hopper_normalise_bfloat16_1024", 512}});
}

TEST_CASE("cuda_sm90a: what tensor copies cannot take goes to the portable kernels") {
  launch("cuda_sm90a", {64, 60, 64}, {{"rows_product_bfloat16", 1}});
  launch("cuda_sm90a", {64, 64, 64, Element::float32}, {{"rows_product_float32", 1}});
  launch("cuda_sm90a", {64, 64, 4096, Element::bfloat16, true, true}, {{"rows_product_bfloat16", 32}, {"rows_normalise_bfloat16", 8}});
}
