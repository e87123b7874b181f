#include "packager/pack.h"

#include <unistd.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>
#include <sstream>

#include "manifest/bundle.h"
#include "manifest/contract.h"
#include "manifest/elf_facts.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/host_binding.h"
#include "manifest/json.h"
#include "packager/c_header.h"
#include "packager/card.h"
#include "packager/elf_section.h"
#include "packager/python_shim.h"
#include "packager/tvm_ffi_shim.h"

namespace lamina::packager {
namespace {

namespace fs = std::filesystem;
using manifest::Json;

constexpr uint64_t max_document = 16 << 20, max_build = uint64_t{512} << 20;

// tvm-ffi 0.1; its loader matches the version exactly.
constexpr const char *tvm_ffi_variant = "tvm-ffi01-";

struct Input {  // one build, read and checked
  manifest::Build build;
  std::string bytes, backend, cpu, glibc;
};

std::map<std::string, std::string> read_hosts(const fs::path &folder, const manifest::Contract &contract) {
  std::map<std::string, std::string> hosts;
  if (!fs::is_directory(folder)) return hosts;
  for (const fs::directory_entry &entry : fs::directory_iterator(folder)) {
    if (entry.path().extension() != ".json")
      throw Error(ErrorKind::malformed, entry.path().string() + " is no host binding; hosts/ holds *.json alone");
    const std::string text = manifest::read_file(entry.path(), max_document);
    const manifest::HostBinding binding = manifest::parse_host_binding(text, contract, entry.path().string());
    if (binding.host != entry.path().stem())
      throw Error(ErrorKind::malformed, entry.path().string() + " says its host is '" + binding.host + "'");
    hosts[binding.host] = manifest::write_json(manifest::parse_json(text, entry.path().string()));
  }
  return hosts;
}

Input read_build(const PackOptions &options, const manifest::Contract &contract, const std::string &contract_text, const Json &archs,
                 const std::string &arch, bool tvm_ffi) {
  if (!archs.contains(arch)) throw Error(ErrorKind::invalid_argument, "'" + arch + "' is no arch of " + options.archs_json.string());
  const Json &facts = archs.at(arch);
  Input input;
  input.backend = facts.at("backend").get<std::string>();
  if (input.backend.empty()) throw Error(ErrorKind::invalid_argument, "arch '" + arch + "' is not packed: it has no backend");
  input.build.file = contract.layer + "-" + contract.version + "-" + arch + (tvm_ffi ? "-tvm_ffi.so" : ".so");
  const fs::path path = options.plugins / (tvm_ffi ? "tvm_ffi" : "") / input.build.file;
  if (fs::is_symlink(path)) throw Error(ErrorKind::malformed, path.string() + " is a symbolic link; pack the file itself");
  input.bytes = manifest::read_file(path, max_build);
  const manifest::ElfFacts elf = manifest::read_elf(input.bytes, path.string());
  if (const std::vector<std::string> wrong = manifest::audit_plugin(elf); !wrong.empty())
    throw Error(ErrorKind::malformed, path.string() + " is no plug-in: " + wrong.front());
  if (embedded_contract(input.bytes, path.string()) != contract_text)
    throw Error(ErrorKind::malformed,
                path.string() + " was built from another contract.json than " + (options.layer / "contract.json").string() + "; run make");
  input.build.arch = arch;
  input.build.build_id = embedded_build_id(input.bytes, path.string());
  input.build.rank = facts.at("rank").get<int64_t>();
  input.build.requires_json = facts.at("requires").dump();
  input.cpu = facts.at("requires").value("cpu", elf.machine);
  if (input.cpu != elf.machine)
    throw Error(ErrorKind::malformed, path.string() + " is for " + elf.machine + ", its arch says " + input.cpu);
  input.glibc = elf.max_glibc;
  return input;
}

// An arch may go into several variants, byte for byte the same: "rocm71 rocm72".
std::vector<std::string> words(const std::string &text) {
  std::istringstream stream(text);
  return {std::istream_iterator<std::string>(stream), {}};
}

// What the Python library compares with the GPU: every capability that some build of the variant has.
std::vector<std::string> backend_archs(const std::vector<Input> &inputs) {
  std::set<std::string> found;
  for (const Input &input : inputs) {
    const Json needs = Json::parse(input.build.requires_json);
    for (const char *kind : {"cuda", "rocm"})
      if (needs.contains(kind))
        for (const auto &name : needs[kind].value("capabilities", needs[kind].value("archs", Json::array())))
          found.insert(name.get<std::string>());
  }
  return {found.begin(), found.end()};
}

void write_variant(const fs::path &directory, const std::string &variant, const PackOptions &options, const std::string &repository,
                   const manifest::Contract &contract, const std::string &contract_text, const std::map<std::string, std::string> &hosts,
                   std::vector<Input> &inputs) {
  fs::create_directories(directory);
  const auto put = [&](const std::string &name, std::string_view bytes) { manifest::write_file_atomically(directory / name, bytes); };
  manifest::Manifest described{contract.layer, contract.version, contract_text, hosts, {}};
  manifest::Bundle bundle;
  bundle.repo = repository, bundle.version = contract.version, bundle.variant = variant, bundle.counter = options.counter;
  bundle.backend = manifest::parse_variant_name(variant).backend_type();
  bundle.backend_archs = backend_archs(inputs);
  bundle.cpu = inputs.front().cpu;
  std::sort(inputs.begin(), inputs.end(), [](const Input &a, const Input &b) { return a.build.rank < b.build.rank; });
  for (const Input &input : inputs) {
    put(input.build.file, input.bytes);
    described.builds.push_back(input.build);
  }
  put(contract.layer + ".h", c_header(contract));
  const bool tvm_ffi = variant.starts_with(tvm_ffi_variant);
  for (const auto &[name, text] : tvm_ffi ? tvm_ffi_shim(contract, bundle) : python_shim(contract, described, bundle)) put(name, text);
  put(manifest::manifest_file, manifest::write_manifest(described));
  bundle.files = manifest::list_bundle_files(directory);
  const std::string bytes = manifest::write_bundle(bundle);
  put(manifest::bundle_file, bytes);
  put(manifest::metadata_file, manifest::derive_metadata(bytes, ""));
}

// A folder beside the output that becomes the output by one rename.
class Staging {
 public:
  explicit Staging(const fs::path &output) : output_(output), path_(output.string() + ".packing-" + std::to_string(getpid())) {
    fs::remove_all(path_);
    fs::create_directories(path_);
  }
  ~Staging() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  const fs::path &path() const { return path_; }
  void publish() {
    fs::remove_all(output_);
    fs::rename(path_, output_);
  }

 private:
  fs::path output_, path_;
};

void check_output(const fs::path &output, const std::string &repository) {
  if (!fs::exists(output)) return;
  if (fs::is_directory(output) && fs::is_empty(output)) return;
  for (const fs::path &directory : variant_directories(output)) {
    const fs::path file = directory / manifest::bundle_file;
    if (manifest::parse_bundle(manifest::read_file(file, max_document), file.string()).repo != repository)
      throw Error(ErrorKind::conflict, output.string() + " holds another bundle; choose another --out or remove it");
  }
}

}  // namespace

Packed pack(const PackOptions &options) {
  const fs::path contract_path = options.layer / "contract.json";
  const std::string contract_text = manifest::read_file(contract_path, max_document);
  const manifest::Contract contract = manifest::parse_contract(contract_text, contract_path.string());
  const std::map<std::string, std::string> hosts = read_hosts(options.layer / "hosts", contract);
  const Json archs = manifest::read_json(options.archs_json);
  if (options.archs.empty()) throw Error(ErrorKind::invalid_argument, "no build to pack: name at least one arch");
  if (options.counter == 0) throw Error(ErrorKind::invalid_argument, "the counter begins at 1 and grows with every release");
  Packed packed;
  std::string name = contract.layer;
  std::replace(name.begin(), name.end(), '_', '-');
  packed.repository = options.organisation + "/" + name;

  std::map<std::string, std::vector<Input>> variants;
  for (const std::string &arch : options.archs) {
    for (const bool tvm_ffi : {false, true}) {
      if (tvm_ffi && !options.tvm_ffi) continue;
      Input input = read_build(options, contract, contract_text, archs, arch, tvm_ffi);
      const std::string framework = tvm_ffi ? tvm_ffi_variant : "torch-stable-abi" + std::to_string(options.torch_floor) + "-";
      for (const std::string &backend : words(input.backend)) variants[framework + backend + "-" + input.cpu + "-linux"].push_back(input);
    }
  }
  check_output(options.output, packed.repository);
  Staging staging(options.output);
  std::vector<CardVariant> shown;
  for (auto &[variant, inputs] : variants) {
    write_variant(staging.path() / "build" / variant, variant, options, packed.repository, contract,
                  manifest::write_json(manifest::parse_json(contract_text, contract_path.string())), hosts, inputs);
    packed.variants.push_back(variant);
    shown.push_back({variant, {}});
    for (const Input &input : inputs) shown.back().builds.push_back(input.build);
  }
  const fs::path readme = options.layer / "README.md";
  const std::string layer_readme = fs::exists(readme) ? manifest::read_file(readme, max_document) : "";
  const Card card = hub_card(contract, packed.repository, hosts, shown, layer_readme);
  manifest::write_file_atomically(staging.path() / "README.md", card.text);
  for (const auto &[name, path] : card.pictures)
    manifest::write_file_atomically(staging.path() / name, manifest::read_file(options.layer / path, max_document));
  staging.publish();
  return packed;
}

}  // namespace lamina::packager
