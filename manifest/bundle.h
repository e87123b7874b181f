// bundle.json, manifest.json and metadata.json of a variant directory.
//
// Order of making: every other file, manifest.json, then bundle.json (lists them), bundle.json.minisig (signs it), metadata.json (what
// the Python library reads: its digest covers both, so it is derived last and can be derived again by anyone who holds the two).
#pragma once
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "manifest/json_forward.h"

namespace lamina::manifest {

inline constexpr const char *bundle_file = "bundle.json";
inline constexpr const char *bundle_signature_file = "bundle.json.minisig";
inline constexpr const char *manifest_file = "manifest.json";
inline constexpr const char *metadata_file = "metadata.json";

struct BundleEntry {
  std::string path;  // relative to the variant directory
  uint64_t size = 0;
  std::string sha256;  // 64 hex digits
};

struct Bundle {
  std::string repo;      // "org/triangle-multiplication"
  std::string version;   // "1.0.0", the layer's; its major is the branch vN
  std::string variant;   // "torch-stable-abi29-cpu-x86_64-linux"
  uint64_t counter = 0;  // grows with every release of a repo; an older one offered for a newer is a rollback
  int abi_major = 1, abi_minor = 0;
  std::string license = "Apache-2.0";                        // SPDX
  std::string backend;                                       // "cpu", "cuda", "rocm": metadata.json's backend.type
  std::vector<std::string> backend_archs;                    // "8.0+PTX", "9.0a"; empty for cpu
  std::string os = "linux", cpu = "x86_64", glibc = "2.28";  // requirements of all builds in it
  std::vector<BundleEntry> files;                            // sorted by path: all but bundle.json, its signature and metadata.json

  std::string name() const;         // "triangle-multiplication"
  std::string python_name() const;  // "triangle_multiplication"
  int64_t major() const;
  const BundleEntry *file(std::string_view path) const;
};

// Schema, path rules, sorted and unique entries, none of the three reserved names.  Errors: malformed.  [thread-safe]
Bundle parse_bundle(std::string_view text, const std::string &what);
// The bytes of bundle.json.  The same bundle gives the same bytes.  Errors: malformed when it would not parse again.
std::string write_bundle(const Bundle &bundle);
// Sizes and hashes of every file below `variant_dir` that belongs into a bundle.  Errors: as list_files; malformed for a path that
// check_relative_path refuses.
std::vector<BundleEntry> list_bundle_files(const std::filesystem::path &variant_dir);

// "_triangle_multiplication_cpu_1a2b3c4": unique a bundle, and a Python identifier.
std::string bundle_id(const Bundle &bundle, std::string_view bundle_bytes);

// metadata.json, byte for byte, from bundle.json and its signature ("" while unsigned: the signature then is no file of the variant).
// Needs no other file, so a client that holds part of a variant can check it.  [thread-safe]
std::string derive_metadata(std::string_view bundle_bytes, std::string_view signature_bytes);
// The same for who has parsed bundle.json already, and has something to compare it with: not checked against the schema again.
std::string derive_metadata(const Bundle &bundle, std::string_view bundle_bytes, std::string_view signature_bytes);

// What the trusted comment of a bundle's signature says: "lamina bundle <repo> <variant> <version> <counter>".
std::string bundle_comment(const Bundle &bundle);

struct Build {
  std::string file;           // "triangle_multiplication-1.0.0-cpu_avx2.so"
  std::string arch;           // "cpu_avx2"
  std::string build_id;       // lamina_library.build_id
  int64_t rank = 0;           // smaller is tried first
  std::string requires_json;  // what a machine must have, as compact JSON: kernels/archs.mk's `requires`
};

struct Manifest {
  std::string layer, version;
  std::string contract_json;                 // as stable text (write_json); parse_contract() reads it
  std::map<std::string, std::string> hosts;  // host -> its binding as stable text; parse_host_binding() reads it
  std::vector<Build> builds;                 // by rank
};

// Schema, and what it cannot say: the contract's layer and version agree, files and archs unique.  Contract and hosts are parsed and
// checked too.  Errors: malformed.  [thread-safe]
Manifest parse_manifest(std::string_view text, const std::string &what);
// The same text once more, when it is known to have passed parse_manifest: only read, not checked again.  Errors: malformed.
Manifest read_checked_manifest(std::string_view text, const std::string &what);
std::string write_manifest(const Manifest &manifest);

// What a variant name says; the names are the Python library's.  Errors: malformed.
struct VariantName {
  std::string framework;  // "torch-stable-abi29"
  std::string backend;    // "cpu", "cu130", "rocm71"
  std::string cpu, os;
  std::string backend_type() const;  // "cpu", "cuda", "rocm"
};
VariantName parse_variant_name(std::string_view name);

}  // namespace lamina::manifest
