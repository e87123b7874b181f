// fetch: versions, what is asked for, signatures, bindings, offline, LOCAL_KERNELS.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "hub_client/tests/fake_hub.h"

using namespace lamina;
using namespace lamina::hub::test;
using hub::FetchOptions;
using manifest::SignaturePolicy;

namespace {

FetchOptions with(SignaturePolicy policy) {
  FetchOptions options;
  options.signatures = policy;
  return options;
}

// Path -> time of change of everything below.
std::map<std::string, std::filesystem::file_time_type> times(const std::filesystem::path &root) {
  std::map<std::string, std::filesystem::file_time_type> found;
  for (const auto &entry : std::filesystem::recursive_directory_iterator(root))
    if (!entry.is_symlink()) found[entry.path().string()] = entry.last_write_time();
  return found;
}

}  // namespace

TEST_CASE("specifications") {
  CHECK(hub::parse_specification("org/name") == std::pair<std::string, std::string>("org/name", ""));
  CHECK(hub::parse_specification("org/name@v1").second == "v1");
  CHECK(hub::parse_specification("org/name@" + commit).second == commit);
  for (const char *wrong : {"", "name", "org/name/x", "../name", "org/..", "org/na--me", "org/name@", "org/name@../x", "org/name@a/b",
                            "-org/x", "org/x.git", "org /x", "https://hub/org/x"})
    CHECK_MESSAGE(!error_of(ErrorKind::invalid_argument, [&] { hub::parse_specification(wrong); }).empty(), wrong);
}

TEST_CASE("the cache after a fetch is laid out as the Python clients lay it out") {
  Site site;
  const hub::Fetched fetched = site.fetch();
  CHECK(fetched.commit == commit);
  CHECK(fetched.revision == "v1");
  CHECK(fetched.report.signed_by == site.variant.key.public_key());
  CHECK(fetched.downloaded_files == site.hub.files.size());
  for (const auto &[path, bytes] : site.hub.files) {
    CHECK(std::filesystem::is_regular_file(std::filesystem::symlink_status(site.blob(path))));
    CHECK(manifest::test::read(site.pointer(path)) == bytes);
    const std::string target = std::filesystem::read_symlink(site.pointer(path)).string();
    CHECK(target.starts_with(has(path, "/sub/") ? "../../../../../blobs/" : "../../../../blobs/"));
  }
  CHECK(manifest::test::read(site.repository_folder() / "refs/v1") == commit);  // no newline: Python does not strip it
  CHECK(!std::filesystem::exists(site.repository_folder() / "trees"));
  CHECK(std::filesystem::exists(site.environment.cache / ".locks/kernels--org--triangle-multiplication"));
  for (const auto &entry : std::filesystem::directory_iterator(site.repository_folder() / "blobs"))
    CHECK(!entry.path().string().ends_with(".incomplete"));
}

TEST_CASE("what is there is not fetched again, and nothing is written") {
  Site site;
  site.fetch();
  const auto before = times(site.environment.cache);
  const size_t asked = site.hub.server().count("/resolve/" + commit);
  const hub::Fetched again = site.fetch();
  CHECK(again.downloaded_files == 0);
  CHECK(again.downloaded_bytes == 0);
  CHECK(site.hub.server().count("/resolve/" + commit) == asked);
  CHECK(times(site.environment.cache) == before);
}

TEST_CASE("without a revision the newest version; an unknown one names those there are") {
  Site site;
  site.hub.branches = {{"v0", std::string(40, 'a')}, {"main", std::string(40, 'b')}, {"v1", commit}, {"vx", std::string(40, 'd')}};
  CHECK(site.fetch(repository).revision == "v1");
  CHECK(site.fetch(repository + "@" + commit).commit == commit);
  const std::string said = error_of(ErrorKind::not_found, [&] { site.fetch(repository + "@v7"); });
  CHECK(has(said, "no revision 'v7'"));
  CHECK(has(said, "v0 v1"));
  // v10 is newer than v9, and a bundle of version 1 is not passed off for it.
  site.hub.branches = {{"v9", std::string(40, 'a')}, {"v10", commit}};
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(repository); }), "major version 1; expected 10"));
  site.hub.branches.clear();
  CHECK(has(error_of(ErrorKind::not_found, [&] { site.fetch(repository); }), "no version"));
}

TEST_CASE("only this machine's build is fetched, and none is an error that says why") {
  Site site;
  manifest::Manifest manifest = manifest::test::small_manifest();
  manifest.builds[0].rank = 1;
  manifest.builds.insert(manifest.builds.begin(), {"other.so", "cpu_amx", "0123456789abcde0", 0, R"({"cpu_features":["of_no_machine"]})"});
  manifest::test::write(site.variant.at("other.so"), "an elf of another kind");
  manifest::test::write(site.variant.at("manifest.json"), manifest::write_manifest(manifest));
  site.variant.seal();
  site.upload();
  const hub::Fetched fetched = site.fetch();
  CHECK(fetched.build.arch == "reference");
  CHECK(site.hub.server().count("other.so") == 0);
  CHECK(has(fetched.builds[0].reason, "of_no_machine"));
  CHECK(fetched.report.absent == std::vector<std::string>{"other.so"});

  manifest.builds.pop_back();
  std::filesystem::remove(site.variant.at(manifest::test::plugin_name()));
  manifest::test::write(site.variant.at("manifest.json"), manifest::write_manifest(manifest));
  site.variant.seal();
  site.upload();
  std::filesystem::remove_all(site.environment.cache);
  CHECK(has(error_of(ErrorKind::unsupported, [&] { site.fetch(); }), "cpu_amx needs of_no_machine"));
}

TEST_CASE("no variant for this machine, and a repository that is no bundle") {
  Site site;
  FetchOptions options;
  const std::string said = error_of(ErrorKind::unsupported, [&] {
    options.backend = "cu130";
    hub::Client(site.environment).fetch(repository, options);
  });
  CHECK(has(said, "backend cpu, wanted cu130"));
  site.hub.files.erase(site.prefix() + "bundle.json");
  CHECK(has(error_of(ErrorKind::not_found, [&] { site.fetch(); }), "not a Lamina bundle"));
  CHECK(!std::filesystem::exists(site.environment.cache));
}

TEST_CASE("a key that nobody trusts: nothing but the documents is fetched, and the version is not noted") {
  Site site;
  std::filesystem::remove(site.environment.trust_file);
  CHECK(has(error_of(ErrorKind::untrusted, [&] { site.fetch(); }), "lamina trust add org"));
  CHECK(site.hub.server().count(".so") == 0);
  CHECK(site.hub.server().count("__init__") == 0);
  CHECK(!std::filesystem::exists(site.repository_folder() / "refs"));
  site.trust(manifest::make_key());  // another one
  error_of(ErrorKind::untrusted, [&] { site.fetch(); });
  CHECK_NOTHROW(site.fetch(repository, with(SignaturePolicy::warn)));
  CHECK(site.was_said("warning: signature"));
}

TEST_CASE("bad signatures") {
  Site site;
  const std::string bundle = site.prefix() + "bundle.json", signature = bundle + ".minisig", metadata = site.prefix() + "metadata.json";
  const auto kind = [&](SignaturePolicy policy) {
    std::filesystem::remove_all(site.environment.cache);
    try {
      site.fetch(repository + "@v1", with(policy));
    } catch (const Error &error) { return error.kind; }
    return ErrorKind{};
  };
  const std::string good = site.hub.files[signature];
  CHECK(kind(SignaturePolicy::require) == ErrorKind{});
  site.hub.files[signature] = sign(site.variant.key, "other bytes", bundle_comment(site.variant.bundle));
  CHECK(kind(SignaturePolicy::require) == ErrorKind::signature);
  site.hub.files[signature] = sign(site.variant.key, site.hub.files[bundle], "another comment");
  CHECK(kind(SignaturePolicy::require) == ErrorKind::signature);
  site.hub.files[signature] = "nonsense";
  CHECK(kind(SignaturePolicy::require) == ErrorKind::signature);
  site.hub.files.erase(signature);
  CHECK(kind(SignaturePolicy::require) == ErrorKind::signature);
  site.hub.files[metadata] = manifest::derive_metadata(site.hub.files[bundle], "");
  CHECK(kind(SignaturePolicy::warn) == ErrorKind{});
  CHECK(kind(SignaturePolicy::off) == ErrorKind{});
  site.hub.files[signature] = good;
  site.hub.files[bundle] += " ";  // one byte more than was signed
  CHECK(kind(SignaturePolicy::require) == ErrorKind::signature);
}

TEST_CASE("a right signature of another repository, variant or version is refused") {
  Site site;
  const auto sealed = [&](auto change) {
    change(site.variant.bundle);
    site.variant.seal();
    site.upload();
    return error_of(ErrorKind::integrity, [&] { site.fetch(); });
  };
  const manifest::Bundle original = site.variant.bundle;
  CHECK(has(sealed([](manifest::Bundle &bundle) { bundle.repo = "org/another"; }), "repository org/another"));
  CHECK(
      has(sealed([&](manifest::Bundle &bundle) { bundle = original, bundle.variant = "torch-stable-abi28-cpu-x86_64-linux"; }), "variant"));
  CHECK(has(sealed([&](manifest::Bundle &bundle) { bundle = original, bundle.version = "2.0.0"; }), "major version 2"));
  CHECK(!std::filesystem::exists(site.repository_folder() / "refs"));
}

TEST_CASE("a version does not go back to an older release, and its commit still leads there") {
  Site site;
  const auto release = [&](const std::string &where, uint64_t counter) {
    site.variant.bundle.counter = counter;
    site.variant.seal();
    site.upload();
    site.hub.head = where, site.hub.branches = {{"v1", where}};
  };
  const std::string newer(40, 'd');
  site.fetch();  // counter 7
  release(newer, 8);
  CHECK(site.fetch().commit == newer);
  release(commit, 6);
  std::filesystem::remove_all(site.repository_folder() / "snapshots" / commit);
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(); }), "an older release is offered"));
  CHECK(manifest::test::read(site.repository_folder() / "refs/v1") == newer);
  CHECK(site.fetch(repository + "@" + commit).bundle.counter == 6);
  CHECK(site.hub.server().count(".so") == 1);  // the same bytes: never asked for again
}

TEST_CASE("a file that is not what was signed, is missing at the hub, or was not listed") {
  Site site;
  const std::string file = site.prefix() + "__init__.py", bytes = site.hub.files[file];
  site.hub.files[file] = "import evil\n";
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(); }), "__init__.py"));
  site.hub.files[file] = bytes;
  std::filesystem::remove_all(site.environment.cache);
  const std::string build = site.hub.files[site.build()];
  site.hub.files.erase(site.build());
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(); }), "the hub does not have it"));
  CHECK(!std::filesystem::exists(site.repository_folder() / "refs"));
  site.hub.files[site.build()] = build;
  site.hub.files[site.prefix() + "unlisted.py"] = "import evil\n";
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(); }), "unlisted.py"));  // Python would download and run it
  CHECK(site.hub.server().count("unlisted") == 0);
  site.hub.files.erase(site.prefix() + "unlisted.py");
  CHECK_NOTHROW(site.fetch());
  manifest::test::write(site.pointer(site.prefix() + "unlisted.py"), "import evil\n");
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(); }), "unlisted.py"));
}

TEST_CASE("offline: what the cache has, by version, newest version and commit, and not one request") {
  Site site;
  site.environment.offline = true;
  CHECK(has(error_of(ErrorKind::offline, [&] { site.fetch(); }), "not in the cache"));
  CHECK(!std::filesystem::exists(site.environment.cache));
  site.environment.offline = false;
  site.fetch();
  site.environment.offline = true;
  site.environment.endpoint = "http://127.0.0.1:1";
  const size_t asked = site.hub.server().seen().size();
  for (const std::string &what : {repository + "@v1", repository, repository + "@" + commit}) {
    const hub::Fetched fetched = site.fetch(what);
    CHECK(fetched.commit == commit);
    CHECK(fetched.report.signed_by == site.variant.key.public_key());
  }
  CHECK(site.hub.server().seen().size() == asked);
  error_of(ErrorKind::offline, [&] { site.fetch(repository + "@v2"); });
  // The signature is asked for offline too, and the bytes are hashed.
  manifest::test::write(site.blob(site.build()), "not a plug-in");
  error_of(ErrorKind::integrity, [&] { site.fetch(); });
  std::filesystem::remove(site.environment.trust_file);
  error_of(ErrorKind::untrusted, [&] { site.fetch(); });
}

TEST_CASE("LOCAL_KERNELS takes a folder, asks nobody, and still verifies") {
  Site site;
  std::filesystem::create_directories(site.folder / "local/build");
  std::filesystem::copy(site.variant.path(), site.folder / ("local/" + site.prefix()), std::filesystem::copy_options::recursive);
  site.environment.local_kernels[repository] = site.folder / "local";
  const hub::Fetched fetched = site.fetch();
  CHECK(fetched.directory == site.folder / ("local/" + site.prefix().substr(0, site.prefix().size() - 1)));
  CHECK(site.hub.server().seen().empty());
  manifest::test::write(site.folder / ("local/" + site.build()), "changed");
  error_of(ErrorKind::integrity, [&] { site.fetch(); });
  site.environment.local_kernels[repository] = site.folder / "nowhere";
  error_of(ErrorKind::not_found, [&] { site.fetch(); });
}
