// A problem that no reference run can afford: more than 2^31 elements.  A build computes it whole; the rows (i, j) of a grid of 64 are
// computed again in double from the same drawn numbers, straight from the formula.  Every element of pair and mask is a function of
// its index, so the truth needs no copy of them.
//
//   large_problem BUILD.so [DEVICE [RESIDUES [WIDTH]]]        defaults: cuda:0, 4160, 128
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <thread>
#include <vector>

#include "conformance/random.h"
#include "conformance/session.h"
#include "manifest/error.h"

namespace {

using namespace lamina::conformance;
using Row = std::vector<double>;

struct Problem {
  int64_t residues, width;
  bool incoming;
  Element element;
  uint64_t seed;
  double pair(int64_t i, int64_t j, int64_t c) const {
    return Random(seed, "pair").normal(static_cast<uint64_t>((i * residues + j) * width + c));
  }
  bool mask(int64_t i, int64_t j) const { return Random(seed, "pair_mask").uniform(static_cast<uint64_t>(i * residues + j)) < 0.9; }
};

// Runs body(begin, end) over [0, count) on all cores.
template <class Body>
void on_all_cores(int64_t count, Body &&body) {
  const int64_t cores = std::max(1u, std::thread::hardware_concurrency());
  std::vector<std::thread> threads;
  for (int64_t t = 0; t < cores; ++t) threads.emplace_back([&, t] { body(count * t / cores, count * (t + 1) / cores); });
  for (std::thread &thread : threads) thread.join();
}

// ---- the truth -----------------------------------------------------------------------------------------------------------------

struct Weights {
  std::map<std::string, Row> by_name;
  const Row &operator[](const std::string &name) const { return by_name.at(name); }
};

Row normalised(const Row &x, const Row &weight, const Row &bias) {
  double mean = 0, variance = 0;
  for (const double value : x) mean += value;
  mean /= static_cast<double>(x.size());
  for (const double value : x) variance += (value - mean) * (value - mean);
  const double scale = 1 / std::sqrt(variance / static_cast<double>(x.size()) + 1e-5);
  Row z(x.size());
  for (size_t c = 0; c < x.size(); ++c) z[c] = (x[c] - mean) * scale * weight[c] + bias[c];
  return z;
}

double sigmoid(double x) { return 1 / (1 + std::exp(-x)); }

// (z Wp') * sigmoid(z Wg'); both weights are [outputs, inputs]
Row gated(const Row &value_input, const Row &projection, const Row &gate_input, const Row &gate) {
  Row result(projection.size() / value_input.size());
  for (size_t h = 0; h < result.size(); ++h) {
    double value = 0, opening = 0;
    for (size_t c = 0; c < value_input.size(); ++c) value += value_input[c] * projection[h * value_input.size() + c];
    for (size_t c = 0; c < gate_input.size(); ++c) opening += gate_input[c] * gate[h * gate_input.size() + c];
    result[h] = value * sigmoid(opening);
  }
  return result;
}

Row z_of(const Problem &p, const Weights &w, int64_t i, int64_t j) {
  Row x(static_cast<size_t>(p.width));
  for (int64_t c = 0; c < p.width; ++c) {
    unsigned char bytes[8];
    store(bytes, p.element, p.pair(i, j, c));
    x[static_cast<size_t>(c)] = load(bytes, p.element);
  }
  return normalised(x, w["norm_in_weight"], w["norm_in_bias"]);
}

// [grid, grid, C]
Row truth_of(const Problem &p, const Weights &w, const std::vector<int64_t> &grid) {
  const size_t side = grid.size(), hidden = static_cast<size_t>(p.width), n = static_cast<size_t>(p.residues);
  std::vector<Row> a(side * n), b(side * n);  // for each of the grid's indices, over k
  on_all_cores(static_cast<int64_t>(side * n), [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; ++at) {
      const int64_t fixed = grid[static_cast<size_t>(at) / n], k = at % p.residues;
      const int64_t i = p.incoming ? k : fixed, j = p.incoming ? fixed : k;
      auto &left = a[static_cast<size_t>(at)], &right = b[static_cast<size_t>(at)];
      if (!p.mask(i, j)) {
        left.assign(hidden, 0), right.assign(hidden, 0);
        continue;
      }
      const Row z = z_of(p, w, i, j);
      left = gated(z, w["a_projection_weight"], z, w["a_gate_weight"]);
      right = gated(z, w["b_projection_weight"], z, w["b_gate_weight"]);
    }
  });
  Row truth;
  for (size_t i = 0; i < side; ++i)
    for (size_t j = 0; j < side; ++j) {
      Row o(hidden);
      for (size_t k = 0; k < n; ++k)
        for (size_t h = 0; h < hidden; ++h) o[h] += a[i * n + k][h] * b[j * n + k][h];
      const Row u = gated(normalised(o, w["norm_out_weight"], w["norm_out_bias"]), w["out_projection_weight"], z_of(p, w, grid[i], grid[j]),
                          w["out_gate_weight"]);
      truth.insert(truth.end(), u.begin(), u.end());
    }
  return truth;
}

// ---- the build -----------------------------------------------------------------------------------------------------------------

void require(const Outcome &outcome, const char *step) {
  if (!outcome.ok()) throw lamina::Error(lamina::ErrorKind::failed, std::string(step) + ": " + describe(outcome));
}

// The whole output's bytes.
std::vector<unsigned char> run_build(Session &session, const Problem &p, Case one, const std::vector<Drawn> &weights, double &seconds) {
  const lamina_op &op = *session.build.op("forward");
  Device &device = session.device();
  const int64_t cells = p.residues * p.residues;
  const size_t size = size_of(p.element), bytes = static_cast<size_t>(cells * p.width) * size;
  const auto packed = session.pack(session.build, one, weights, 0, 0xff);
  std::vector<unsigned char> host(bytes), host_mask(static_cast<size_t>(cells));
  on_all_cores(cells, [&](int64_t begin, int64_t end) {
    for (int64_t cell = begin; cell < end; ++cell) {
      host_mask[static_cast<size_t>(cell)] = p.mask(cell / p.residues, cell % p.residues);
      for (int64_t c = 0; c < p.width; ++c)
        store(host.data() + static_cast<size_t>(cell * p.width + c) * size, p.element, p.pair(cell / p.residues, cell % p.residues, c));
    }
  });
  const auto pair = device.allocate(bytes, 256, Edge::back, "argument 'pair'"),
             out = device.allocate(bytes, 256, Edge::back, "argument 'out'");
  const auto mask = device.allocate(host_mask.size(), 1, Edge::back, "argument 'pair_mask'");
  pair->write(host.data()), mask->write(host_mask.data());

  std::vector<lamina_tensor> tensors(op.arg_count);
  std::vector<const lamina_tensor *> pointers(op.arg_count);
  const int64_t grid_shape[] = {1, p.residues, p.residues, p.width}, packed_shape[] = {static_cast<int64_t>(packed->size())};
  const auto give = [&](const char *name, void *data, int rank, Element element, const int64_t *shape) {
    const auto index = static_cast<size_t>(argument_named(op, name));
    tensors[index] = {data, device.id(), rank, dtype_of(element), shape, nullptr, 0};
    pointers[index] = &tensors[index];
  };
  give("pair", pair->data(), 4, p.element, grid_shape);
  give("out", out->data(), 4, p.element, grid_shape);
  give("pair_mask", mask->data(), 3, Element::boolean, grid_shape);
  give("packed", packed->data(), 1, Element::uint8, packed_shape);
  for (const Drawn &weight : weights)
    if (weight.role == LAMINA_PARAM)
      give(weight.name.c_str(), nullptr, static_cast<int>(weight.shape.size()), weight.element, weight.shape.data());

  const Plan plan(op, one, device.id(), nullptr);
  require(plan.created(), "plan_create");
  lamina_call call{};
  call.struct_size = sizeof call, call.tensor_count = op.arg_count, call.tensors = pointers.data(), call.stream = device.stream(0);
  lamina_need need;
  require(plan.need(call, need), "plan_need");
  const auto workspace = device.allocate(need.workspace_size, need.workspace_align, Edge::back, "workspace");
  call.workspace = workspace->data(), call.workspace_size = need.workspace_size;
  const auto start = std::chrono::steady_clock::now();
  require(plan.run(call), "run");
  device.synchronise();
  seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  for (const Buffer *buffer : {pair.get(), out.get(), mask.get(), workspace.get(), packed.get()})
    if (const std::string damage = buffer->damage(); !damage.empty())
      throw lamina::Error(lamina::ErrorKind::failed, "memory beside an argument: " + damage);
  out->read(host.data());
  return host;
}

bool check(Session &session, const Problem &p) {
  Case one;
  one.why = "large_problem", one.dtype = name_of(p.element), one.seed = p.seed, one.packed = true;
  one.attributes["direction"] = std::string(p.incoming ? "incoming" : "outgoing");
  one.given = {"norm_in_*"};
  one.dims = {{"B", 1}, {"N", 1}, {"C", p.width}, {"H", p.width}, {"G", p.width}};  // N = 1: only weights are drawn here
  Recipe norm, matrix;
  norm.mean = 1, norm.deviation = 0.25, matrix.fan_in = "C";
  one.data = {{"norm_*_weight", norm}, {"*_projection_weight", matrix}, {"*_gate_weight", matrix}};
  const lamina_op &op = *session.build.op("forward");
  if (std::string why; !takes_dtypes(op, one, why)) {
    std::printf("%s: %s\n", one.dtype.c_str(), why.c_str());
    return true;
  }
  std::vector<Drawn> weights;
  Weights values;
  for (Drawn &drawn : draw(op, one)) {
    if (drawn.role != LAMINA_PARAM) continue;
    values.by_name[drawn.name] = drawn.values;
    weights.push_back(std::move(drawn));
  }
  double seconds = 0;
  const auto bytes = run_build(session, p, one, weights, seconds);
  const int64_t n = p.residues;
  std::vector<int64_t> grid{0, 1, n / 3, n / 2, n - n / 7, n - n / 33 - 1, n - 2, n - 1};
  for (int64_t &index : grid) index = std::clamp<int64_t>(index, 0, n - 1);
  Row sampled;
  for (const int64_t i : grid)
    for (const int64_t j : grid)
      for (int64_t c = 0; c < p.width; ++c)
        sampled.push_back(load(bytes.data() + static_cast<size_t>((i * n + j) * p.width + c) * size_of(p.element), p.element));
  Measures measured;
  const Measures limits = limits_for(session.contract, one, LAMINA_FORWARD, one.dtype);
  std::string wrong = compare(sampled, truth_of(p, values, grid), {64, p.width}, limits, measured);
  // Memory starts as NaN: what no tile wrote is still there.
  const size_t size = size_of(p.element);
  for (size_t at = 0; wrong.empty() && at < bytes.size(); at += size)
    if (!std::isfinite(load(bytes.data() + at, p.element))) wrong = "element " + std::to_string(at / size) + " is not finite";
  std::printf(
      "%s %s N = %lld C = %lld (%.2f e9 elements): %.3f s, 64 rows: frobenius %.2e (limit %.1e), row %.2e (%.1e), element %.2e (%.1e): "
      "%s\n",
      one.dtype.c_str(), p.incoming ? "incoming" : "outgoing", static_cast<long long>(n), static_cast<long long>(p.width),
      static_cast<double>(n * n * p.width) / 1e9, seconds, measured.frobenius, limits.frobenius, measured.worst_row, limits.worst_row,
      measured.worst_element, limits.worst_element, wrong.empty() ? "right" : wrong.c_str());
  std::fflush(stdout);
  return wrong.empty();
}

}  // namespace

int main(int argc, char **argv) {
  if (argc < 2) {
    std::fprintf(stderr, "large_problem BUILD.so [DEVICE [RESIDUES [WIDTH]]]\n");
    return 2;
  }
  try {
    Session session(argv[1], "", argc > 2 ? argv[2] : "cuda:0");
    const int64_t residues = argc > 3 ? std::stoll(argv[3]) : 4160, width = argc > 4 ? std::stoll(argv[4]) : 128;
    std::printf("%s on %s (%s)\n", argv[1], session.device_name.c_str(), session.device().name().c_str());
    bool right = true;
    for (const Element element : {Element::bfloat16, Element::float16, Element::float32})
      for (const bool incoming : {false, true}) right = check(session, {residues, width, incoming, element, 11}) && right;
    return right ? 0 : lamina::exit_code(lamina::ErrorKind::failed);
  } catch (const Failure &failure) {
    std::fprintf(stderr, "error: %s\n", failure.message.c_str());
    return lamina::exit_code(failure.verdict == Verdict::unsupported ? lamina::ErrorKind::unsupported : lamina::ErrorKind::failed);
  } catch (const lamina::Error &error) {
    std::fprintf(stderr, "error: %s\n", error.what());
    return lamina::exit_code(error.kind);
  }
}
