// What a hub lists is not trusted: hostile names, hashes, sizes and pages.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "hub_client/tests/fake_hub.h"

using namespace lamina;
using namespace lamina::hub::test;

namespace {

constexpr const char *zeros = "0000000000000000000000000000000000000000";

// The error of a fetch, whatever its kind; a listing that is refused leaves nothing behind.
ErrorKind refused(Site &site, const std::string &what) {
  try {
    site.fetch();
  } catch (const Error &error) {
    CHECK_MESSAGE(!std::filesystem::exists(site.environment.cache), what);
    return error.kind;
  }
  FAIL_CHECK("accepted: " << what);
  return ErrorKind::internal;
}

ErrorKind refused_listing(Site &site, const Json &extra) {
  Json list = site.hub.tree();
  list.push_back(extra);
  site.hub.listing = list.dump(-1, ' ', false, Json::error_handler_t::replace);
  return refused(site, extra.dump());
}

Json file(const std::string &path) { return {{"type", "file"}, {"path", path}, {"oid", zeros}, {"size", 1}}; }

}  // namespace

TEST_CASE("names that lead elsewhere or nowhere") {
  Site site;
  const std::string null_in_name("build/v/a\0b", 11);
  for (const std::string &path :
       {std::string(".."), std::string("../x"), std::string("/etc/passwd"), std::string("build/../../x"), std::string("build//x"),
        std::string("build/./x"), std::string("build/v/"), std::string("build\\v\\x"), std::string("C:/x"), std::string("build/v/a\nb"),
        std::string("build/v/\x1b[31m"), std::string("build/v/-rf"), std::string("build/v/a b"), std::string(""), null_in_name,
        "build/v/" + std::string(256, 'n'), "build/" + std::string(5000, '/'), std::string("build/v/\u202etxt")})
    CHECK(refused_listing(site, file(path)) == ErrorKind::malformed);
}

TEST_CASE("hashes that are none") {
  Site site;
  for (const char *oid :
       {"", "x", "../../../etc/passwd", "000000000000000000000000000000000000000", "00000000000000000000000000000000000000000",
        "000000000000000000000000000000000000000G", "ABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD"}) {
    Json one = file("build/v/x");
    one["oid"] = oid;
    CHECK(refused_listing(site, one) == ErrorKind::integrity);
    one["oid"] = zeros, one["lfs"] = {{"oid", oid}, {"size", 1}};
    CHECK(refused_listing(site, one) == ErrorKind::integrity);
  }
}

TEST_CASE("sizes that no file has, and members of the wrong type") {
  Site site;
  for (const Json &size :
       {Json(-1), Json(1.5), Json("1"), Json(nullptr), Json(uint64_t{1} << 63), Json((uint64_t{2} << 30) + 1), Json(true)}) {
    Json one = file("build/v/x");
    one["size"] = size;
    CHECK(refused_listing(site, one) == ErrorKind::integrity);
  }
  for (const char *member : {"type", "path", "oid", "size"}) {
    Json one = file("build/v/x");
    one.erase(member);
    CHECK(refused_listing(site, one) == ErrorKind::malformed);
    one[member] = Json::array();
    CHECK_NOTHROW(refused_listing(site, one));
  }
  for (const Json &one : {Json(1), Json("file"), Json(nullptr), Json::array()}) CHECK(refused_listing(site, one) == ErrorKind::malformed);
}

TEST_CASE("a path twice") {
  Site site;
  CHECK(refused_listing(site, file(site.prefix() + "bundle.json")) == ErrorKind::integrity);
}

TEST_CASE("text that is no listing") {
  Site site;
  for (const std::string &text : {std::string("{}"), std::string("null"), std::string("<html>log in</html>"), std::string("[] []"),
                                  std::string("[1"), std::string("\xef\xbb\xbf[]"), std::string("[\"\xff\"]"), std::string(5000, '['),
                                  std::string("[{\"type\":\"file\",\"path\":NaN}]")}) {
    site.hub.listing = text;
    CHECK_MESSAGE(refused(site, text) == ErrorKind::malformed, text.substr(0, 40));
  }
}

TEST_CASE("other kinds of entries are passed over") {
  Site site;
  Json list = site.hub.tree();
  for (const char *type : {"directory", "symlink", "commit", "submodule"}) list.push_back({{"type", type}, {"path", "../anything"}});
  site.hub.listing = list.dump();
  CHECK_NOTHROW(site.fetch());
}

TEST_CASE("pages are followed at home, and end") {
  Site site;
  const Json all = site.hub.tree();
  std::string link;
  site.hub.before = [&](const Seen &one, const Connection &to) {
    if (!has(one.target, "/tree/")) return false;
    const size_t cursor = one.target.find("cursor="), at = cursor == std::string::npos ? 0 : std::stoul(one.target.substr(cursor + 7));
    const std::string next = link.empty() ? site.hub.url() + "/api/kernels/" + repository + "/tree/" + commit +
                                                "/build?recursive=true&cursor=" + std::to_string(at + 3)
                                          : link;
    Json page = Json::array();
    for (size_t i = at; i < std::min(all.size(), at + 3); ++i) page.push_back(all[i]);
    to.send(answer(200, page.dump(), at + 3 < all.size() ? "Link: <" + next + ">; rel=\"next\"\r\n" : ""));
    return true;
  };
  site.fetch();
  CHECK(site.hub.server().count("/tree/") == (all.size() + 2) / 3);
  std::filesystem::remove_all(site.environment.cache);
  link = "http://127.0.0.2:1/api";  // another host
  CHECK(refused(site, link) == ErrorKind::network);
  link = site.hub.url() + "/api/kernels/" + repository + "/tree/" + commit + "/build?recursive=true";  // itself, for ever
  CHECK(refused(site, link) == ErrorKind::integrity);
  link = "not an address";
  CHECK(refused(site, link) == ErrorKind::network);
}

TEST_CASE("branches that are none") {
  Site site;
  for (const char *refs :
       {"[]", "{}", "{\"branches\":1}", "{\"branches\":[{\"name\":\"v1\"}]}", "{\"branches\":[{\"name\":1,\"targetCommit\":\"x\"}]}"}) {
    site.hub.refs = refs;
    CHECK_NOTHROW(refused(site, refs));
  }
  site.hub.refs.clear();
  for (const char *target : {"", "../../x", "main", "cccccccccccccccccccccccccccccccccccccccC"}) {
    site.hub.branches = {{"v1", target}};
    CHECK(refused(site, target) == ErrorKind::integrity);
  }
}
