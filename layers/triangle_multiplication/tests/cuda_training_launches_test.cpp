// What the CUDA builds launch for a backward, seen by the stand-in driver: which kernels in which order, addresses that stay in their
// tensors, what is left out where gradients are not wanted, and the workspace's size.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <filesystem>

#include "conformance/tests/cuda_host.h"
#include "layers/triangle_multiplication/tiles.h"

using namespace lamina;
using namespace lamina::conformance;

namespace {

std::string build_of(const std::string &arch) {
  for (const auto &entry : std::filesystem::directory_iterator("build/plugins")) {
    const std::string name = entry.path().filename().string();
    if (name.starts_with("triangle_multiplication-") && name.ends_with("-" + arch + ".so")) return entry.path().string();
  }
  throw Error(ErrorKind::not_found, "build/plugins has no build of triangle_multiplication for " + arch);
}

const std::set<std::string> all_of_them = {"norm_in_weight", "norm_in_bias", "pair_gradient", "*_weight_gradient", "norm_*_bias_gradient"};

struct Problem {
  int64_t B, N, C;
  Element dtype = Element::bfloat16;
  bool incoming = false, gate_before = false;
  std::set<std::string> given = all_of_them;
  bool keeps = false;  // save = activations
  std::string op = "backward";
};

struct Seen {
  std::vector<fake_cuda::Launch> launches;
  uint64_t workspace;
};

lamina_attr attribute(const char *name, const char *value) {
  lamina_attr made{name, LAMINA_ATTR_STRING, 0, {}};
  made.value.s = value;
  return made;
}

int64_t saved_bytes(const Problem &p) { return p.keeps ? 3 * p.B * p.N * ((p.N + 7) / 8 * 8) * p.C * 2 : 0; }

HostCall::Request request_of(const Problem &p) {
  HostCall::Request request;
  request.op = p.op;
  request.dims = {{"B", p.B}, {"N", p.N}, {"C", p.C}, {"H", p.C}, {"G", p.C}, {"S", saved_bytes(p)}};
  request.dtype = p.dtype, request.given = p.given;
  if (p.keeps) request.given.insert("saved");
  if (p.incoming) request.attributes.push_back(attribute("direction", "incoming"));
  if (p.gate_before) request.attributes.push_back(attribute("output_gate", "before_projection"));
  if (p.keeps) request.attributes.push_back(attribute("save", "activations"));
  return request;
}

// Runs the op and gives what it launched to `see`, in a process of its own.
void launch(const std::string &arch, const Problem &p, const std::function<void(const Seen &)> &see) {
  const std::string found = run_in_child(
      [&] {
        const Fake fake;
        const Plugin plugin(build_of(arch));
        HostCall call(plugin, request_of(p));
        fake->forget();
        call.must_run(nullptr, p.op);
        fake.no_misuse();
        const auto used = check_addresses(fake->launches(), call.addresses());
        for (const std::string name : {"pair", p.op == "backward" ? "out_gradient" : "out", "workspace"})
          expect(used.contains(name), name + " is not used");
        expect(used.contains("saved") == p.keeps, p.keeps ? "saved is not used" : "saved is used");
        see({fake->launches(), call.need().workspace_size});
      },
      60);
  CAPTURE(arch);
  CAPTURE(p.B);
  CAPTURE(p.N);
  CAPTURE(p.C);
  CAPTURE(std::string(name_of(p.dtype)));
  CAPTURE(p.incoming);
  CAPTURE(p.gate_before);
  CHECK(found == "");
}

// The kernels by their names' begins, one after the other; what follows the last is a mistake.
void expect_kernels(const std::vector<fake_cuda::Launch> &launches, const std::vector<std::string> &names) {
  for (size_t at = 0; at < names.size(); ++at) {
    expect(at < launches.size(), names[at] + " is not launched");
    expect(launches[at].kernel.starts_with(names[at]),
           launches[at].kernel + " is launch " + std::to_string(at) + ", where " + names[at] + " is expected");
  }
  expect(launches.size() == names.size(), std::to_string(launches.size() - names.size()) + " launches too many");
}

std::vector<std::string> portable(const Problem &p) {
  const std::string front = "product_depth_rows", sums = "product_depth_depth", back = "product_rows_rows";
  std::vector<std::string> names = {"pack"};
  const auto add = [&](const std::vector<std::string> &more) { names.insert(names.end(), more.begin(), more.end()); };
  for (int64_t batch = 0; batch < p.B; ++batch) {  // of more than 2^19 cells: each is a group
    add({"rows_to_planes", front, front, p.incoming ? back : sums, "normalise_planes", "rows_to_planes", front});
    if (!p.gate_before) add({front});
    add({sums, back, sums, "norm_out_backward", p.incoming ? sums : front, p.incoming ? front : back});
    add({front, front, sums, back, "pair_gradient"});
  }
  add({"finish_parameters"});
  return names;
}

std::vector<std::string> hopper(const Problem &p) {
  const bool between = p.N > 256 && p.N <= 384, square = p.N <= 128 || (between && !lamina::triangle_multiplication::hopper_tall_tiles);
  const std::string contract = square ? "hopper_contract_square" : "hopper_contract_";
  const bool wide = p.C == 256, padded = p.N % 8;
  std::vector<std::string> names = {"pack"};
  const auto add = [&](const std::vector<std::string> &more) { names.insert(names.end(), more.begin(), more.end()); };
  for (int64_t batch = 0; batch < p.B; ++batch) {
    if (!p.keeps) {
      add({wide ? "hopper_front_256" : "hopper_front_128", contract});
      if (wide && padded) add({"hopper_clear_padding"});
    }
    if (wide)
      add({"hopper_output_256", "hopper_weights_of_o_256", "hopper_norm_256", contract, contract, "hopper_front_gradients_256",
           "hopper_weights_of_pair_256", "hopper_input_256"});
    else add({"hopper_output_backward", contract, contract, "hopper_front_weights", "hopper_front_backward"});
  }
  add({wide ? "hopper_total_sums_256" : "hopper_total_sums", wide ? "hopper_finish_256" : "hopper_finish"});
  return names;
}

double units(const Problem &p, uint64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(p.B * p.N * p.N * p.C * (p.dtype == Element::float32 ? 4 : 2));
}

}  // namespace

TEST_CASE("portable kernels, every step of every group of batches") {
  for (const int64_t C : {72, 128, 256})
    for (const Element dtype : {Element::float32, Element::bfloat16, Element::float16})
      for (const bool incoming : {false, true})
        for (const bool gate_before : {false, true})
          for (const int64_t B : {1, 2}) {
            const Problem p{B, 765, C, dtype, incoming, gate_before};
            launch("cuda_sm80", p, [&](const Seen &seen) {
              expect_kernels(seen.launches, portable(p));
              for (const fake_cuda::Launch &one : seen.launches)
                if (one.kernel.starts_with("product_"))
                  expect(one.kernel.ends_with(name_of(dtype)), one.kernel + " multiplies another dtype than " + name_of(dtype));
            });
          }
}

// None of the persistent kernels asks for more CTAs than the GPU holds, and all are of the problem's dtype.
void expect_hopper(const Problem &p, const Seen &seen) {
  expect_kernels(seen.launches, hopper(p));
  for (const fake_cuda::Launch &one : seen.launches) {
    const bool of_any_dtype = one.kernel.starts_with("pack") || one.kernel.starts_with("hopper_finish");
    expect(of_any_dtype || one.kernel.ends_with("_float16") == (p.dtype == Element::float16), one.kernel + " is of another dtype");
    if (!one.kernel.starts_with("hopper_") || one.kernel.starts_with("hopper_total") || one.kernel.starts_with("hopper_finish") ||
        one.kernel.starts_with("hopper_clear"))
      continue;
    expect(one.grid[0] <= 132 && one.grid[1] == 1 && one.grid[2] == 1, one.kernel + " has more blocks than the GPU holds");
  }
}

TEST_CASE("cuda_sm90a has its own kernels for 16-bit tensors of 128 and 256 channels, more than 32 residues, and the portable ones else") {
  for (const int64_t N : {725, 765, 1024})
    for (const int64_t C : {128, 256})
      for (const bool incoming : {false, true})
        for (const int64_t B : {1, 2}) {
          const Problem p{B, N, C, B == 1 ? Element::bfloat16 : Element::float16, incoming};
          launch("cuda_sm90a", p, [&](const Seen &seen) { expect_hopper(p, seen); });
        }
  for (const int64_t N : {33, 128, 257, 384})
    for (const int64_t C : {128, 256}) {
      const Problem p{1, N, C};
      launch("cuda_sm90a", p, [&](const Seen &seen) { expect_hopper(p, seen); });
    }
  for (const Problem &p : {Problem{1, 765, 192}, Problem{1, 765, 128, Element::float32},
                           Problem{1, 765, 128, Element::bfloat16, false, true}, Problem{1, 765, 256, Element::float16, true, true}})
    launch("cuda_sm90a", p, [&](const Seen &seen) { expect_kernels(seen.launches, portable(p)); });
}

TEST_CASE("kept activations spare the backward the front and a contraction") {
  for (const int64_t N : {725, 1024})
    for (const int64_t C : {128, 256})
      for (const Element dtype : {Element::bfloat16, Element::float16}) {
        Problem p{2, N, C, dtype};
        p.keeps = true;
        launch("cuda_sm90a", p, [&](const Seen &seen) { expect_hopper(p, seen); });
        p.op = "forward_train", p.given = {"norm_in_weight", "norm_in_bias"};
        launch("cuda_sm90a", p, [&](const Seen &seen) {
          std::vector<std::string> names = {"pack"};
          for (int batch = 0; batch < 2; ++batch) {
            for (const char *name :
                 {C == 256 ? "hopper_front_256" : "hopper_front_128", "hopper_contract_", C == 256 ? "hopper_back_256" : "hopper_back_128"})
              names.push_back(name);
            if (C == 256 && N % 8) names.push_back("hopper_clear_padding");
          }
          expect_kernels(seen.launches, names);
        });
      }
}

TEST_CASE("who can't keep activations says so before anything runs") {
  const auto refusal = [](const std::string &arch, Problem p, const std::string &op) {
    p.keeps = true, p.op = op;
    if (op == "forward_train") p.given = {"norm_in_weight", "norm_in_bias"};
    return run_in_child(
        [&] {
          const Fake fake;
          const Plugin plugin(build_of(arch));
          HostCall(plugin, request_of(p));
        },
        60);
  };
  for (const char *op : {"forward_train", "backward"}) {
    CHECK(refusal("cuda_sm80", {1, 64, 128}, op).find("it takes save = nothing") != std::string::npos);
    for (const Problem &p : {Problem{1, 64, 192}, Problem{1, 24, 128}, Problem{1, 64, 128, Element::float32}})
      CHECK(refusal("cuda_sm90a", p, op).find("it takes save = nothing for all others") != std::string::npos);
  }
}

TEST_CASE("what is not wanted is not computed, where that saves a launch") {
  const auto has = [](const Seen &seen, const std::string &name) {
    for (const fake_cuda::Launch &one : seen.launches)
      if (one.kernel.starts_with(name)) return true;
    return false;
  };
  for (const char *arch : {"cuda_sm80", "cuda_sm90a"}) {
    launch(arch, {1, 200, 128, Element::bfloat16, false, false, {"norm_in_weight", "norm_in_bias", "out_projection_weight_gradient"}},
           [&](const Seen &seen) {
             expect(!has(seen, "pair_gradient") && !has(seen, "norm_out_backward"), "a gradient that nobody wants is computed");
             expect(!has(seen, "hopper_front_weights") && !has(seen, "hopper_front_backward"), "a gradient that nobody wants is computed");
           });
    launch(arch, {1, 200, 128, Element::bfloat16, false, false, {"norm_in_weight", "norm_in_bias", "pair_gradient"}},
           [&](const Seen &seen) {
             expect(!has(seen, "hopper_front_weights"), "sums for weights that nobody wants");
             expect(has(seen, "hopper_front_backward") || has(seen, "pair_gradient"), "pair's gradient is not computed");
           });
  }
}

TEST_CASE("at 256 channels each product is left out where nobody wants it") {
  const std::set<std::string> norm = {"norm_in_weight", "norm_in_bias"};
  const std::vector<std::string> of_parameters = {"hopper_total_sums_256"}, of_norms = {"hopper_total_sums_256", "hopper_finish_256"};
  const auto launched = [&](std::set<std::string> wanted, const std::vector<std::string> &last) {
    wanted.insert(norm.begin(), norm.end());
    return [=](const std::vector<std::string> &steps) {
      launch("cuda_sm90a", {1, 200, 256, Element::bfloat16, false, false, wanted}, [&](const Seen &seen) {
        std::vector<std::string> names = {"pack", "hopper_front_256", "hopper_contract_", "hopper_output_256"};
        names.insert(names.end(), steps.begin(), steps.end());
        names.insert(names.end(), last.begin(), last.end());
        expect_kernels(seen.launches, names);
      });
    };
  };
  launched({"out_projection_weight_gradient"}, of_parameters)({"hopper_weights_of_o_256"});
  launched({"norm_out_bias_gradient"}, of_norms)({"hopper_weights_of_o_256"});
  launched({"out_gate_weight_gradient"}, of_parameters)({"hopper_weights_of_pair_256"});
  launched({"residual_gradient"}, {})({"copy_rows"});
  launched({"pair_gradient"},
           {})({"hopper_norm_256", "hopper_contract_", "hopper_contract_", "hopper_front_gradients_256", "hopper_input_256"});
  launched({"a_gate_weight_gradient"}, of_parameters)(
      {"hopper_norm_256", "hopper_contract_", "hopper_contract_", "hopper_front_gradients_256", "hopper_weights_of_pair_256"});
}

TEST_CASE("a training step takes at most eight times a pair tensor: from 256 residues on, on Hopper with 128 channels from 128") {
  for (const std::string arch : {"cuda_sm80", "cuda_sm90a"})
    for (const int64_t C : {128, 256})
      for (const int64_t N : {128, 256, 384, 512, 768, 1024}) {
        if (N < 256 && (arch == "cuda_sm80" || C == 256)) continue;  // there the portable kernels need 8.02
        const Problem p{1, N, C};
        launch(arch, p, [&](const Seen &seen) {
          const double found = units(p, seen.workspace);
          expect(found <= 8, "the workspace is " + std::to_string(found) + " times a pair tensor");
          expect(found >= 6, "the workspace does not hold what the steps hand on");
        });
      }
}
