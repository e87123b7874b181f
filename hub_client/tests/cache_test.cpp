// The cache: damage, links, unfinished downloads, locks, several clients at once, and what repair mends.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <csignal>

#include <sys/wait.h>

#include "hub_client/blob_writer.h"
#include "hub_client/file_lock.h"
#include "hub_client/inventory.h"
#include "hub_client/repair.h"
#include "hub_client/tests/fake_hub.h"

using namespace lamina;
using namespace lamina::hub::test;
namespace fs = std::filesystem;
using manifest::test::read;
using manifest::test::write;

namespace {

// What a killed process leaves.
fs::path unfinished(const Site &site, const std::string &path, const std::string &bytes) {
  const fs::path file = site.blob(path).string() + ".incomplete";
  write(file, bytes);
  return file;
}
std::string range_of(const Site &site, const std::string &path) {
  for (const Seen &one : site.hub.server().seen())
    if (one.target.ends_with(path)) return one.header("range");
  return "not asked for";
}

std::vector<hub::Mending> repair(const Site &site, bool dry_run = false) {
  return hub::repair_cache(site.environment.cache, {site.environment.trust_file, ""}, {"", dry_run});
}

}  // namespace

TEST_CASE("damaged, truncated and swapped blobs are fetched again") {
  Site site;
  site.fetch();
  const std::string bytes = site.hub.files[site.build()];
  for (const std::string &damage : {std::string(), bytes.substr(0, 100), bytes + "x", std::string(bytes.size(), '\0')}) {
    write(site.blob(site.build()), damage);
    const hub::Fetched fetched = site.fetch();
    CHECK(fetched.downloaded_files == 1);
    CHECK(read(site.pointer(site.build())) == bytes);
  }
  fs::remove(site.pointer(site.build()));  // a link to another blob
  fs::create_symlink(fs::path("../../../../blobs") / site.blob(site.prefix() + "bundle.json").filename(), site.pointer(site.build()));
  CHECK(site.fetch().downloaded_files == 0);
  CHECK(read(site.pointer(site.build())) == bytes);
}

TEST_CASE("a cache without links is taken as it is") {
  Site site;
  for (const auto &[path, bytes] : site.hub.files) write(site.pointer(path), bytes);
  const hub::Fetched fetched = site.fetch();
  CHECK(fetched.downloaded_files == 0);
  CHECK(!fs::is_symlink(site.pointer(site.build())));
  CHECK(!fs::exists(site.repository_folder() / "blobs"));
}

TEST_CASE("folders that are links are not written through") {
  Site site;
  fs::create_directories(site.repository_folder());
  fs::create_directories(site.folder / "elsewhere");
  fs::create_directory_symlink(site.folder / "elsewhere", site.repository_folder() / "blobs");
  CHECK(has(error_of(ErrorKind::permission, [&] { site.fetch(); }), "symbolic link"));
  fs::remove(site.repository_folder() / "blobs");
  fs::create_directories(site.repository_folder() / "snapshots");
  fs::create_directory_symlink(site.folder / "elsewhere", site.repository_folder() / "snapshots" / commit);
  CHECK(has(error_of(ErrorKind::permission, [&] { site.fetch(); }), "symbolic link"));
  CHECK(fs::is_empty(site.folder / "elsewhere"));
}

TEST_CASE("an unfinished download goes on: only the rest is asked for") {
  Site site;
  const std::string bytes = site.hub.files[site.build()];
  const fs::path left = unfinished(site, site.build(), bytes.substr(0, 1000));
  const hub::Fetched fetched = site.fetch();
  CHECK(range_of(site, site.build()) == "bytes=1000-");
  CHECK(site.was_said("going on with"));
  CHECK(read(site.pointer(site.build())) == bytes);
  CHECK(!fs::exists(left));
  uint64_t all = 0;
  for (const auto &[path, content] : site.hub.files) all += content.size();
  CHECK(fetched.downloaded_bytes == all - 1000);
}

TEST_CASE("a whole unfinished download is only hashed") {
  Site site;
  unfinished(site, site.build(), site.hub.files[site.build()]);
  site.fetch();
  CHECK(range_of(site, site.build()) == "not asked for");
}

TEST_CASE("what is there of another file, or more than there may be, is thrown away") {
  Site site;
  const std::string bytes = site.hub.files[site.build()];
  for (const std::string &wrong : {std::string(1000, 'x'), std::string(bytes.size(), 'x'), bytes + "x"}) {
    fs::remove_all(site.environment.cache);
    unfinished(site, site.build(), wrong);
    site.fetch();
    CHECK(read(site.pointer(site.build())) == bytes);
  }
  fs::remove_all(site.environment.cache);
  const fs::path link = unfinished(site, site.build(), "");
  fs::remove(link);
  write(site.folder / "victim", "precious");
  fs::create_symlink(site.folder / "victim", link);
  CHECK_THROWS(site.fetch());
  CHECK(read(site.folder / "victim") == "precious");
}

TEST_CASE("a cut connection leaves what came; wrong bytes leave nothing") {
  Site site;
  const std::string bytes = site.hub.files[site.build()];
  std::string send =
      "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: " + std::to_string(bytes.size()) + "\r\n\r\n" + bytes.substr(0, 500);
  site.hub.before = [&](const Seen &one, const Connection &to) {
    if (!one.target.ends_with(".so")) return false;
    to.send(one.has("range") ? answer(503, "", "Retry-After: 0\r\n") : send);
    return true;
  };
  error_of(ErrorKind::network, [&] { site.fetch(); });
  const fs::path left = site.blob(site.build()).string() + ".incomplete";
  CHECK(read(left) == bytes.substr(0, 500));
  fs::remove(left);
  send = answer(200, std::string(bytes.size(), 'x'));
  CHECK(has(error_of(ErrorKind::integrity, [&] { site.fetch(); }), "hashes to"));
  CHECK(!fs::exists(left));
  CHECK(!fs::exists(site.blob(site.build())));
  for (const std::string &wrong : {bytes.substr(1), bytes + "x", std::string()}) {
    send = answer(200, wrong);
    error_of(ErrorKind::integrity, [&] { site.fetch(); });
    CHECK(!fs::exists(site.blob(site.build())));
    fs::remove(left);
  }
}

TEST_CASE("several clients at once: one download a file, all are served") {
  Site site;
  site.hub.before = [](const Seen &one, const Connection &) {
    if (has(one.target, "/resolve/")) std::this_thread::sleep_for(std::chrono::milliseconds(20));
    return false;
  };
  std::vector<std::thread> clients;
  std::atomic<int> good = 0;
  for (int i = 0; i < 8; ++i)
    clients.emplace_back([&] {
      hub::FetchOptions options;
      options.backend = "cpu";
      good += hub::Client(site.environment).fetch(repository + "@v1", options).commit == commit;
    });
  for (std::thread &client : clients) client.join();
  CHECK(good == 8);
  for (const auto &[path, bytes] : site.hub.files) CHECK_MESSAGE(site.hub.server().count(path) >= 1, path);
  CHECK(site.hub.server().count(site.build()) == 1);
}

TEST_CASE("a process that forks in the middle of a download: parent and child are both served, and no lock outlives its owner") {
  Site site;
  std::atomic<bool> begun = false;
  site.hub.before = [&](const Seen &one, const Connection &) {
    if (has(one.target, site.build())) begun = true, std::this_thread::sleep_for(std::chrono::milliseconds(300));
    return false;
  };
  const auto fetch = [&] {
    hub::FetchOptions options;
    options.backend = "cpu";
    return hub::Client(site.environment).fetch(repository + "@v1", options).commit == commit;
  };
  std::atomic<bool> good = false;
  std::thread parent([&] { good = fetch(); });
  while (!begun) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const pid_t child = fork();
  if (child == 0) _exit(fetch() ? 0 : 1);
  parent.join();
  CHECK(good);
  int status = -1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK((WIFEXITED(status) && WEXITSTATUS(status) == 0));
  CHECK(site.hub.server().count(site.build()) == 1);

  const auto never = [] { return false; };
  auto lock = std::make_unique<hub::FileLock>(site.folder / "lock", never);
  REQUIRE(lock->held());
  const pid_t sleeper = fork();
  if (sleeper == 0) {  // holds what it inherited for as long as it lives
    pause();
    _exit(0);
  }
  const pid_t other = fork();
  if (other == 0) {
    lock.reset();  // lets go of nothing: it is the parent's
    _exit(0);
  }
  CHECK(waitpid(other, &status, 0) == other);
  CHECK(!hub::FileLock(site.folder / "lock", never).held());
  lock.reset();
  CHECK(hub::FileLock(site.folder / "lock", never).held());
  CHECK(kill(sleeper, SIGKILL) == 0);
  CHECK(waitpid(sleeper, &status, 0) == sleeper);
}

TEST_CASE("locks") {
  const Folder folder;
  const auto never = [] { return false; };
  {
    const hub::FileLock first(folder / "lock", never);
    CHECK(first.held());
    CHECK(!hub::FileLock(folder / "lock", never).held());
    int asked = 0;
    CHECK(!hub::FileLock(folder / "lock", [&] { return ++asked < 4; }).held());
    CHECK(asked == 4);
    // The holder's file is removed, as some Python releases do: the name is free for a new one.
    fs::remove(folder / "lock");
    CHECK(hub::FileLock(folder / "lock", never).held());
  }
  CHECK(hub::FileLock(folder / "lock", never).held());
  CHECK(!hub::FileLock(folder / "missing/lock", never).held());
  fs::create_directory(folder / "directory");
  CHECK(!hub::FileLock(folder / "directory", never).held());
  fs::create_symlink(folder / "elsewhere", folder / "link");
  CHECK(!hub::FileLock(folder / "link", never).held());
  CHECK(!fs::exists(folder / "elsewhere"));
}

TEST_CASE("without the lock a download has a file of its own, and leaves another's alone") {
  Site site;
  const std::string bytes = site.hub.files[site.build()];
  hub::BlobWriter own(site.folder / "blobs", hub::test::FakeHub::etag(site.build(), bytes), bytes.size(), hub::BlobWriter::Name::own);
  own.write(bytes.substr(0, 10));
  {
    hub::BlobWriter second(site.folder / "blobs", hub::test::FakeHub::etag(site.build(), bytes), bytes.size(), hub::BlobWriter::Name::own);
    second.write(bytes);
    second.commit();
  }
  own.write(bytes.substr(10));
  own.commit();
  size_t files = 0;
  for (const auto &entry : fs::directory_iterator(site.folder / "blobs")) files += entry.is_regular_file();
  CHECK(files == 1);
}

TEST_CASE("list tells what can be used") {
  Site site;
  const hub::TrustStore trust(site.environment.trust_file, ""), nobody("", "");
  CHECK(list_cache(site.environment.cache, trust).empty());
  site.fetch();
  write(site.environment.cache / "models--org--x/refs/main", "");
  write(site.environment.cache / "kernels--foreign--k/snapshots/" / commit / "build/torch-cpu/metadata.json", "{}");
  const std::vector<hub::CachedBundle> bundles = list_cache(site.environment.cache, trust);
  REQUIRE(bundles.size() == 1);
  CHECK(bundles[0].repository == repository);
  CHECK(bundles[0].revisions == std::vector<std::string>{"v1"});
  CHECK(bundles[0].version() == site.variant.bundle.version);
  CHECK(bundles[0].state() == "trusted");
  CHECK(bundles[0].files == site.hub.files.size());
  CHECK(list_cache(site.environment.cache, nobody)[0].state() == "untrusted");
  write(site.blob(site.build()), "x");
  CHECK(list_cache(site.environment.cache, trust)[0].state() == "damaged");
  fs::remove(site.pointer(site.prefix() + "bundle.json.minisig"));
  CHECK(list_cache(site.environment.cache, trust)[0].state() == "unsigned");
}

TEST_CASE("repair leaves a good cache alone") {
  Site site;
  CHECK(repair(site).empty());
  site.fetch();
  CHECK(repair(site).empty());
  error_of(ErrorKind::not_found, [&] { hub::repair_cache(site.environment.cache, {"", ""}, {"org/nothing", false}); });
}

TEST_CASE("repair mends what keeps a cache from being used offline, and a dry run only says so") {
  Site site;
  site.fetch();
  site.environment.offline = true;
  const fs::path folder = site.repository_folder();
  const auto mends = [&](const fs::path &path, const std::string &problem) {
    const std::vector<hub::Mending> planned = repair(site, true);
    REQUIRE(planned.size() == 1);
    CHECK(planned[0].path == path);
    CHECK(has(planned[0].problem, problem));
    REQUIRE(repair(site).size() == 1);
    CHECK(repair(site).empty());
    site.fetch();  // offline, and whole
  };
  fs::remove(folder / "refs/v1");  // as Python leaves it
  mends(folder / "refs/v1", "no ref says so");
  CHECK(read(folder / "refs/v1") == commit);
  write(folder / "refs/v1", commit + "\n");
  mends(folder / "refs/v1", "white space");
  CHECK(read(folder / "refs/v1") == commit);
  write(folder / "refs/main", std::string(40, 'e'));
  mends(folder / "refs/main", "not in the cache");
  write(folder / "refs/main", "junk");
  mends(folder / "refs/main", "no commit");
  // A listing of all files of the commit, of which only one variant was downloaded.
  write(folder / "trees" / (commit + ".json"), R"({"format_version":1,"files":{"README.md":{"size":1,"blob_id":"x"}}})");
  mends(folder / "trees" / (commit + ".json"), "README.md");
  write(folder / "trees" / (commit + ".json"), "{");
  mends(folder / "trees" / (commit + ".json"), "no listing");
  fs::create_symlink("/etc/passwd", site.pointer("stray"));
  mends(site.pointer("stray"), "out of the repository");
  fs::create_symlink("../../blobs/" + std::string(40, '0'), site.pointer("stray"));
  mends(site.pointer("stray"), "not there");
}

TEST_CASE("repair removes a damaged blob and what leads to it; fetch brings it again") {
  Site site;
  site.fetch();
  write(site.blob(site.build()), "short");
  REQUIRE(repair(site, true).size() == 2);
  CHECK(fs::exists(site.blob(site.build())));
  REQUIRE(repair(site).size() == 2);
  CHECK(!fs::exists(site.blob(site.build())));
  CHECK(!fs::exists(fs::symlink_status(site.pointer(site.build()))));
  CHECK(site.fetch().downloaded_files == 1);
}

TEST_CASE("repair removes unfinished downloads after a day, unless somebody is at them") {
  Site site;
  const fs::path left = unfinished(site, site.build(), "begun");
  CHECK(repair(site).empty());
  fs::last_write_time(left, fs::file_time_type::clock::now() - std::chrono::hours(25));
  {
    const hub::RepositoryCache cache(site.environment.cache, repository);
    const hub::FileLock working(cache.lock_file(site.blob(site.build()).filename().string()), [] { return false; });
    CHECK(repair(site).empty());
  }
  CHECK(repair(site).size() == 1);
  CHECK(!fs::exists(left));
  const fs::path half = site.repository_folder() / "refs/.v1.abcdef";
  write(half, commit);
  CHECK(hub::RepositoryCache(site.environment.cache, repository).refs().empty());
  CHECK(repair(site).empty());
  fs::last_write_time(half, fs::file_time_type::clock::now() - std::chrono::hours(25));
  CHECK(repair(site).size() == 1);
}

TEST_CASE("repair notes no version of a bundle that does not verify") {
  Site site;
  site.fetch();
  fs::remove(site.repository_folder() / "refs/v1");
  fs::remove(site.environment.trust_file);
  CHECK(repair(site).empty());
  CHECK(!fs::exists(site.repository_folder() / "refs/v1"));
  site.trust(site.variant.key);
  fs::remove(site.pointer(site.build()));  // verified, and nothing in it that could run
  CHECK(repair(site).empty());
  CHECK(!fs::exists(site.repository_folder() / "refs/v1"));
}

TEST_CASE("repair notes the version of other kernels, by what their metadata says") {
  Site site;
  const fs::path folder = site.environment.cache / "kernels--foreign--k";
  write(folder / "snapshots" / commit / "build/torch-cpu/metadata.json",
        R"({"name":"kk","id":"_k","version":3,"license":"MIT","python-depends":[],"backend":{"type":"cpu"}})");
  CHECK(repair(site).empty());  // no __init__.py: not whole
  write(folder / "snapshots" / commit / "build/torch-cpu/__init__.py", "");
  CHECK(repair(site).size() == 1);
  CHECK(read(folder / "refs/v3") == commit);
}
