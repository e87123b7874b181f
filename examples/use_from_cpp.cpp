// Triangle multiplication from C++17, through lamina.hpp: the seeded problem of call_abi_directly.c, once with raw and once with packed
// weights.
//
//   use_from_cpp BUILD.so            a build on this disk
//   use_from_cpp ORG/NAME[@vN]       one of a hub: fetched, verified, loaded
#include <cmath>
#include <cstdio>
#include <lamina/lamina.hpp>

namespace {

constexpr int64_t residues = 40, channels = 32;

std::vector<float> noise(int64_t count, float scale) {  // splitmix64, in [-1, 1)
  static uint64_t state = 1;
  std::vector<float> values(static_cast<size_t>(count));
  for (float &value : values) {
    uint64_t z = (state += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    value = scale * (static_cast<float>((z ^ (z >> 31)) >> 40) / 8388608.0f - 1.0f);
  }
  return values;
}

struct Weight {
  const char *name;
  std::vector<int64_t> shape;
  std::vector<float> values;
};

std::vector<Weight> make_weights() {
  constexpr int64_t c = channels;
  const float scale = 1.0f / std::sqrt(static_cast<float>(c));
  std::vector<Weight> weights = {{"a_projection_weight", {c, c}, {}},   {"a_gate_weight", {c, c}, {}},  {"b_projection_weight", {c, c}, {}},
                                 {"b_gate_weight", {c, c}, {}},         {"norm_out_weight", {c}, {}},   {"norm_out_bias", {c}, {}},
                                 {"out_projection_weight", {c, c}, {}}, {"out_gate_weight", {c, c}, {}}};
  for (Weight &weight : weights) weight.values = weight.shape.size() == 2 ? noise(c * c, scale) : noise(c, 1);
  return weights;
}

lamina::Library find(const std::string &name) {
  if (name.size() > 3 && name.compare(name.size() - 3, 3, ".so") == 0) return lamina::Library::open(name);
  const lamina::Bundle bundle = lamina::Hub().fetch(name);
  std::printf("%s from %s\n", bundle.info().build_path, bundle.info().commit);
  return bundle.load();
}

}  // namespace

int main(int argc, char **argv) try {
  if (argc != 2) return std::fprintf(stderr, "usage: use_from_cpp BUILD.so | ORG/NAME[@vN]\n"), 2;
  const lamina::Library library = find(argv[1]);
  const std::vector<float> pair = noise(residues * residues * channels, 1);
  const std::vector<Weight> weights = make_weights();
  std::vector<float> out(pair.size()), packed_out(pair.size());
  const std::vector<int64_t> shape = {1, residues, residues, channels};

  const lamina::Plan plan(library.op("forward"));
  lamina::Call call(plan);
  for (const Weight &weight : weights) call.set(weight.name, {weight.values.data(), weight.shape});
  call.set("pair", {pair.data(), shape}).set("out", {out.data(), shape}).run();

  // Packed once, run often: the bytes are yours, and serve this very build.
  const lamina::Plan pack(library.op("pack"), {LAMINA_CPU, 0}, {lamina::attribute("dtype", "float32")});
  lamina::Call packing(pack);
  for (const Weight &weight : weights) packing.set(weight.name, {weight.values.data(), weight.shape});
  const int64_t size = static_cast<int64_t>(packing.need().packed_size);
  std::vector<uint8_t> room(static_cast<size_t>(size) + 64);
  uint8_t *packed = room.data() + (64 - reinterpret_cast<uintptr_t>(room.data()) % 64) % 64;
  packing.set("packed", {packed, {size}}).run();
  call.set("packed", {packed, {size}}).set("out", {packed_out.data(), shape}).run();

  double norm = 0, dot = 0, difference = 0;
  for (size_t i = 0; i < out.size(); ++i) {
    const double value = out[i];
    norm += value * value, dot += value * static_cast<double>(i * 7919 % 1013) / 1013;
    difference += (value - packed_out[i]) * (value - packed_out[i]);
  }
  std::printf("%s %s %s: packed weights are %lld bytes\n", library->name, library->version, library->target, static_cast<long long>(size));
  std::printf("checksum norm %.9g dot %.9g\n", std::sqrt(norm), dot);
  std::printf("packed against raw: relative difference %.2e\n", std::sqrt(difference / norm));
  return difference <= norm * 4e-12 ? 0 : 1;  // float32's tolerance, squared
} catch (const lamina::Failure &failure) {
  std::fprintf(stderr, "use_from_cpp: %s (status %d)\n", failure.what(), failure.status);
  return 1;
}
