// Sentences to embeddings without Python: a BERT encoder from its folder (vocab.txt, model.safetensors) whose feed-forward parts and attention
// outputs run on two Lamina layers, bound by the names that transformers gives the parameters.  Attention itself and the word pieces are plain
// loops here.
//
//   sentence_embeddings MODEL LINEAR_ACTIVATION LINEAR_RESIDUAL [--bfloat16] "first sentence" "second sentence" ...
//
// A layer is ORG/NAME[@vN] on a hub, or the folder of a bundle.  Prints one line a sentence: its embedding, the mean of its words' rows, of
// length 1; to stderr, how alike the sentences are.  Build: c++ -std=c++17 sentence_embeddings.cpp $(pkg-config --cflags --libs lamina) -ldl
#include <sys/stat.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <stdexcept>
#include <string>
#include <vector>

#include <lamina/lamina.hpp>

namespace {

using Rows = std::vector<float>;  // row-major

struct BFloat16 {
  uint16_t bits;
};
BFloat16 narrow(float value) {  // to the nearest, ties to even
  uint32_t bits;
  std::memcpy(&bits, &value, 4);
  return {static_cast<uint16_t>((bits + 0x7fff + (bits >> 16 & 1)) >> 16)};
}
float widen(BFloat16 value) {
  const uint32_t bits = static_cast<uint32_t>(value.bits) << 16;
  float wide;
  std::memcpy(&wide, &bits, 4);
  return wide;
}

// The tensors that no layer of ours takes: embeddings, and the projections before attention.
class Checkpoint {
 public:
  explicit Checkpoint(const std::string &path) : file_(path, std::ios::binary) {
    uint64_t size = 0;
    file_.read(reinterpret_cast<char *>(&size), 8);
    if (!file_ || size > (1u << 24)) throw std::runtime_error(path + " is no safetensors file");
    std::string text(size, ' ');
    file_.read(text.data(), static_cast<std::streamsize>(size));
    header_ = nlohmann::json::parse(text);
    start_ = 8 + size;
  }
  Rows read(const std::string &name, std::vector<int64_t> *shape = nullptr) {
    if (!header_.contains(name)) throw std::runtime_error("the checkpoint has no tensor " + name);
    const nlohmann::json &entry = header_.at(name);
    if (entry.at("dtype") != "F32") throw std::runtime_error(name + " is " + entry.at("dtype").get<std::string>() + ", expected F32");
    const auto extents = entry.at("shape").get<std::vector<int64_t>>();
    const auto ends = entry.at("data_offsets").get<std::vector<uint64_t>>();
    Rows values((ends.at(1) - ends.at(0)) / sizeof(float));
    file_.seekg(static_cast<std::streamoff>(start_ + ends[0]));
    file_.read(reinterpret_cast<char *>(values.data()), static_cast<std::streamsize>(values.size() * sizeof(float)));
    if (!file_) throw std::runtime_error("the checkpoint ends within " + name);
    if (shape) *shape = extents;
    return values;
  }

 private:
  std::ifstream file_;
  nlohmann::json header_;
  uint64_t start_ = 0;
};

// BERT's uncased word pieces, for text in ASCII.
class WordPieces {
 public:
  explicit WordPieces(const std::string &path) {
    std::ifstream file(path);
    for (std::string line; std::getline(file, line);) ids_.emplace(line, static_cast<int>(ids_.size()));
    if (!ids_.count("[CLS]")) throw std::runtime_error(path + " is no vocabulary of BERT's");
  }
  std::vector<int> operator()(const std::string &sentence) const {
    std::vector<int> found = {ids_.at("[CLS]")};
    std::string word;
    for (const char letter : sentence + " ") {
      const auto code = static_cast<unsigned char>(letter);
      if (code >= 128) throw std::runtime_error("this example reads ASCII alone: '" + sentence + "'");
      if (!std::isspace(code) && !std::ispunct(code)) {
        word += static_cast<char>(std::tolower(code));
        continue;
      }
      add(word, found), word.clear();
      if (std::ispunct(code)) add(std::string(1, letter), found);
    }
    found.push_back(ids_.at("[SEP]"));
    return found;
  }

 private:
  void add(const std::string &word, std::vector<int> &found) const {  // the longest piece first
    const size_t before = found.size();
    for (size_t at = 0; at < word.size();) {
      size_t length = word.size() - at;
      for (; length > 0; --length) {
        const auto piece = ids_.find((at ? "##" : "") + word.substr(at, length));
        if (piece == ids_.end()) continue;
        found.push_back(piece->second);
        break;
      }
      if (length == 0) {
        found.resize(before);
        found.push_back(ids_.at("[UNK]"));
        return;
      }
      at += length;
    }
  }
  std::map<std::string, int> ids_;
};

// One module of the encoder on one of our layers: parameters bound by the host's names, packed once.
class Layer {
 public:
  Layer(const lamina::Bundle &bundle, const std::string &model, const std::string &host, const std::string &host_class,
        const std::string &prefix, bool rounded)
      : library_(bundle.load()), binding_(bundle.bind(model + "/model.safetensors", host, prefix, host_class)), rounded_(rounded) {
    const lamina_op &pack = library_.op("pack");
    std::vector<lamina_attr> attributes = binding_.attributes(pack);
    attributes.push_back(lamina::attribute("dtype", rounded ? "bfloat16" : "float32"));
    const lamina::Plan plan(pack, {LAMINA_CPU, 0}, attributes);
    lamina::Call call(plan);
    call.set(binding_);
    packed_.resize(call.need().packed_size + 64);
    call.set("packed", packed()).run();
    plan_ =
        std::make_unique<lamina::Plan>(library_.op("forward"), lamina_device{LAMINA_CPU, 0}, binding_.attributes(library_.op("forward")));
    const lamina_hub_bound bound = binding_.info();
    for (uint32_t i = 0; i < bound.dim_count; ++i) dims_[bound.dims[i].name] = bound.dims[i].extent;
  }
  Rows operator()(const Rows &x, const Rows *residual = nullptr) const {
    return rounded_ ? run<BFloat16>(x, residual) : run<float>(x, residual);
  }

 private:
  lamina::Tensor packed() const {
    const auto address = reinterpret_cast<uintptr_t>(packed_.data());
    return {packed_.data() + (64 - address % 64) % 64, {static_cast<int64_t>(packed_.size() - 64)}};
  }
  static BFloat16 to(float value, BFloat16) { return narrow(value); }
  static float to(float value, float) { return value; }
  static float from(BFloat16 value) { return widen(value); }
  static float from(float value) { return value; }
  template <class T>
  static std::vector<T> converted(const Rows &values) {
    std::vector<T> made(values.size());
    std::transform(values.begin(), values.end(), made.begin(), [](float value) { return to(value, T{}); });
    return made;
  }
  template <class T>
  Rows run(const Rows &x, const Rows *residual) const {
    static constexpr lamina_dtype dtype = sizeof(T) == 2 ? lamina_dtype{LAMINA_CODE_BFLOAT, 16, 1} : lamina_dtype{LAMINA_CODE_FLOAT, 32, 1};
    const int64_t k = dims_.at("K"), n = dims_.at("N"), m = static_cast<int64_t>(x.size()) / k;
    std::vector<T> given = converted<T>(x), added = converted<T>(residual ? *residual : Rows()), made(static_cast<size_t>(m * n));
    lamina::Call call(*plan_);
    call.set(binding_).set("packed", packed());
    call.set("x", {given.data(), dtype, {m, k}}).set("out", {made.data(), dtype, {m, n}});
    if (residual) call.set("residual", {added.data(), dtype, {m, n}});
    call.run();
    Rows out(made.size());
    std::transform(made.begin(), made.end(), out.begin(), [](T value) { return from(value); });
    return out;
  }
  lamina::Library library_;
  lamina::Binding binding_;
  bool rounded_;
  std::vector<unsigned char> packed_;
  std::unique_ptr<lamina::Plan> plan_;
  std::map<std::string, int64_t> dims_;
};

Rows linear(const Rows &x, const Rows &weight, const Rows &bias) {
  const size_t n = bias.size(), k = weight.size() / n, m = x.size() / k;
  Rows out(m * n);
  for (size_t i = 0; i < m; ++i)
    for (size_t j = 0; j < n; ++j) {
      float sum = 0;
      for (size_t c = 0; c < k; ++c) sum += x[i * k + c] * weight[j * k + c];
      out[i * n + j] = sum + bias[j];
    }
  return out;
}

void normalise(Rows &x, const Rows &weight, const Rows &bias, double eps) {
  const size_t width = weight.size();
  for (size_t row = 0; row < x.size(); row += width) {
    double mean = 0, variance = 0;
    for (size_t c = 0; c < width; ++c) mean += x[row + c];
    mean /= static_cast<double>(width);
    for (size_t c = 0; c < width; ++c) variance += (x[row + c] - mean) * (x[row + c] - mean);
    const double scale = 1 / std::sqrt(variance / static_cast<double>(width) + eps);
    for (size_t c = 0; c < width; ++c) x[row + c] = static_cast<float>((x[row + c] - mean) * scale * weight[c] + bias[c]);
  }
}

Rows attention(const Rows &q, const Rows &k, const Rows &v, size_t width, size_t heads) {
  const size_t length = q.size() / width, depth = width / heads;
  Rows out(q.size()), weights(length);
  for (size_t head = 0; head < heads; ++head)
    for (size_t i = 0; i < length; ++i) {
      const float *query = &q[i * width + head * depth];
      float largest = -1e30f, total = 0;
      for (size_t j = 0; j < length; ++j) {
        weights[j] = 0;
        for (size_t c = 0; c < depth; ++c) weights[j] += query[c] * k[j * width + head * depth + c];
        largest = std::max(largest, weights[j] /= std::sqrt(static_cast<float>(depth)));
      }
      for (float &weight : weights) total += weight = std::exp(weight - largest);
      for (size_t j = 0; j < length; ++j)
        for (size_t c = 0; c < depth; ++c) out[i * width + head * depth + c] += weights[j] / total * v[j * width + head * depth + c];
    }
  return out;
}

class Encoder {
 public:
  Encoder(const std::string &model, const lamina::Bundle &activation, const lamina::Bundle &residual, bool rounded)
      : checkpoint_(model + "/model.safetensors"), pieces_(model + "/vocab.txt") {
    const nlohmann::json config = nlohmann::json::parse(std::ifstream(model + "/config.json"));
    heads_ = config.at("num_attention_heads"), width_ = config.at("hidden_size"), eps_ = config.at("layer_norm_eps");
    for (const char *name : {"word", "position", "token_type"})
      embeddings_.push_back(checkpoint_.read("embeddings." + std::string(name) + "_embeddings.weight"));
    norm_ = {checkpoint_.read("embeddings.LayerNorm.weight"), checkpoint_.read("embeddings.LayerNorm.bias")};
    for (int i = 0; i < config.at("num_hidden_layers"); ++i) {
      const std::string prefix = "encoder.layer." + std::to_string(i) + ".";
      Block &block = blocks_.emplace_back();
      for (const char *name : {"query", "key", "value"})
        for (const char *part : {".weight", ".bias"})
          block.projections.push_back(checkpoint_.read(prefix + "attention.self." + name + part));
      block.self_output = std::make_unique<Layer>(residual, model, "bert", "BertSelfOutput", prefix + "attention.output", rounded);
      block.intermediate = std::make_unique<Layer>(activation, model, "bert", "BertIntermediate", prefix + "intermediate", rounded);
      block.output = std::make_unique<Layer>(residual, model, "bert", "BertOutput", prefix + "output", rounded);
    }
  }
  Rows operator()(const std::string &sentence) const {
    const std::vector<int> ids = pieces_(sentence);
    Rows x(ids.size() * width_);
    if (x.size() > embeddings_[1].size()) throw std::runtime_error("the sentence is longer than the model's positions");
    for (size_t i = 0; i < ids.size(); ++i)
      for (size_t c = 0; c < width_; ++c)
        x[i * width_ + c] = embeddings_[0][static_cast<size_t>(ids[i]) * width_ + c] + embeddings_[1][i * width_ + c] + embeddings_[2][c];
    normalise(x, norm_[0], norm_[1], eps_);
    for (const Block &block : blocks_) {
      const std::vector<Rows> &p = block.projections;
      const Rows seen = attention(linear(x, p[0], p[1]), linear(x, p[2], p[3]), linear(x, p[4], p[5]), width_, heads_);
      x = (*block.self_output)(seen, &x);
      x = (*block.output)((*block.intermediate)(x), &x);
    }
    return mean_of_length_1(x);
  }

 private:
  struct Block {
    std::vector<Rows> projections;
    std::unique_ptr<Layer> self_output, intermediate, output;
  };
  Rows mean_of_length_1(const Rows &x) const {
    Rows mean(width_);
    for (size_t i = 0; i < x.size(); ++i) mean[i % width_] += x[i];
    double square = 0;
    for (const float value : mean) square += static_cast<double>(value) * value;
    for (float &value : mean) value = static_cast<float>(value / std::sqrt(square));
    return mean;
  }
  Checkpoint checkpoint_;
  WordPieces pieces_;
  size_t heads_ = 0, width_ = 0;
  double eps_ = 0;
  std::vector<Rows> embeddings_, norm_;
  std::vector<Block> blocks_;
};

lamina::Bundle bundle_of(const lamina::Hub &hub, const std::string &name) {
  struct stat found;
  return !stat(name.c_str(), &found) && S_ISDIR(found.st_mode) ? hub.open_folder(name) : hub.fetch(name);
}

}  // namespace

int main(int argc, char **argv) try {
  std::vector<std::string> words(argv + 1, argv + argc);
  const auto flag = std::find(words.begin(), words.end(), "--bfloat16");
  const bool rounded = flag != words.end();
  if (rounded) words.erase(flag);
  if (words.size() < 4)
    return std::fprintf(stderr, "usage: sentence_embeddings MODEL LINEAR_ACTIVATION LINEAR_RESIDUAL [--bfloat16] SENTENCE...\n"), 2;
  lamina_hub_options options{};
  options.backend = "cpu";
  const lamina::Hub hub(options);
  const Encoder encode(words[0], bundle_of(hub, words[1]), bundle_of(hub, words[2]), rounded);
  std::vector<Rows> found;
  for (size_t i = 3; i < words.size(); ++i) {
    found.push_back(encode(words[i]));
    for (const float value : found.back()) std::printf("%.9g ", static_cast<double>(value));
    std::printf("\n");
  }
  for (size_t i = 1; i < found.size(); ++i) {
    double product = 0;
    for (size_t c = 0; c < found[i].size(); ++c) product += static_cast<double>(found[0][c]) * found[i][c];
    std::fprintf(stderr, "%.3f  %s\n", product, words[3 + i].c_str());
  }
} catch (const std::exception &error) { return std::fprintf(stderr, "sentence_embeddings: %s\n", error.what()), 1; }
