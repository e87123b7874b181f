// From verified files to a library in memory: the bytes are hashed before dlopen, and those bytes are what is mapped.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <dlfcn.h>

#include "hub_client/tests/fake_hub.h"

using namespace lamina;
using namespace lamina::hub::test;
using manifest::test::read;
using manifest::test::write;

namespace {

// The build id that a plug-in carries itself.
std::string build_id_of(const std::filesystem::path &path) {
  void *handle = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(handle != nullptr);
  const auto entry = reinterpret_cast<lamina_library_v1_function>(dlsym(handle, LAMINA_LIBRARY_SYMBOL));
  const bool found = entry != nullptr;
  REQUIRE(found);
  return entry()->build_id;
}

// A site whose bundle says of its build what is true.
struct LoadSite : Site {
  LoadSite() { reseal(build_id_of(variant.at(manifest::test::plugin_name()))); }
  void reseal(const std::string &build_id) {
    manifest::Manifest text = manifest::test::small_manifest();
    text.builds[0].build_id = build_id;
    write(variant.at("manifest.json"), manifest::write_manifest(text));
    variant.seal();
    upload();
    std::filesystem::remove_all(environment.cache);
  }
};

}  // namespace

TEST_CASE("a verified build loads, from memory that nobody can change") {
  LoadSite site;
  const hub::Loaded loaded = hub::load(site.fetch());
  REQUIRE(loaded.library != nullptr);
  CHECK(std::string(loaded.library->name) == "triangle_multiplication");
  CHECK(loaded.path == (loaded.fetched.directory / loaded.fetched.build.file).string());
  Dl_info info{};
  REQUIRE(dladdr(reinterpret_cast<const void *>(loaded.library), &info) != 0);
  CHECK(has(info.dli_fname, "/proc/self/fd/"));
  // What becomes of the file afterwards is no matter.
  write(site.blob(site.build()), "something else");
  CHECK(std::string(loaded.library->build_id) == loaded.fetched.build.build_id);
}

TEST_CASE("a build that was replaced between verify and load is refused") {
  LoadSite site;
  const std::string bytes = read(site.variant.at(manifest::test::plugin_name()));
  for (const std::string &other :
       {std::string("not a plug-in"), bytes + "x", bytes.substr(0, bytes.size() - 1), std::string(bytes.size(), 'x')}) {
    const hub::Fetched fetched = site.fetch();
    std::filesystem::remove(site.pointer(site.build()));
    write(site.pointer(site.build()), other);
    CHECK(has(error_of(ErrorKind::integrity, [&] { hub::load(fetched); }), "not the file that was signed"));
  }
  const hub::Fetched fetched = site.fetch();
  std::filesystem::remove(site.pointer(site.build()));
  error_of(ErrorKind::not_found, [&] { hub::load(fetched); });
}

TEST_CASE("a changed byte of the build is refused although every hash of the hub agrees") {
  LoadSite site;
  std::string &bytes = site.hub.files[site.build()];
  bytes[bytes.size() / 2] ^= 1;
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(); }), manifest::test::plugin_name()));
}

TEST_CASE("a signed build that is another one than its manifest says") {
  LoadSite site;
  site.reseal("ffffffffffffffff");
  const hub::Fetched fetched = site.fetch();
  CHECK(has(error_of(ErrorKind::integrity, [&] { hub::load(fetched); }), "another build than its manifest says"));
}

TEST_CASE("a signed file that is no plug-in does not reach dlopen") {
  LoadSite site;
  write(site.variant.at(manifest::test::plugin_name()), "not an ELF file");
  site.variant.seal();
  site.upload();
  CHECK_THROWS_AS(hub::load(site.fetch()), Error);
}

TEST_CASE("loading twice gives two libraries, and both work") {
  LoadSite site;
  const hub::Loaded first = hub::load(site.fetch()), second = hub::load(site.fetch());
  CHECK(std::string(first.library->name) == second.library->name);
}
