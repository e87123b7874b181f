#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/bundle.h"

#include "manifest/digest.h"
#include "manifest/files.h"
#include "manifest/json.h"
#include "manifest/tests/bundle_fixture.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;
using test::has;

namespace {

std::string refused(const Json &json) {
  return error_of(ErrorKind::malformed, [&] { parse_bundle(write_json(json), "bundle.json"); });
}

Json small_bundle() {
  return parse_json(
      R"({"schema": "lamina/bundle/1", "repo": "org/triangle-multiplication", "version": "1.2.3", "variant": "torch-stable-abi29-cu130-x86_64-linux",
    "counter": 7, "abi": {"major": 1, "minor": 0}, "license": "Apache-2.0", "backend": {"type": "cuda", "archs": ["8.0+PTX", "9.0a"]},
    "requirements": {"os": "linux", "cpu": "x86_64", "glibc": "2.28"},
    "files": [{"path": "__init__.py", "size": 0, "sha256": "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
              {"path": "manifest.json", "size": 11, "sha256": "b94d27b9934d3e08a52e52d7da7dabfac484efe37a5380ee9088f7ace2efcde9"}]})",
      "x");
}

}  // namespace

TEST_CASE("metadata.json follows from bundle.json and its signature, byte for byte") {
  const std::string bytes = write_json(small_bundle());
  const std::string id = "_triangle_multiplication_cuda_" + sha256_hex(bytes).substr(0, 7);
  const auto base64 = [](std::string_view text) { return to_base64(from_hex(sha256_hex(text))); };
  const std::string expected = R"({
  "backend": {
    "archs": [
      "8.0+PTX",
      "9.0a"
    ],
    "type": "cuda"
  },
  "digest": {
    "algorithm": "sha256",
    "files": {
      "__init__.py": "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=",
      "bundle.json": ")" + base64(bytes) +
                               R"(",
      "bundle.json.minisig": ")" +
                               base64("a signature") + R"(",
      "manifest.json": "uU0nuZNNPgilLlLX2n2r+sSE7+N6U4DukIj3rOLvzek="
    }
  },
  "id": ")" + id + R"(",
  "license": "Apache-2.0",
  "name": "triangle-multiplication",
  "python-depends": [],
  "version": 1
}
)";
  CHECK(derive_metadata(bytes, "a signature") == expected);
  CHECK(!has(derive_metadata(bytes, ""), "minisig"));
  const Bundle bundle = parse_bundle(bytes, "bundle.json");
  CHECK(bundle_id(bundle, bytes) == id);
  CHECK(bundle_comment(bundle) == "lamina bundle org/triangle-multiplication torch-stable-abi29-cu130-x86_64-linux 1.2.3 7");
  CHECK(write_bundle(bundle) == bytes);
}

TEST_CASE("the digest in metadata.json is what the kernels library computes of the folder") {
  test::Variant variant;
  const Json metadata = read_json(variant.at("metadata.json"));
  CHECK(metadata["digest"]["files"].get<std::map<std::string, std::string>>() == digest_variant(variant.path()));
}

TEST_CASE("the same folder gives the same bundle") {
  test::Variant one, two;
  CHECK(test::read(one.at("bundle.json")) == test::read(two.at("bundle.json")));
  CHECK(list_bundle_files(one.path()).size() == 4);
}

TEST_CASE("bundles that are refused") {
  const auto with = [](auto change) {
    Json json = small_bundle();
    change(json);
    return refused(json);
  };
  CHECK(has(with([](Json &json) { json["colour"] = 1; }), "colour"));
  for (const char *member : {"schema", "repo", "version", "variant", "counter", "abi", "license", "backend", "requirements", "files"})
    CHECK(has(with([&](Json &json) { json.erase(member); }), member));
  for (const char *path : {"../x", "/x", "a//b", "x.pyc", "__pycache__/x", "-x", "a\\b"})
    CHECK(has(with([&](Json &json) { json["files"][0]["path"] = path; }), "not allowed"));
  for (const char *path : {"bundle.json", "bundle.json.minisig", "metadata.json", "metadata.json.sigstore"})
    CHECK(has(with([&](Json &json) { json["files"][0]["path"] = path; }), "made after the bundle"));
  CHECK(has(with([](Json &json) { std::swap(json["files"][0], json["files"][1]); }), "not sorted"));
  CHECK(has(with([](Json &json) { json["files"].push_back(json["files"][1]); }), "appears twice"));
  CHECK(has(with([](Json &json) { json["files"][1]["path"] = "__init__.py/x"; }), "both a file and a folder"));
  CHECK(has(with([](Json &json) { json["files"].erase(1); }), "does not list manifest.json"));
  CHECK(has(with([](Json &json) { json["files"][0]["sha256"] = std::string(64, 'A'); }), "sha256"));
  CHECK(has(with([](Json &json) { json["files"][0]["size"] = -1; }), "size"));
  CHECK(has(with([](Json &json) { json["backend"]["type"] = "cpu"; }), "is not for cpu"));
  CHECK(has(with([](Json &json) { json["requirements"]["cpu"] = "aarch64"; }), "is not for cuda, aarch64"));
  CHECK(has(with([](Json &json) { json["variant"] = "cabi1-cpu-x86_64-linux"; }), "no variant name"));
  for (const char *repo : {"org", "org/Name", "org/a_b", "../x", "org/x/y", "/x", "org/1x"})
    CHECK(has(with([&](Json &json) { json["repo"] = repo; }), "repo"));
  error_of(ErrorKind::malformed, [] { parse_bundle("{", "bundle.json"); });
}

TEST_CASE("variant names") {
  VariantName name = parse_variant_name("torch-stable-abi29-cu130-x86_64-linux");
  CHECK((name.framework == "torch-stable-abi29" && name.backend == "cu130" && name.cpu == "x86_64" && name.os == "linux" &&
         name.backend_type() == "cuda"));
  name = parse_variant_name("torch213-cxx11-cpu-aarch64-linux");
  CHECK((name.framework == "torch213-cxx11" && name.backend_type() == "cpu" && name.cpu == "aarch64"));
  CHECK(parse_variant_name("torch210-rocm71-x86_64-linux").backend_type() == "rocm");
  CHECK(parse_variant_name("tvm-ffi01-cpu-x86_64-linux").framework == "tvm-ffi01");
  for (const char *bad : {"", "torch-cpu", "torch-universal", "torch213", "cabi1-cpu-x86_64-linux", "torch-stable-abi-cpu-x86_64-linux",
                          "torch-stable-abi29-gpu-x86_64-linux", "torch213-cpu-x86_64-linux-x", "torch-stable-abi29-cpu--linux",
                          "torch-stable-abi29-cu-x86_64-linux"})
    CHECK_MESSAGE(!error_of(ErrorKind::malformed, [&] { parse_variant_name(bad); }).empty(), bad);
}

TEST_CASE("manifest.json") {
  const Manifest manifest = test::small_manifest();
  const std::string text = write_manifest(manifest);
  const Manifest back = parse_manifest(text, "manifest.json");
  CHECK(write_manifest(back) == text);
  CHECK(back.contract_json == manifest.contract_json);
  CHECK(back.hosts.contains("boltz"));
  const auto with = [&](auto change) {
    Json json = parse_json(text, "x");
    change(json);
    return error_of(ErrorKind::malformed, [&] { parse_manifest(write_json(json), "manifest.json"); });
  };
  CHECK(has(with([](Json &json) { json["version"] = "9.9.9"; }), "are not the contract's"));
  CHECK(has(with([](Json &json) { json["builds"].push_back(json["builds"][0]); }), "two builds"));
  CHECK(has(with([](Json &json) { json["hosts"]["other"] = json["hosts"]["boltz"]; }), "calls itself something else"));
  CHECK(has(with([](Json &json) { json["contract"].erase("dims"); }), "dims"));
  CHECK(has(with([](Json &json) { json["builds"][0]["file"] = "../x.so"; }), "file"));
  CHECK(has(with([](Json &json) { json["builds"][0]["requires"]["magic"] = 1; }), "magic"));
  CHECK(has(with([](Json &json) { json["builds"] = Json::array(); }), "builds"));
}
