// A signed variant directory with one real plug-in, for the tests of bundles.
#pragma once
#include <string>

#include "manifest/bundle.h"
#include "manifest/contract.h"
#include "manifest/json.h"
#include "manifest/minisign.h"
#include "manifest/tests/support.h"

namespace lamina::manifest::test {

inline std::string plugin_name() {
  return "triangle_multiplication-" + read_json("layers/triangle_multiplication/contract.json").at("version").get<std::string>() +
         "-reference.so";
}

inline Manifest small_manifest() {
  Manifest manifest;
  manifest.layer = "triangle_multiplication";
  manifest.contract_json = write_json(read_json("layers/triangle_multiplication/contract.json"));
  manifest.version = parse_contract(manifest.contract_json, "contract.json").version;
  manifest.hosts["boltz"] = write_json(read_json("layers/triangle_multiplication/hosts/boltz.json"));
  manifest.builds = {{plugin_name(), "reference", "0123456789abcdef", 0, R"({"cpu":"x86_64"})"}};
  return manifest;
}

class Variant {
 public:
  Variant() {
    write(at("__init__.py"), "# a shim\n");
    write(at("sub/metadata.json"), "{}\n");
    write(at(plugin_name()), read("build/plugins/" + plugin_name()));
    write(at("manifest.json"), write_manifest(small_manifest()));
    bundle.repo = "org/triangle-multiplication";
    bundle.version = small_manifest().version;
    bundle.variant = "torch-stable-abi29-cpu-x86_64-linux";
    bundle.counter = 7;
    bundle.backend = "cpu";
    seal();
  }
  std::filesystem::path path() const { return folder_ / "torch-stable-abi29-cpu-x86_64-linux"; }
  std::filesystem::path at(const std::string &name) const { return path() / name; }

  // Lists, signs and derives again, after a change of files or of `bundle`.
  void seal() {
    bundle.files = list_bundle_files(path());
    seal_bytes(write_bundle(bundle), bundle_comment(bundle));
  }
  void seal_bytes(const std::string &bytes, const std::string &comment) {
    write(at("bundle.json"), bytes);
    const std::string signature = sign(key, bytes, comment);
    write(at("bundle.json.minisig"), signature);
    write(at("metadata.json"), derive_metadata(bytes, signature));
  }

  Bundle bundle;
  SecretKey key = make_key();

 private:
  Folder folder_;
};

}  // namespace lamina::manifest::test
