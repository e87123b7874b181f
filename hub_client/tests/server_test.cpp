// The hub server under good and bad clients: ranges, many at once, hostile paths, bodies and requests, and its writes.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "hub_client/server.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "hub_client/http.h"
#include "hub_client/repository_store.h"
#include "manifest/digest.h"
#include "manifest/json.h"
#include "manifest/tests/support.h"

using namespace lamina;
using manifest::Json;
using manifest::test::Folder;
using manifest::test::has;

namespace {

const std::string api = "/api/kernels/org/k", resolve = "/kernels/org/k/resolve/";
const std::string text = "0123456789";

struct Hub {
  Folder folder;
  hub::ServerOptions options;
  std::unique_ptr<hub::Server> server;
  std::string commit;

  explicit Hub(hub::ServerOptions given = {}) : options(std::move(given)) {
    options.directory = folder / "hub";
    hub::RepositoryStore store(options.directory);
    store.create("kernels/org/k");
    store.create_branch("kernels/org/k", "v1", store.resolve("kernels/org/k", "main"));
    std::vector<hub::Change> changes;
    for (const std::string name : {"a.txt", "empty", "build/v/x.py", "build/v/y.py", "build/w/z.py"})
      changes.push_back({hub::Change::Kind::put, name, store.put(name == "empty" ? "" : text)});
    commit = store.commit("kernels/org/k", "v1", "", "files", changes);
    store.create_tag("kernels/org/k", "v1.0.0", commit);
    server = std::make_unique<hub::Server>(options);
  }
  hub::Http http(const std::string &token = "") const {
    hub::Environment environment;
    environment.endpoint = server->url(), environment.token = token;
    return hub::Http(environment);
  }
  hub::HttpAnswer ask(const std::string &method, const std::string &url, const std::string &body = "",
                      std::map<std::string, std::string> headers = {}, const std::string &token = "") const {
    return http(token).send({method, url, std::move(headers), body, 1 << 20, {}, {}, true});
  }
  // Bytes as they are; what comes back until the server closes, or for two seconds.
  std::string raw(const std::string &bytes) const {
    const int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_port = htons(server->port()), address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    REQUIRE(connect(to, reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
    const timeval limit{2, 0};
    setsockopt(to, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    std::string back;
    char piece[4096];
    for (ssize_t count; (count = recv(to, piece, sizeof piece, 0)) > 0;) back.append(piece, static_cast<size_t>(count));
    close(to);
    return back;
  }
  std::string raw_get(const std::string &target) const {
    return raw("GET " + target + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  bool alive() const { return ask("GET", resolve + "v1/a.txt").body == text; }
};

std::string line(const char *key, const Json &value) { return Json{{"key", key}, {"value", value}}.dump() + "\n"; }

}  // namespace

TEST_CASE("ranges") {
  const Hub hub;
  struct Row {
    const char *range;
    int status;
    const char *body, *content_range;
  };
  for (const Row &row : {Row{"bytes=0-3", 206, "0123", "bytes 0-3/10"},
                         {"bytes=5-", 206, "56789", "bytes 5-9/10"},
                         {"bytes=-3", 206, "789", "bytes 7-9/10"},
                         {"bytes=9-9", 206, "9", "bytes 9-9/10"},
                         {"bytes=8-100", 206, "89", "bytes 8-9/10"},
                         {"bytes=-100", 206, "0123456789", "bytes 0-9/10"},
                         {"bytes=10-", 416, nullptr, "bytes */10"},
                         {"bytes=5-4", 416, nullptr, "bytes */10"},
                         {"bytes=-0", 416, nullptr, "bytes */10"},
                         {"bytes=", 200, "0123456789", ""},
                         {"bytes=a-b", 200, "0123456789", ""},
                         {"bytes=0-1,4-5", 200, "0123456789", ""},
                         {"bytes=99999999999999999999-", 200, "0123456789", ""},
                         {"lines=0-1", 200, "0123456789", ""}}) {
    const hub::HttpAnswer answer = hub.ask("GET", resolve + "v1/a.txt", "", {{"Range", row.range}});
    CHECK_MESSAGE(answer.status == row.status, row.range);
    if (row.body) CHECK_MESSAGE(answer.body == row.body, row.range);
    CHECK_MESSAGE(answer.header("content-range") == row.content_range, row.range);
  }
  const std::string etag = "\"" + manifest::git_blob_hex(text) + "\"";
  CHECK(hub.ask("GET", resolve + "v1/a.txt", "", {{"Range", "bytes=5-"}, {"If-Range", etag}}).status == 206);
  CHECK(hub.ask("GET", resolve + "v1/a.txt", "", {{"Range", "bytes=5-"}, {"If-Range", "\"other\""}}).body == text);
  CHECK(hub.ask("GET", resolve + "v1/empty", "", {{"Range", "bytes=0-"}}).status == 416);
  CHECK(hub.ask("GET", resolve + "v1/empty").status == 200);
}

TEST_CASE("what a HEAD says") {
  const Hub hub;
  const hub::HttpAnswer answer = hub.ask("HEAD", resolve + "v1/a.txt");
  CHECK(answer.status == 200);
  CHECK(answer.body.empty());
  CHECK(answer.header("x-repo-commit") == hub.commit);
  CHECK(answer.header("etag") == "\"" + manifest::git_blob_hex(text) + "\"");
  CHECK(answer.header("content-length") == "10");
  CHECK(answer.header("x-linked-size") == "10");
  CHECK(answer.header("content-encoding").empty());
}

TEST_CASE("revisions: branch, tag, commit, full refs, encoded or not; and kinds of 404") {
  const Hub hub;
  for (const std::string &revision : {std::string("v1"), std::string("v1.0.0"), hub.commit, std::string("refs%2Fheads%2Fv1")})
    CHECK_MESSAGE(hub.ask("GET", resolve + revision + "/a.txt").body == text, revision);
  CHECK(hub.ask("GET", api + "/tree/refs%2Fheads%2Fv1/build").ok());
  const auto code = [&](const std::string &url) {
    const hub::HttpAnswer answer = hub.ask("GET", url);
    CHECK(answer.status == 404);
    return answer.header("x-error-code");
  };
  CHECK(code(resolve + "v9/a.txt") == "RevisionNotFound");
  CHECK(code(resolve + "v1/nothing") == "EntryNotFound");
  CHECK(code("/kernels/org/other/resolve/v1/a.txt") == "RepoNotFound");
  CHECK(code("/api/kernels/org/other/refs") == "RepoNotFound");
  CHECK(code(api + "/tree/v1/nothing") == "EntryNotFound");
  CHECK(code("/nothing") == "");
}

TEST_CASE("a listing in pages is the whole listing") {
  hub::ServerOptions options;
  options.page_size = 2;
  const Hub hub(options);
  std::set<std::string> paths;
  int pages = 0;
  for (std::string url = api + "/tree/v1?recursive=true"; !url.empty(); ++pages) {
    const hub::HttpAnswer answer = hub.ask("GET", url);
    const Json page = manifest::parse_json(answer.body, "page");
    CHECK(page.size() <= 2);
    for (const Json &item : page) CHECK(paths.insert(item.at("path")).second);
    const std::string link = answer.header("link");
    url = link.empty() ? "" : link.substr(1, link.find('>') - 1);
  }
  CHECK(pages == 4);
  CHECK(paths == std::set<std::string>{"a.txt", "empty", "build", "build/v", "build/v/x.py", "build/v/y.py", "build/w", "build/w/z.py"});
  const Json folders = manifest::parse_json(hub.ask("GET", api + "/tree/v1/build").body, "folders");
  CHECK(folders.size() == 2);
}

TEST_CASE("paths that lead out") {
  const Hub hub;
  manifest::test::write(hub.folder / "secret", "do not show");
  for (const char *target :
       {"/../secret", "/kernels/org/k/resolve/v1/../../../../../secret", "/kernels/org/k/resolve/v1/%2e%2e/%2e%2e/secret",
        "/kernels/org/k/resolve/v1/..%2f..%2f..%2f..%2fsecret", "/kernels/org/k/resolve/..%2f..%2fsecret/a.txt",
        "/kernels/../k/resolve/v1/a.txt", "/kernels/org/..%2f..%2f/resolve/v1/a.txt", "/kernels/org/k/resolve/v1/a.txt%00.py",
        "/api/kernels/org/%2e%2e/refs", "/api/kernels/org/k/tree/v1/..%2f..", "/api/kernels/org/k/tree/..%2f..%2fheads%2fv1",
        "/kernels/org/k/resolve/v1//etc/passwd", "/api/kernels/..%2f..%2fobjects/k/refs", "/objects/x",
        "/api/kernels/org/k/revision/..%2fcommits", "/%"}) {
    const std::string back = hub.raw_get(target);
    CHECK_MESSAGE(has(back, "HTTP/1.1 4"), target << ": " << back.substr(0, 60));
    CHECK_MESSAGE(!has(back, "do not show"), target);
    CHECK_MESSAGE(!has(back, "root:"), target);
  }
  for (const char *name : {"../../x", "a/../b", "/x", "", "..", "a/b/c", "a--b/c", ".git/x"}) {
    const Json body = {{"name", name}, {"organization", "org"}, {"type", "kernel"}};
    CHECK_MESSAGE(hub.ask("POST", "/api/repos/create", body.dump()).status == 400, name);
  }
  for (const char *name : {"..%2fx", "..", "a%2fb", "%2e%2e"})
    CHECK_MESSAGE(hub.raw("POST " + api + "/branch/" + name + " HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nConnection: close\r\n\r\n{}")
                          .find("HTTP/1.1 4") == 0,
                  name);
  CHECK(hub.alive());
}

TEST_CASE("broken requests end, and the server goes on") {
  const Hub hub;
  for (const std::string &bytes :
       {std::string("\r\n\r\n"), std::string("nonsense\r\n\r\n"), std::string("GET\r\n\r\n"), std::string("GET / HTTP/9.9\r\n\r\n"),
        std::string(5000, '\0'), std::string("GET /") + std::string(200000, 'a') + " HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nX: " + std::string(200000, 'a') + "\r\n\r\n",
        std::string("POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n"),
        std::string("POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999999\r\n\r\n"),
        std::string("POST /api/repos/create HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"),
        std::string("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello", 23)}) {
    const std::string back = hub.raw(bytes);
    CHECK_MESSAGE((back.empty() || has(back, " 4") || has(back, " 5")), bytes.substr(0, 60) << " -> " << back.substr(0, 60));
    CHECK(!has(back, " 200 "));
  }
  CHECK(hub.alive());
}

TEST_CASE("a body that is too large is refused before it is sent") {
  const Hub hub;
  CHECK(has(hub.raw("POST /api/repos/create HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\n"), "HTTP/1.1 413"));
  CHECK(has(hub.raw("POST " + api + "/commit/v1 HTTP/1.1\r\nHost: x\r\nContent-Length: 900000000\r\n\r\nbegin"), "HTTP/1.1 413"));
  CHECK(hub.alive());
}

TEST_CASE("many clients at once") {
  const Hub hub;
  std::atomic<int> good = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < 16; ++i)
    clients.emplace_back([&] {
      for (int round = 0; round < 20; ++round) good += hub.ask("GET", resolve + "v1/a.txt").body == text;
    });
  // And some that connect, say half a word and stay.
  std::vector<int> idle;
  sockaddr_in address{};
  address.sin_family = AF_INET, address.sin_port = htons(hub.server->port()), address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  for (int i = 0; i < 50; ++i) {
    idle.push_back(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    REQUIRE(connect(idle.back(), reinterpret_cast<sockaddr *>(&address), sizeof address) == 0);
    send(idle.back(), "GET /", 5, MSG_NOSIGNAL);
  }
  for (std::thread &client : clients) client.join();
  CHECK(good == 320);
  for (const int one : idle) close(one);
}

TEST_CASE("a commit is all or nothing") {
  const Hub hub;
  const std::string url = api + "/commit/v1", header = line("header", {{"summary", "s"}}),
                    file = line("file", {{"path", "new.txt"}, {"content", "aGk="}, {"encoding", "base64"}});
  const auto refused = [&](const std::string &body, int status) {
    const hub::HttpAnswer answer = hub.ask("POST", url, body);
    CHECK_MESSAGE(answer.status == status, body << " -> " << answer.body);
    CHECK(hub.ask("GET", resolve + "v1/new.txt").status == 404);
    CHECK(hub.ask("HEAD", resolve + "v1/a.txt").header("x-repo-commit") == hub.commit);
  };
  refused(header + file + "{", 400);
  refused(header + file + line("nonsense", {{"path", "x"}}), 400);
  refused(header + file + line("file", {{"path", "../x"}, {"content", ""}}), 400);
  refused(header + file + line("file", {{"path", "/x"}, {"content", ""}}), 400);
  refused(header + file + line("file", {{"path", "x"}, {"content", "not base64!"}}), 400);
  refused(header + file + line("file", {{"content", ""}}), 400);
  refused(header + file + line("lfsFile", {{"path", "x"}, {"algo", "sha256"}, {"oid", std::string(64, '0')}, {"size", 1}}), 400);
  refused(header + file + line("lfsFile", {{"path", "x"}, {"algo", "sha256"}, {"oid", "../../x"}, {"size", 1}}), 400);
  refused(line("header", {{"summary", "s"}, {"parentCommit", std::string(40, 'f')}}) + file, 412);
  const hub::HttpAnswer done =
      hub.ask("POST", url, header + file + line("deletedFile", {{"path", "a.txt"}}) + line("deletedFolder", {{"path", "build/v/"}}));
  REQUIRE(done.status == 200);
  CHECK(hub.ask("GET", resolve + "v1/new.txt").body == "hi");
  CHECK(hub.ask("GET", resolve + "v1/a.txt").status == 404);
  CHECK(hub.ask("GET", resolve + "v1/build/v/x.py").status == 404);
  CHECK(hub.ask("GET", resolve + "v1/build/w/z.py").ok());
  CHECK(hub.ask("GET", resolve + hub.commit + "/a.txt").body == text);  // the old commit stays
  CHECK(hub.ask("POST", api + "/commit/v9", header + file).header("x-error-code") == "RevisionNotFound");
}

TEST_CASE("commits at once: none is lost, and of those with one parent one wins") {
  const Hub hub;
  std::vector<std::thread> writers;
  for (int i = 0; i < 8; ++i)
    writers.emplace_back([&, i] {
      hub.ask("POST", api + "/commit/v1",
              line("header", {{"summary", "s"}}) + line("file", {{"path", "file" + std::to_string(i)}, {"content", ""}}));
    });
  for (std::thread &writer : writers) writer.join();
  for (int i = 0; i < 8; ++i) CHECK(hub.ask("HEAD", resolve + "v1/file" + std::to_string(i)).ok());
  const std::string head = hub.ask("HEAD", resolve + "v1/a.txt").header("x-repo-commit");
  std::atomic<int> won = 0, lost = 0;
  writers.clear();
  for (int i = 0; i < 8; ++i)
    writers.emplace_back([&, i] {
      const int status = hub.ask("POST", api + "/commit/v1",
                                 line("header", {{"summary", "s"}, {"parentCommit", head}}) +
                                     line("file", {{"path", "race" + std::to_string(i)}, {"content", ""}}))
                             .status;
      won += status == 200, lost += status == 412;
    });
  for (std::thread &writer : writers) writer.join();
  CHECK(won == 1);
  CHECK(lost == 7);
}

TEST_CASE("LFS objects are what they say, and need the permit that a token gets") {
  hub::ServerOptions options;
  options.token = "hf_writer", options.lfs = true;
  const Hub hub(options);
  const std::string oid = manifest::sha256_hex("object");
  const Json batch = {{"operation", "upload"}, {"objects", {{{"oid", oid}, {"size", 6}}}}};
  CHECK(hub.ask("POST", "/kernels/org/k.git/info/lfs/objects/batch", batch.dump()).status == 401);
  const hub::HttpAnswer answer = hub.ask("POST", "/kernels/org/k.git/info/lfs/objects/batch", batch.dump(), {}, "hf_writer");
  REQUIRE(answer.status == 200);
  const Json upload = manifest::parse_json(answer.body, "batch").at("objects")[0].at("actions").at("upload");
  const std::string href = upload.at("href").get<std::string>();
  CHECK(!has(answer.body, "hf_writer"));
  CHECK(hub.ask("PUT", href.substr(0, href.find('?')), "object").status == 401);
  CHECK(hub.ask("PUT", href, "other bytes").status == 400);
  CHECK(hub.ask("PUT", href, "object").status == 200);
  CHECK(hub.ask("PUT", "/lfs-objects/..%2fx?permit=1", "object").status == 401);
  CHECK(hub.ask("POST", "/lfs-verify", Json{{"oid", oid}, {"size", 6}}.dump(), {}, "hf_writer").status == 200);
  CHECK(hub.ask("POST", "/lfs-verify", Json{{"oid", oid}, {"size", 7}}.dump(), {}, "hf_writer").status == 404);
}

TEST_CASE("writes need the token; a read-only hub takes none") {
  hub::ServerOptions options;
  options.token = "hf_writer";
  const Hub hub(options);
  const std::string body = Json{{"name", "new"}, {"organization", "org"}, {"type", "kernel"}}.dump();
  CHECK(hub.ask("POST", "/api/repos/create", body).status == 401);
  CHECK(hub.ask("POST", "/api/repos/create", body, {}, "hf_other").status == 401);
  CHECK(hub.ask("DELETE", "/api/repos/delete", Json{{"name", "k"}, {"organization", "org"}, {"type", "kernel"}}.dump()).status == 401);
  CHECK(hub.alive());
  CHECK(hub.ask("POST", "/api/repos/create", body, {}, "hf_writer").status == 200);
  CHECK(hub.ask("POST", "/api/repos/create", body, {}, "hf_writer").status == 409);
  options.read_only = true;
  const Hub read_only(options);
  CHECK(read_only.ask("POST", "/api/repos/create", body, {}, "hf_writer").status == 403);
  CHECK(read_only.alive());
}

TEST_CASE("private repositories are there for the token alone") {
  hub::ServerOptions options;
  options.token = "hf_reader";
  for (const char *name : {"org", "org/k"}) {
    options.private_names = {name};
    const Hub hub(options);
    for (const std::string &url : {api, api + "/refs", api + "/tree/v1", api + "/revision/v1", resolve + "v1/a.txt",
                                   std::string("//kernels/org/k/resolve/v1/a.txt"), std::string("/kernels/%6frg/k/resolve/v1/a.txt")}) {
      const hub::HttpAnswer none = hub.ask("GET", url);
      CHECK(none.status == 401);
      CHECK(none.header("x-error-code") == "RepoNotFound");
      CHECK(!has(none.body, text));
      CHECK(hub.ask("GET", url, "", {}, "hf_other").status == 401);
      CHECK(hub.ask("GET", url, "", {}, "hf_reader").status == 200);
    }
    CHECK(hub.ask("HEAD", resolve + "v1/a.txt").status == 401);
    CHECK(hub.ask("GET", "/api/kernels/other/x/refs").status == 404);
  }
}

TEST_CASE("uploads leave nothing behind but what was committed") {
  const Hub hub;
  const std::string line_of_file = line("file", {{"path", "b.txt"}, {"content", "eA=="}, {"encoding", "base64"}});
  CHECK(hub.ask("POST", api + "/commit/v1", line("header", {{"summary", "more"}}) + line_of_file).status == 200);
  CHECK(hub.ask("GET", resolve + "v1/b.txt").body == "x");
  CHECK(hub.ask("POST", api + "/commit/v1", "no JSON").status == 400);
  hub.raw("PUT /lfs-objects/" + std::string(64, 'a') + " HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nhalf");
  CHECK(hub.ask("PUT", "/lfs-objects/" + manifest::sha256_hex("object"), "other bytes").status == 400);
  CHECK(hub.alive());
  for (int i = 0; i < 100 && !std::filesystem::is_empty(hub.options.directory / "incoming"); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(std::filesystem::is_empty(hub.options.directory / "incoming"));
}

TEST_CASE("bodies that are not what a route takes") {
  const Hub hub;
  for (const char *body : {"", "[", "[]", "1", "{}", "{\"name\":1}", "{\"name\":\"k\",\"type\":\"space\"}", "\xff"}) {
    CHECK_MESSAGE(hub.ask("POST", "/api/repos/create", body).status == 400, body);
    CHECK_MESSAGE(hub.ask("POST", api + "/preupload/v1", body).status == 400, body);
    CHECK_MESSAGE(hub.ask("POST", api + "/tag/v1", body).status == 400, body);
  }
  CHECK(hub.ask("POST", api + "/preupload/v1", R"({"files":[{"path":"../x","size":1}]})").status == 400);
  CHECK(hub.alive());
}

TEST_CASE("what is committed is there after a restart") {
  Hub hub;
  hub.server.reset();
  hub.server = std::make_unique<hub::Server>(hub.options);
  CHECK(hub.alive());
  CHECK(hub.ask("HEAD", resolve + "v1/a.txt").header("x-repo-commit") == hub.commit);
}

TEST_CASE("who is trusted") {
  hub::ServerOptions options;
  options.trusted = {"org"};
  const Hub hub(options);
  CHECK(has(hub.ask("GET", "/api/organizations/org/overview").body, "\"trustedKernelPublisher\":true"));
  CHECK(has(hub.ask("GET", "/api/organizations/other/overview").body, "\"trustedKernelPublisher\":false"));
}
