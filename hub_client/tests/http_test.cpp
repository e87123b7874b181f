// HTTP with servers that lie: redirects, the token, retries, ranges, bounds, proxies.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "hub_client/http.h"

#include <atomic>

#include "hub_client/tests/scripted_server.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::hub::test;
using hub::Http;
using hub::HttpAnswer;
using hub::HttpRequest;
using manifest::test::error_of;
using manifest::test::has;

namespace {

hub::Environment environment_of(const ScriptedServer &server, const std::string &token = "hf_secret") {
  hub::Environment environment;
  environment.endpoint = server.url(), environment.token = token, environment.token_source = "HF_TOKEN";
  return environment;
}
HttpRequest get(const std::string &url) { return {"GET", url, {}, "", 1 << 20, {}, {}, true}; }

struct Without {  // proxies of the machine that runs the tests
  Without() {
    for (const char *name : {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY"}) unsetenv(name);
  }
} const without;

struct Sink {  // what a download keeps
  std::string bytes;
  int restarts = 0;
  HttpRequest request(const std::string &url, bool resumes = true) {
    HttpRequest one = get(url);
    one.sink = [this](std::string_view part) { bytes += part; };
    one.restart = [this] { bytes.clear(), ++restarts; };
    if (resumes) one.held = [this] { return bytes.size(); };
    return one;
  }
};

}  // namespace

TEST_CASE("the token goes to the endpoint, and after a redirect to another host no more") {
  ScriptedServer other([](const Seen &, const Connection &to) { to.send(answer(200, "there")); });
  ScriptedServer hub([&](const Seen &one, const Connection &to) {
    if (one.target == "/other") to.send(moved(other.url() + "/file?signature=abc"));
    else if (one.target == "/back") to.send(moved("/home?x=1"));
    else to.send(answer(200, "here"));
  });
  const Http http(environment_of(hub));
  CHECK(http.send(get("/home")).body == "here");
  CHECK(hub.seen().back().header("authorization") == "Bearer hf_secret");
  CHECK(http.send(get("/back")).body == "here");
  CHECK(hub.seen().back().target == "/home?x=1");  // the query is kept
  CHECK(hub.seen().back().has("authorization"));
  CHECK(http.send(get("/other")).body == "there");
  REQUIRE(other.seen().size() == 1);
  CHECK(other.seen().front().target == "/file?signature=abc");
  CHECK(!other.seen().front().has("authorization"));
  CHECK(!other.seen().front().has("cookie"));
  CHECK(http.send(get(other.url() + "/direct")).ok());  // 127.0.0.1 too, but another port is another origin
  CHECK(!other.seen().back().has("authorization"));
  HttpRequest anonymous = get("/home");
  anonymous.authorise = false;
  CHECK(http.send(anonymous).ok());
  CHECK(!hub.seen().back().has("authorization"));
}

TEST_CASE("redirects that are refused") {
  std::string location;
  ScriptedServer hub([&](const Seen &one, const Connection &to) {
    to.send(one.target.starts_with("/loop") ? moved("/loop") : one.target == "/from" ? moved(location) : answer(200, "no"));
  });
  const Http http(environment_of(hub));
  CHECK(has(error_of(ErrorKind::network, [&] { http.send(get("/loop")); }), "10 redirects"));
  CHECK(hub.count("/loop") == 11);
  for (const char *bad : {"ftp://127.0.0.1/x", "file:///etc/passwd", "javascript:alert(1)", "http://user@127.0.0.1/",
                          "http://192.0.2.1/plain", "http:///", "gopher://127.0.0.1:1/"}) {
    location = bad;
    error_of(ErrorKind::network, [&] { http.send(get("/from")); });
  }
  location = "http://192.0.2.1/plain";
  CHECK(has(error_of(ErrorKind::network, [&] { http.send(get("/from")); }), "plain http on another machine"));
  HttpRequest post = get("/from");
  post.method = "POST", post.body = "x", location = "/elsewhere";
  CHECK(has(error_of(ErrorKind::network, [&] { http.send(post); }), "redirects a POST"));
  CHECK(hub.count("/elsewhere") == 0);
}

TEST_CASE("from https to http is never followed; a plain endpoint on another machine is never spoken to") {
  CHECK(hub::resolved_location("https://hub/a/b?c=1", "http://hub/x") == "http://hub/x");  // which send() then refuses: see below
  CHECK(hub::resolved_location("https://hub/a/b", "/x?q=1") == "https://hub/x?q=1");
  CHECK(hub::resolved_location("https://hub/a/b", "c") == "https://hub/a/c");
  CHECK(hub::resolved_location("https://hub/a", "//other/x") == "https://other/x");
  CHECK(hub::resolved_location("https://hub/a", "\\\\other\\x").empty());
  CHECK(hub::origin_of("https://Hub/x") == "https://hub:443");
  CHECK(hub::origin_of("http://h:80/") == "http://h:80");
  CHECK(hub::origin_of("https://user:p@hub/").empty());
  CHECK(hub::origin_of("https://hub/a b").empty());
  CHECK(hub::origin_of("hub").empty());
  hub::Environment plain;
  plain.endpoint = "http://192.0.2.1";
  CHECK(has(error_of(ErrorKind::network, [&] { Http(plain).send(get("/")); }), "not encrypted"));
}

TEST_CASE("transient answers are tried again, others are not") {
  std::atomic<int> left = 2;
  int status = 503;
  ScriptedServer hub([&](const Seen &, const Connection &to) {
    to.send(left-- > 0 ? answer(status, "busy", "Retry-After: 0\r\n") : answer(200, "at last"));
  });
  const Http http(environment_of(hub));
  for (const int transient : {408, 429, 500, 502, 503, 504}) {
    left = 2, status = transient;
    CHECK(http.send(get("/x")).body == "at last");
  }
  left = 100, status = 503;
  CHECK(http.send(get("/five")).status == 503);
  CHECK(hub.count("/five") == 5);
  for (const int final : {400, 403, 404, 410, 416}) {
    left = 1, status = final;
    CHECK(http.send(get("/once" + std::to_string(final))).status == final);
    CHECK(hub.count("/once" + std::to_string(final)) == 1);
  }
  left = 1, status = 503;
  HttpRequest post = get("/post");
  post.method = "POST";
  CHECK(http.send(post).status == 503);  // it may have been done
  CHECK(hub.count("/post") == 1);
}

TEST_CASE("a cut body goes on where it stopped") {
  const std::string whole(300000, 'x');
  ScriptedServer hub([&](const Seen &one, const Connection &to) {
    const size_t from = one.has("range") ? std::stoul(one.header("range").substr(6)) : 0;
    const std::string head = "Connection: close\r\nContent-Length: " + std::to_string(whole.size() - from) + "\r\n";
    if (from == 0) to.send("HTTP/1.1 200 OK\r\n" + head + "\r\n" + whole.substr(0, 100000));
    else
      to.send("HTTP/1.1 206 X\r\n" + head + "Content-Range: bytes " + std::to_string(from) + "-299999/300000\r\n\r\n" +
              whole.substr(from, from < 200000 ? 100000 : std::string::npos));
  });
  Sink sink;
  CHECK(Http(environment_of(hub)).send(sink.request("/file")).status == 206);
  CHECK(sink.bytes == whole);
  CHECK(sink.restarts == 0);
  REQUIRE(hub.seen().size() == 3);
  CHECK(!hub.seen()[0].has("range"));
  CHECK(hub.seen()[1].header("range") == "bytes=100000-");
  CHECK(hub.seen()[2].header("range") == "bytes=200000-");
}

TEST_CASE("a server that ignores the range, or has less than we hold, makes it start again") {
  const std::string whole = "the whole file";
  ScriptedServer hub([&](const Seen &one, const Connection &to) {
    if (one.target == "/short" && one.has("range")) to.send(answer(416, "", "Content-Range: bytes */14\r\n"));
    else to.send(answer(200, whole));
  });
  const Http http(environment_of(hub));
  for (const char *url : {"/ignores", "/short"}) {
    Sink sink;
    sink.bytes = "the who";
    CHECK(http.send(sink.request(url)).status == 200);
    CHECK(sink.bytes == whole);
    CHECK(sink.restarts == 1);
  }
}

TEST_CASE("another part than was asked for is refused") {
  ScriptedServer hub([&](const Seen &one, const Connection &to) {
    to.send(answer(206, "part", one.target == "/none" ? "" : "Content-Range: bytes 9-12/13\r\n"));
  });
  const Http http(environment_of(hub));
  for (const char *url : {"/wrong", "/none"}) {
    Sink sink;
    sink.bytes = "four";
    error_of(ErrorKind::integrity, [&] { http.send(sink.request(url)); });
    CHECK(sink.bytes == "four");
    Sink fresh;  // asks for no range at all
    error_of(ErrorKind::integrity, [&] { http.send(fresh.request(url)); });
    CHECK(fresh.bytes.empty());
  }
}

TEST_CASE("bounds: body, headers, compression, error pages") {
  const std::string long_body(5000, 'b');
  ScriptedServer hub([&](const Seen &one, const Connection &to) {
    if (one.target == "/headers")
      to.send("HTTP/1.1 200 OK\r\n" + [] {
        std::string lines;
        for (int i = 0; i < 3000; ++i) lines += "X-" + std::to_string(i) + ": " + std::string(40, 'h') + "\r\n";
        return lines;
      }() + "\r\n");
    else if (one.target == "/gzip") to.send(answer(200, "xxxx", "Content-Encoding: gzip\r\n"));
    else if (one.target == "/page") to.send(answer(404, "<html>not here</html>"));
    else if (one.target == "/moved") to.send(moved("/file"));
    else if (one.target == "/file") to.send(answer(200, "file"));
    else if (one.target == "/endless") {
      to.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
      for (int i = 0; i < 200; ++i) to.send(long_body);
    } else to.send(answer(200, long_body));
  });
  const Http http(environment_of(hub));
  HttpRequest small = get("/long");
  small.max_bytes = 4999;
  CHECK(has(error_of(ErrorKind::integrity, [&] { http.send(small); }), "longer than 4999"));
  small.url = "/endless";
  error_of(ErrorKind::integrity, [&] { http.send(small); });
  CHECK(has(error_of(ErrorKind::integrity, [&] { http.send(get("/headers")); }), "headers are too long"));
  Sink sink;
  error_of(ErrorKind::integrity, [&] { http.send(sink.request("/gzip")); });
  CHECK(http.send(sink.request("/page")).status == 404);
  CHECK(sink.bytes.empty());  // an error page is not a file
  CHECK(http.send(sink.request("/moved")).ok());
  CHECK(sink.bytes == "file");  // nor is a redirect's
}

TEST_CASE("what a status means, and what is said") {
  ScriptedServer hub([&](const Seen &one, const Connection &to) {
    const int status = std::stoi(one.target.substr(1));
    to.send(answer(status, "", status == 401 ? "X-Error-Code: RepoNotFound\r\n" : "X-Error-Message: reason \x1b[31m\r\n"));
  });
  const Http http(environment_of(hub)), anonymous(environment_of(hub, ""));
  CHECK(has(error_of(ErrorKind::not_found, [&] { http.expect(get("/404"), "org/k"); }), "org/k was not found"));
  CHECK(has(error_of(ErrorKind::not_found, [&] { anonymous.expect(get("/401"), "org/k"); }), "HF_TOKEN"));
  const std::string refused = error_of(ErrorKind::permission, [&] { http.expect(get("/403"), "org/k"); });
  CHECK(has(refused, "token of HF_TOKEN"));
  CHECK(!has(refused, "hf_secret"));
  CHECK(has(refused, "reason"));
  CHECK(!has(refused, "\x1b"));
  CHECK(has(error_of(ErrorKind::permission, [&] { anonymous.expect(get("/403"), "org/k"); }), "no token was sent"));
  error_of(ErrorKind::conflict, [&] { http.expect(get("/409"), "org/k"); });
  error_of(ErrorKind::network, [&] { http.expect(get("/400"), "org/k"); });
}

TEST_CASE("nobody there, and a signed address in no message") {
  hub::Environment environment;
  environment.endpoint = "http://127.0.0.1:1";
  const std::string said = error_of(ErrorKind::network, [&] { Http(environment).send(get("/file?signature=secret")); });
  CHECK(has(said, "HF_ENDPOINT"));
  CHECK(has(said, "proxy"));
  CHECK(!has(said, "secret"));
}

TEST_CASE("offline is an error before anything is opened") {
  ScriptedServer hub([](const Seen &, const Connection &to) { to.send(answer(200, "")); });
  hub::Environment environment = environment_of(hub);
  environment.offline = true;
  CHECK(has(error_of(ErrorKind::offline, [&] { Http(environment).send(get("/x")); }), "HF_HUB_OFFLINE"));
  CHECK(hub.seen().empty());
}

TEST_CASE("proxies are honoured") {
  ScriptedServer proxy([](const Seen &, const Connection &to) { to.send(answer(200, "from the proxy")); });
  hub::Environment environment;
  environment.endpoint = "http://127.0.0.1:1";
  setenv("http_proxy", proxy.url().c_str(), 1);
  CHECK(Http(environment).send(get("/x")).body == "from the proxy");
  CHECK(proxy.seen().front().target == "http://127.0.0.1:1/x");
  setenv("no_proxy", "127.0.0.1", 1);
  error_of(ErrorKind::network, [&] { Http(environment).send(get("/x")); });
  CHECK(proxy.seen().size() == 1);
  unsetenv("http_proxy"), unsetenv("no_proxy");
  environment.endpoint = "https://hub.invalid";
  environment.token = "hf_secret";
  setenv("https_proxy", proxy.url().c_str(), 1);
  proxy.handle([](const Seen &, const Connection &to) { to.send(answer(407, "")); });
  error_of(ErrorKind::network, [&] { Http(environment).send(get("/x")); });
  REQUIRE(!proxy.seen().empty());
  CHECK(proxy.seen().front().method == "CONNECT");
  CHECK(!proxy.seen().front().has("authorization"));  // the hub's token is not the proxy's
  unsetenv("https_proxy");
}
