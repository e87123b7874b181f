// Makes the demo's inputs from a real protein: ubiquitin (PDB 1UBQ), 76 residues.
//
//   ubiquitin CA.csv OUT     writes OUT/pair.npy [1, N, N, 128], OUT/mask.npy [1, N, N] and OUT/checkpoint.safetensors
//
// pair: 63 Gaussians of the distance between C-alpha atoms, centres 4 to 22 angstrom, then 65 one-hot channels of the clipped relative
// position j - i, as structure predictors encode it.  checkpoint: Boltz's parameter names for C = 128, every value seeded noise: no
// trained weights are used, so what is shown is the computation, not a prediction.
#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "manifest/error.h"
#include "manifest/npy.h"
#include "manifest/safetensors.h"

namespace {
using lamina::manifest::TensorView;

constexpr int kRadial = 63, kClip = 32, kChannels = kRadial + 2 * kClip + 1;
static_assert(kChannels == 128, "radial basis and relative positions together are Boltz's pair width");
constexpr double kFirstCentre = 4, kLastCentre = 22, kWidth = 1.5;  // angstrom
constexpr const char *kPrefix = "pairformer_module.layers.0.tri_mul_out.";

[[noreturn]] void malformed(const std::string &sentence) { throw lamina::Error(lamina::ErrorKind::malformed, sentence); }

std::vector<std::array<double, 3>> read_atoms(const std::string &path) {
  std::ifstream file(path);
  if (!file) throw lamina::Error(lamina::ErrorKind::not_found, path + ": cannot be read; expected a CSV of C-alpha atoms");
  std::vector<std::array<double, 3>> atoms;
  std::string line;
  std::getline(file, line);
  if (line != "residue,name,x,y,z") malformed(path + ": first line must be residue,name,x,y,z");
  while (std::getline(file, line)) {
    int residue = 0, used = 0;
    char name[4];
    std::array<double, 3> at;
    if (std::sscanf(line.c_str(), "%d,%3[A-Z],%lf,%lf,%lf%n", &residue, name, &at[0], &at[1], &at[2], &used) != 5 ||
        residue != static_cast<int>(atoms.size()) + 1 || static_cast<size_t>(used) != line.size())
      malformed(path + ": line " + std::to_string(atoms.size() + 2) + " is not the next residue: " + line);
    atoms.push_back(at);
    if (atoms.size() > 1024) malformed(path + ": more than 1024 residues; this example is for a small protein");
  }
  if (atoms.empty()) malformed(path + ": no residues");
  return atoms;
}

std::vector<float> encode_pairs(const std::vector<std::array<double, 3>> &atoms) {
  const int residues = static_cast<int>(atoms.size());
  std::vector<float> pair(size_t(residues) * residues * kChannels);  // [residues, residues, kChannels]
  for (int i = 0; i < residues; ++i)
    for (int j = 0; j < residues; ++j) {
      float *cell = &pair[(size_t(i) * residues + j) * kChannels];
      const double distance = std::hypot(atoms[i][0] - atoms[j][0], atoms[i][1] - atoms[j][1], atoms[i][2] - atoms[j][2]);
      for (int k = 0; k < kRadial; ++k) {
        const double from_centre = (distance - kFirstCentre - (kLastCentre - kFirstCentre) * k / (kRadial - 1)) / kWidth;
        cell[k] = static_cast<float>(std::exp(-0.5 * from_centre * from_centre));
      }
      cell[kRadial + std::min(std::max(j - i, -kClip), kClip) + kClip] = 1;
    }
  return pair;
}

// splitmix64 and Box-Muller: the same numbers on every machine, which the standard's distributions do not promise.
class Noise {
 public:
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(6.283185307179586 * uniform());
  }

 private:
  double uniform() {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return (double((z ^ (z >> 31)) >> 11) + 0.5) / 9007199254740992.0;
  }
  uint64_t state_ = 76;
};

TensorView view_of(const std::vector<float> &values, std::vector<int64_t> shape) {
  TensorView view;
  view.data = reinterpret_cast<const unsigned char *>(values.data());
  view.dtype = {LAMINA_CODE_FLOAT, 32, 1};
  view.strides = lamina::manifest::row_major_strides(shape);
  view.shape = std::move(shape);
  return view;
}

void write_checkpoint(const std::string &path) {
  constexpr int64_t c = kChannels;
  struct Parameter {
    const char *name;
    std::vector<int64_t> shape;
    double mean, deviation;
  };
  const double linear = 1 / std::sqrt(double(c));
  const std::vector<Parameter> parameters = {{"norm_in.weight", {c}, 1, 0.1},        {"norm_in.bias", {c}, 0, 0.1},
                                             {"p_in.weight", {2 * c, c}, 0, linear}, {"g_in.weight", {2 * c, c}, 0, linear},
                                             {"norm_out.weight", {c}, 1, 0.1},       {"norm_out.bias", {c}, 0, 0.1},
                                             {"p_out.weight", {c, c}, 0, linear},    {"g_out.weight", {c, c}, 0, linear}};
  Noise noise;
  std::map<std::string, std::vector<float>> values;
  std::map<std::string, TensorView> tensors;
  for (const Parameter &parameter : parameters) {
    std::vector<float> &data = values[kPrefix + std::string(parameter.name)];
    data.resize(parameter.shape.size() == 1 ? c : parameter.shape[0] * c);
    for (float &value : data) value = static_cast<float>(parameter.mean + parameter.deviation * noise.normal());
    tensors[kPrefix + std::string(parameter.name)] = view_of(data, parameter.shape);
  }
  lamina::manifest::write_safetensors(path, tensors, {{"format", "pt"}, {"note", "seeded noise in Boltz's parameter names; not trained"}});
}
}  // namespace

int main(int argc, char **argv) try {
  if (argc != 3) {
    std::fputs("usage: ubiquitin CA.csv OUTPUT_FOLDER\n", stderr);
    return 2;
  }
  const std::string folder = argv[2];
  const auto atoms = read_atoms(argv[1]);
  const int64_t residues = static_cast<int64_t>(atoms.size());
  const auto pair = encode_pairs(atoms);
  const std::vector<float> mask(size_t(residues * residues), 1.0f);
  lamina::manifest::write_npy(folder + "/pair.npy", view_of(pair, {1, residues, residues, kChannels}));
  lamina::manifest::write_npy(folder + "/mask.npy", view_of(mask, {1, residues, residues}));
  write_checkpoint(folder + "/checkpoint.safetensors");
  std::printf("%lld residues from %s\n", static_cast<long long>(residues), argv[1]);
  std::printf("pair.npy: %d channels of C-alpha distance (4 to 22 angstrom), %d of relative position\n", kRadial, kChannels - kRadial);
  std::printf("checkpoint.safetensors: Boltz's parameter names, every parameter RANDOM (seeded noise, not trained)\n");
  return 0;
} catch (const lamina::Error &error) {
  std::fprintf(stderr, "ubiquitin: %s\n", error.what());
  return lamina::exit_code(error.kind);
}
