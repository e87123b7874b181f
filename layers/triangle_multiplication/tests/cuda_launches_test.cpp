// What the CUDA builds launch, seen by the stand-in driver: which kernels in which order, for whole problems and for groups of batches, from
// raw and from packed weights; grids that cover every cell; addresses that stay in their tensors at the largest size.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <filesystem>

#include "conformance/tests/cuda_host.h"

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

struct Problem {
  int64_t B, N, C;
  Element dtype = Element::bfloat16;
  bool packed = true, contraction_fp32 = false, incoming = false, extras = false;
  bool narrow = false;  // float tensors, fp16 allowed inside, the output gate before the projection, 128 hidden channels
  int64_t H = 0;        // 0: as C
  int64_t hidden() const { return narrow ? 128 : H ? H : C; }
};

struct Seen {
  std::vector<fake_cuda::Launch> launches;
  uint64_t workspace, packed;
};

std::string words_of(const Problem &p) {
  return "B=" + std::to_string(p.B) + " N=" + std::to_string(p.N) + " C=" + std::to_string(p.C) + " H=" + std::to_string(p.hidden()) + " " +
         name_of(p.dtype) + (p.packed ? " packed" : " raw") + (p.contraction_fp32 ? " contraction=fp32" : "") +
         (p.incoming ? " incoming" : "") + (p.extras ? " with residual and masks" : "") + (p.narrow ? " in fp16" : "");
}

lamina_attr attribute(const char *name, const char *value) {
  lamina_attr made{name, LAMINA_ATTR_STRING, 0, {}};
  made.value.s = value;
  return made;
}

// Runs the problem and gives what it launched to `see`, in a process of its own.
void launch(const std::string &arch, const Problem &p, const std::function<void(const Seen &)> &see) {
  const std::string found = run_in_child(
      [&] {
        const Fake fake;
        const Plugin plugin(build_of(arch));
        HostCall::Request request;
        request.dims = {{"B", p.B}, {"N", p.N}, {"C", p.C}, {"H", p.hidden()}, {"G", p.narrow ? p.hidden() : p.C}};
        request.dtype = p.dtype, request.packed = p.packed;
        request.given = {"norm_in_weight", "norm_in_bias"};
        if (p.extras) request.given.insert({"residual", "dropout_mask", "pair_mask"});
        if (p.contraction_fp32) request.attributes.push_back(attribute("contraction", "fp32"));
        if (p.incoming) request.attributes.push_back(attribute("direction", "incoming"));
        if (p.narrow)
          request.attributes.insert(request.attributes.end(),
                                    {attribute("compute", "fp16"), attribute("output_gate", "before_projection")});
        HostCall call(plugin, request);
        fake->forget();
        call.must_run(nullptr, "forward");
        fake.no_misuse();
        auto used = check_addresses(fake->launches(), call.addresses());
        std::set<std::string> wanted = {"pair", "out", "workspace"};
        if (p.packed) wanted.insert("packed");
        if (p.extras) wanted.insert({"residual", "dropout_mask", "pair_mask"});
        for (const std::string &name : wanted) expect(used.contains(name), name + " is not used");
        see({fake->launches(), call.need().workspace_size, call.need().packed_size});
      },
      60);
  CAPTURE(arch);
  CAPTURE(words_of(p));
  CHECK(found == "");
}

void equal(int64_t found, int64_t expected, const std::string &what) {
  expect(found == expected, what + " is " + std::to_string(found) + ", expected " + std::to_string(expected));
}
int64_t divide_up(int64_t value, int64_t by) { return (value + by - 1) / by; }

// Batches share launches as long as all their cells, rows padded to 8, are at most 2^20.
std::vector<int64_t> groups_of(const Problem &p) {
  const int64_t cells = p.N * divide_up(p.N, 8) * 8, most = std::max<int64_t>(1, (1 << 20) / cells);
  std::vector<int64_t> groups;
  for (int64_t first = 0; first < p.B; first += most) groups.push_back(std::min(most, p.B - first));
  return groups;
}

// Sums of few terms and norms of few channels keep float planes beside 16-bit tensors; the attribute asks for them too.
bool wide(const Problem &p) { return p.dtype != Element::float32 && (p.contraction_fp32 || p.N <= 32 || p.C <= 16); }

// The portable kernels: a block takes a tile of 64 or 16 cells in front and back, and 128 x 128 of one channel in contract.
void check_portable(const Problem &p, const std::vector<fake_cuda::Launch> &launches) {
  const std::string mode = std::string(name_of(p.dtype)) + (wide(p) ? "_wide" : "");
  size_t at = 0;
  const auto next = [&](const std::string &name) -> const fake_cuda::Launch & {
    expect(at < launches.size(), name + " is not launched");
    const fake_cuda::Launch &one = launches[at++];
    expect(one.kernel.starts_with(name), one.kernel + " is launched where " + name + " is expected");
    expect(!one.overlaps_previous, one.kernel + " overlaps the kernel before it");
    return one;
  };
  const auto over_cells = [&](const std::string &step, int64_t cells) {
    const fake_cuda::Launch &one = next(step + "_" + mode + "_");
    const bool large = one.kernel.ends_with("_large");
    expect(large || one.kernel.ends_with("_small"), one.kernel + " is of no size that is known here");
    equal(one.grid[0], divide_up(cells, large ? 64 : 16), one.kernel + "'s blocks");
    equal(one.grid[1] * one.grid[2], 1, one.kernel + "'s grid in y and z");
  };
  if (!p.packed) next("pack_" + std::string(name_of(p.dtype)));
  for (const int64_t batches : groups_of(p)) {
    const int64_t cells = batches * p.N * divide_up(p.N, 8) * 8, side = divide_up(p.N, 128);
    over_cells("front", cells);
    const fake_cuda::Launch &contract = next("contract_" + std::string(wide(p) ? "float32" : name_of(p.dtype)));
    equal(contract.grid[0], side * side, "contract's tiles of a channel"), equal(contract.grid[1], p.hidden(), "contract's channels");
    equal(contract.grid[2], batches, "contract's batches");
    over_cells("back", cells);
  }
  equal(static_cast<int64_t>(launches.size()), static_cast<int64_t>(at), "the number of launches");
}

bool streams(const Problem &p) { return p.C == 384; }
unsigned cluster_of(const std::string &kernel) {
  const auto is = [&](const char *name) { return kernel.find(name) != std::string::npos; };
  return is("paired") || is("tall") ? 2 : 1;
}

// The Hopper kernels stay on the GPU: persistent ones have no more blocks than it has processors.  Each but a group's first starts beside
// the one before.  Two CTAs share the weights of layers that are too wide for shared memory.
void check_hopper(const Problem &p, const std::vector<fake_cuda::Launch> &launches) {
  constexpr unsigned processors = 132;
  using Steps = std::vector<std::string>;
  const Steps steps = p.narrow ? Steps{"hopper_narrow_rows", "hopper_narrow_front", "hopper_contract", "hopper_narrow_back"}
                               : Steps{"hopper_front", "hopper_contract", "hopper_back"};
  const std::string width = std::to_string(p.C) + (p.C == 64 && p.hidden() == 128 ? "_128" : "");
  const bool half = p.dtype == Element::float16;
  size_t at = p.packed ? 0 : 1;
  if (!p.packed) expect(!launches.empty() && launches[0].kernel.starts_with("pack_"), "raw weights are not packed first");
  for (const int64_t batches : groups_of(p))
    for (const std::string &step : steps) {
      expect(at < launches.size() && launches[at].kernel.starts_with(step), step + " is not launched in its place");
      const fake_cuda::Launch &one = launches[at++];
      const unsigned most = step == "hopper_narrow_rows" ? 8 * processors : processors;
      expect(one.grid[0] > 0 && one.grid[0] <= most && one.grid[1] == 1 && one.grid[2] == 1,
             one.kernel + " has more blocks than the GPU holds");
      expect(one.overlaps_previous || step == steps[0], one.kernel + " waits for the launch before it to end");
      const bool contract = step == "hopper_contract", streamed = streams(p) && !p.narrow && !contract;
      expect(one.cluster == (streamed ? 2 : cluster_of(one.kernel)), one.kernel + " is launched in clusters of another size");
      equal(one.grid[0] % one.cluster, 0, one.kernel + "'s blocks beyond whole clusters");
      if (contract) {
        expect((one.kernel.find("incoming") != std::string::npos) == p.incoming, one.kernel + " is launched for the other direction");
        expect(one.kernel.ends_with("_float16") == (half || p.narrow), one.kernel + " is launched for another dtype");
        continue;
      }
      const std::string name = step + "_" + width + (p.extras && step == "hopper_back" ? "_extras" : "") + (half ? "_float16" : "");
      expect(one.kernel == name, one.kernel + " is launched where " + name + " is expected");
      // A pair of CTAs takes 256 positions; where that leaves most of the GPU idle, the front's passes are shared out.
      const int64_t pairs = divide_up(batches * p.N * divide_up(p.N, 8) * 8, 256);
      if (streamed) expect(one.grid[0] >= std::min<int64_t>(2 * pairs, processors), one.kernel + " has too few blocks for its tiles");
      if (streamed && step == "hopper_front" && 4 * pairs + 4 <= processors)
        expect(one.grid[0] >= 4 * pairs, one.kernel + " does not share out its passes");
    }
  equal(static_cast<int64_t>(launches.size()), static_cast<int64_t>(at), "the number of launches");
}

std::vector<Problem> sizes(int64_t C, int64_t H = 0) {
  std::vector<Problem> all;
  for (const int64_t N : {1, 33, 76, 129, 256, 4160})
    for (const int64_t B : {1, 3})
      for (const bool packed : {false, true})
        for (const Element dtype : {Element::float32, Element::bfloat16, Element::float16}) all.push_back({B, N, C, dtype, packed});
  all.push_back({50, 256, C});
  for (Problem &p : all) p.H = H;
  return all;
}

}  // namespace

TEST_CASE("portable kernels: front, contract and back of every group of batches, over every cell") {
  for (const int64_t C : {8, 128, 136, 384})
    for (const Problem &p : sizes(C)) launch("cuda_sm80", p, [&](const Seen &seen) { check_portable(p, seen.launches); });
  const Problem special[] = {{1, 76, 128, Element::bfloat16, true, true},
                             {2, 76, 128, Element::float16, true, true},
                             {2, 76, 128, Element::bfloat16, true, false, true},
                             {2, 76, 128, Element::bfloat16, false, false, true, true}};
  for (const Problem &p : special) launch("cuda_sm80", p, [&](const Seen &seen) { check_portable(p, seen.launches); });
}

TEST_CASE("cuda_sm90a has its own kernels for 16 bits, its widths, more than 32 residues, and the portable ones else") {
  constexpr int64_t widths[][2] = {{128, 128}, {256, 256}, {64, 64}, {64, 128}, {384, 256}};
  for (const auto &[C, H] : widths)
    for (const int64_t N : {33, 40, 65, 128, 256, 257, 383, 384, 1021, 4160})
      for (const int64_t B : {1, 3, 50})
        for (const bool packed : {false, true})
          for (const bool incoming : {false, true})
            for (const bool extras : {false, true}) {
              if ((N > 1000 && B > 3) || (C != H && packed != incoming)) continue;
              const Problem p{B, N, C, N % 2 ? Element::bfloat16 : Element::float16, packed, false, incoming, extras, false, H};
              launch("cuda_sm90a", p, [&](const Seen &seen) { check_hopper(p, seen.launches); });
            }
  for (const int64_t N : {128, 384, 4160}) {
    const Problem p{1, N, 128, Element::bfloat16};
    launch("cuda_sm90a", p, [&](const Seen &seen) { check_hopper(p, seen.launches); });
  }
  const Problem portable[] = {{1, 128, 96},
                              {1, 128, 384},
                              {1, 128, 128, Element::bfloat16, true, false, false, false, false, 64},
                              {1, 32, 128, Element::float16},
                              {1, 32, 64},
                              {3, 4160, 128, Element::float32},
                              {1, 32, 128},
                              {1, 128, 128, Element::bfloat16, true, true}};
  for (const Problem &p : portable) launch("cuda_sm90a", p, [&](const Seen &seen) { check_portable(p, seen.launches); });
}

TEST_CASE("cuda_sm90a computes float tensors in fp16 where that is allowed, and exactly where its kernels do not serve") {
  for (const int64_t C : {128, 384})
    for (const int64_t N : {33, 256, 1021})
      for (const int64_t B : {1, 50})
        for (const bool packed : {false, true})
          for (const bool incoming : {false, true}) {
            if (N > 1000 && B > 1) continue;
            const Problem p{B, N, C, Element::float32, packed, false, incoming, false, true};
            launch("cuda_sm90a", p, [&](const Seen &seen) { check_hopper(p, seen.launches); });
          }
  const Problem exact[] = {{1, 32, 128, Element::float32, true, false, false, false, true},
                           {1, 76, 128, Element::float32, true, false, false, true, true},
                           {1, 76, 256, Element::float32, true, false, false, false, true}};
  for (const Problem &p : exact) launch("cuda_sm90a", p, [&](const Seen &seen) { check_portable(p, seen.launches); });
}

TEST_CASE("the workspace is a, b and o of one group, and the packed weights where none come") {
  const auto check = [](const char *arch, const Problem &p) {
    launch(arch, p, [&](const Seen &seen) {
      const int64_t cells = groups_of(p)[0] * p.N * divide_up(p.N, 8) * 8, storage = p.dtype == Element::float32 || wide(p) ? 4 : 2;
      const int64_t planes = 3 * cells * p.hidden() * storage, least = planes + static_cast<int64_t>(p.packed ? 0 : seen.packed);
      expect(seen.workspace >= static_cast<uint64_t>(least), "the workspace does not hold a, b and o");
      expect(seen.workspace <= static_cast<uint64_t>(least) + 4 * 256, "the workspace is larger than a, b and o");
    });
  };
  for (const char *arch : {"cuda_sm80", "cuda_sm90a"})
    for (const Problem &p : sizes(128)) check(arch, p);
  for (const Problem &p : sizes(384, 256)) check("cuda_sm90a", p);
}
