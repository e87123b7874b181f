// Builds in, bundle out: one hub repository a layer, one variant directory a backend.
#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace lamina::packager {

struct PackOptions {
  std::filesystem::path layer;       // the layer's folder: contract.json, hosts/
  std::filesystem::path plugins;     // where <layer>-<version>-<arch>.so lie
  std::vector<std::string> archs;    // which of them to pack; each must be there
  std::filesystem::path archs_json;  // arch -> rank, backend, requires
  std::filesystem::path output;      // must not exist, or be an earlier pack of the same repository
  std::string organisation;
  uint64_t counter = 0;  // grows with every release
  int torch_floor = 29;  // the name claims torch 2.9 and newer; the builds hold no torch symbol
  bool tvm_ffi = false;  // also a variant tvm-ffi01-... of the same builds, from plugins/tvm_ffi/<layer>-<version>-<arch>-tvm_ffi.so
};

struct Packed {
  std::string repository;  // "org/triangle-multiplication"
  std::vector<std::string> variants;
};

// Writes output/README.md and output/build/<variant>/ with builds, header, shim, manifest.json, bundle.json and metadata.json; not signed.
// The same inputs give the same bytes: no times, no paths.  Every build is audited and must hold this very contract.  On error nothing
// is left behind.  Errors: not_found, malformed, invalid_argument, conflict when the output holds something else.
Packed pack(const PackOptions &options);

// Signs every variant below `bundle` (or the one variant directory it is) and derives its metadata.json again.  Returns the directories.
// Signing again gives the same bytes; by another key it replaces the signature.  Errors: not_found, malformed; integrity when a file is
// missing, changed or not listed, and then nothing is signed; signature for a bad key file.
std::vector<std::filesystem::path> sign(const std::filesystem::path &bundle, const std::filesystem::path &secret_key);

// The variant directories of a bundle: DIR/build/*, or DIR itself when it holds a bundle.json.  Sorted.  Errors: not_found.
std::vector<std::filesystem::path> variant_directories(const std::filesystem::path &bundle);

}  // namespace lamina::packager
