#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/verify.h"

#include "manifest/tests/bundle_fixture.h"

using namespace lamina;
using namespace lamina::manifest;
using test::has;

namespace {

VerifyPolicy policy_for(const test::Variant &variant) {
  VerifyPolicy policy;
  policy.expected_repo = "org/triangle-multiplication";
  policy.expected_variant = "torch-stable-abi29-cpu-x86_64-linux";
  policy.expected_version = "1";
  policy.trusted_keys = {make_key().public_key(), variant.key.public_key()};
  return policy;
}

// The step that fails, "kind: sentence"; empty when all is well.
std::string failing(const test::Variant &variant, const VerifyPolicy &policy, const std::string &step) {
  const VerifyReport report = verify_variant_directory(variant.path(), policy);
  for (const VerifyStep &one : report.steps) {
    if (one.outcome != VerifyStep::Outcome::failed) continue;
    CHECK_MESSAGE(one.name == step, report.text());
    CHECK(!report.ok());
    CHECK_THROWS_AS(report.throw_if_failed(), Error);
    return std::string(name_of(one.kind)) + ": " + one.detail;
  }
  FAIL_CHECK("nothing failed where " << step << " should have:\n" << report.text());
  return "";
}
std::string failing(const test::Variant &variant, const std::string &step) { return failing(variant, policy_for(variant), step); }

}  // namespace

TEST_CASE("a whole, signed variant passes every step") {
  test::Variant variant;
  const VerifyReport report = verify_variant_directory(variant.path(), policy_for(variant));
  CHECK_MESSAGE(report.ok(), report.text());
  CHECK(report.steps.size() == 8);
  for (const VerifyStep &step : report.steps) CHECK_MESSAGE(step.outcome == VerifyStep::Outcome::passed, step.name << " " << step.detail);
  CHECK(report.signed_by == variant.key.public_key());
  CHECK(report.bundle->counter == 7);
  report.throw_if_failed();
  // As the Hugging Face cache lays it: links into blobs.
  for (const char *name : {"__init__.py", "bundle.json"}) {
    std::filesystem::rename(variant.at(name), variant.path().parent_path() / name);
    std::filesystem::create_symlink(std::filesystem::path("..") / name, variant.at(name));
  }
  CHECK(verify_variant_directory(variant.path(), policy_for(variant)).ok());
}

TEST_CASE("signatures") {
  test::Variant variant;
  VerifyPolicy policy = policy_for(variant);
  policy.trusted_keys = {make_key().public_key()};
  std::string sentence = failing(variant, policy, "signature");
  CHECK(has(sentence, "untrusted: "));
  CHECK(has(sentence, variant.key.public_key().id_text()));
  CHECK(has(sentence, "lamina trust add"));
  policy.signatures = SignaturePolicy::warn;
  VerifyReport report = verify_variant_directory(variant.path(), policy);
  CHECK(report.ok());
  CHECK(report.steps[0].outcome == VerifyStep::Outcome::warned);
  policy.signatures = SignaturePolicy::off;
  CHECK(verify_variant_directory(variant.path(), policy).steps[0].outcome == VerifyStep::Outcome::skipped);
  // A key with a trusted id but other bytes.
  policy = policy_for(variant);
  policy.trusted_keys = {make_key().public_key()};
  policy.trusted_keys[0].id = variant.key.id;
  CHECK(has(failing(variant, policy, "signature"), "signature: "));
  // Altered, missing.
  test::write(variant.at("bundle.json"), test::read(variant.at("bundle.json")) + " ");
  CHECK(has(failing(variant, "signature"), "does not fit these bytes"));
  std::filesystem::remove(variant.at("bundle.json.minisig"));
  CHECK(has(failing(variant, "signature"), "is missing"));
  std::filesystem::remove(variant.at("bundle.json"));
  CHECK(has(failing(variant, "signature"), "not_found: "));
}

TEST_CASE("one bundle passed off for another") {
  test::Variant variant;
  const auto expecting = [&](auto change) {
    VerifyPolicy policy = policy_for(variant);
    change(policy);
    return failing(variant, policy, "binding");
  };
  CHECK(has(expecting([](VerifyPolicy &policy) { policy.expected_repo = "other/triangle-multiplication"; }), "expected other/"));
  CHECK(has(expecting([](VerifyPolicy &policy) { policy.expected_variant = "torch-stable-abi29-cu130-x86_64-linux"; }),
            "expected torch-stable-abi29-cu130"));
  CHECK(has(expecting([](VerifyPolicy &policy) { policy.expected_version = "2"; }), "major version 1; expected 2"));
  CHECK(has(expecting([](VerifyPolicy &policy) { policy.expected_version = "1.9.9"; }), "expected 1.9.9"));
  CHECK(has(expecting([](VerifyPolicy &policy) { policy.minimum_counter = 8; }), "8 was seen before"));
  variant.seal_bytes(test::read(variant.at("bundle.json")), "lamina bundle org/other x 1.0.0 7");
  CHECK(has(failing(variant, "binding"), "trusted comment"));
  variant.bundle.abi_major = 2;
  variant.seal();
  CHECK(has(failing(variant, "binding"), "unsupported: "));
}

TEST_CASE("altered, missing and extra files") {
  test::Variant variant;
  const std::string shim = test::read(variant.at("__init__.py"));
  test::write(variant.at("__init__.py"), "# a shin\n");
  CHECK(has(failing(variant, "files"), "__init__.py (SHA-256 differs)"));
  test::write(variant.at("__init__.py"), shim + "x");
  CHECK(has(failing(variant, "files"), "__init__.py (10 bytes; expected 9)"));
  std::filesystem::remove(variant.at("__init__.py"));
  CHECK(has(failing(variant, "files"), "missing: __init__.py"));
  VerifyPolicy partial = policy_for(variant);
  partial.partial = true;
  const VerifyReport report = verify_variant_directory(variant.path(), partial);
  CHECK_MESSAGE(report.ok(), report.text());
  CHECK(report.absent == std::vector<std::string>{"__init__.py"});
  test::write(variant.at("__init__.py"), shim);
  for (const char *extra : {"extra.py", "sub/x.so", "__pycache__/x.pyc", "bundle.json.minisig.bak"}) {
    test::write(variant.at(extra), "x");
    CHECK(has(failing(variant, "unlisted"), extra));
    std::filesystem::remove(variant.at(extra));
  }
  test::write(variant.at("metadata.json.sigstore"), "carried, not judged");
  CHECK(verify_variant_directory(variant.path(), policy_for(variant)).ok());
}

TEST_CASE("metadata.json must be the derived one") {
  test::Variant variant;
  test::write(variant.at("metadata.json"), test::read(variant.at("metadata.json")) + "\n");
  CHECK(has(failing(variant, "metadata"), "lamina sign"));
  std::filesystem::remove(variant.at("metadata.json"));
  CHECK(has(failing(variant, "metadata"), "missing"));
}

TEST_CASE("manifest and builds") {
  test::Variant variant;
  const std::string good = test::read(variant.at(test::plugin_name()));
  // Machine code that nobody declared.
  test::write(variant.at("other.so"), good);
  variant.seal();
  CHECK(has(failing(variant, "manifest"), "other.so is machine code"));
  std::filesystem::remove(variant.at("other.so"));
  // A build that the manifest names but the bundle does not hold.
  Manifest manifest = test::small_manifest();
  manifest.builds.push_back({"ghost.so", "cpu_avx2", "0123456789abcdef", 1, "{}"});
  test::write(variant.at("manifest.json"), write_manifest(manifest));
  variant.seal();
  CHECK(has(failing(variant, "manifest"), "ghost.so"));
  test::write(variant.at("manifest.json"), write_manifest(test::small_manifest()));
  // Signed, but not a plug-in.
  test::write(variant.at(test::plugin_name()), test::read("/proc/self/exe"));
  variant.seal();
  CHECK(has(failing(variant, "builds"), "breaks the rules"));
  VerifyPolicy lax = policy_for(variant);
  lax.audit_builds = false;
  CHECK(verify_variant_directory(variant.path(), lax).ok());
  test::write(variant.at(test::plugin_name()), "not an ELF file");
  variant.seal();
  CHECK(has(failing(variant, "builds"), "ELF"));
  test::write(variant.at("manifest.json"), "{}");
  variant.seal();
  CHECK(has(failing(variant, "manifest"), "malformed: "));
}

TEST_CASE("no folder") {
  test::error_of(ErrorKind::not_found, [] { verify_variant_directory("build/no-such-folder", {}); });
}

TEST_CASE("what earlier checks found is believed of contents, not of names") {
  test::Variant variant;
  VerifyPolicy policy = policy_for(variant);
  VerifyPolicy::Known known;
  policy.receipt = [&](const Bundle &, const std::string &) { return known; };
  const auto build = std::find_if(variant.bundle.files.begin(), variant.bundle.files.end(),
                                  [](const BundleEntry &entry) { return entry.path.ends_with(".so"); });
  REQUIRE(build != variant.bundle.files.end());
  // All passed before, but nobody knows whether the files are the same: they are hashed.
  known.passed = [](const std::string &) { return true; };
  CHECK(verify_variant_directory(variant.path(), policy).ok());
  for (const std::string &path : {std::string(manifest_file), build->path}) {
    const std::string before = test::read(variant.at(path));
    std::string other = before;
    other[other.size() / 2] = static_cast<char>(other[other.size() / 2] ^ 1);
    test::write(variant.at(path), other);
    CHECK(has(failing(variant, policy, "files"), "SHA-256 differs"));
    test::write(variant.at(path), before);
  }
  // A manifest that is put there after its hash was looked at: it says nothing against itself, and was not signed.
  std::string other = test::read(variant.at(manifest_file));
  other += "\n";
  test::write(variant.at(manifest_file), other);
  policy.hashed = [](const BundleEntry &) { return true; };
  for (const bool passed : {false, true}) {
    known.passed = [&](const std::string &) { return passed; };
    CHECK(has(failing(variant, policy, "manifest"), "integrity: manifest.json changed while it was verified"));
  }
}
