// Which variable decides what.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "hub_client/environment.h"

#include <doctest/doctest.h>

#include "manifest/tests/support.h"

using namespace lamina;
using manifest::test::error_of;
using manifest::test::has;

namespace {

class Variables {  // nothing but these is set
 public:
  Variables(std::initializer_list<std::pair<const char *, std::string>> values) {
    for (const char *name :
         {"HF_ENDPOINT", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE",
          "KERNELS_CACHE", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "LOCAL_KERNELS", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE",
          "CURL_CA_BUNDLE", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "HF_HUB_DISABLE_IMPLICIT_TOKEN", "HF_HUB_DISABLE_PROGRESS_BARS"})
      unsetenv(name);
    setenv("HOME", (home.path() / "home").c_str(), 1);
    for (const auto &[name, value] : values) setenv(name, value.c_str(), 1);
  }
  manifest::test::Folder home;
};

}  // namespace

TEST_CASE("defaults") {
  const Variables variables({});
  const hub::Environment environment = hub::read_environment();
  CHECK(environment.endpoint == "https://huggingface.co");
  CHECK(environment.cache == variables.home / "home/.cache/huggingface/hub");
  CHECK(environment.trust_file == variables.home / "home/.config/lamina/trust.json");
  CHECK(environment.token.empty());
  CHECK(!environment.offline);
  CHECK(environment.local_kernels.empty());
}

TEST_CASE("endpoint") {
  CHECK((Variables({{"HF_ENDPOINT", "http://127.0.0.1:8080//"}}), hub::read_environment()).endpoint == "http://127.0.0.1:8080");
  CHECK((Variables({{"HF_ENDPOINT", ""}}), hub::read_environment()).endpoint == "https://huggingface.co");
  const Variables wrong({{"HF_ENDPOINT", "ftp://hub"}});
  CHECK(has(error_of(ErrorKind::invalid_argument, [] { hub::read_environment(); }), "HF_ENDPOINT is 'ftp://hub'"));
}

TEST_CASE("cache: KERNELS_CACHE, HF_HUB_CACHE, HUGGINGFACE_HUB_CACHE, HF_HOME, XDG_CACHE_HOME") {
  const auto cache = [] { return hub::read_environment().cache.string(); };
  const Variables variables(
      {{"KERNELS_CACHE", "/k"}, {"HF_HUB_CACHE", "/c"}, {"HUGGINGFACE_HUB_CACHE", "/d"}, {"HF_HOME", "/h"}, {"XDG_CACHE_HOME", "/x"}});
  CHECK(cache() == "/k");
  CHECK(hub::read_environment().sources.at("cache") == "KERNELS_CACHE");
  setenv("KERNELS_CACHE", "", 1);  // empty is unset
  CHECK(cache() == "/c");
  unsetenv("HF_HUB_CACHE");
  CHECK(cache() == "/d");
  unsetenv("HUGGINGFACE_HUB_CACHE");
  CHECK(cache() == "/h/hub");
  CHECK(hub::read_environment().sources.at("cache") == "HF_HOME");
  unsetenv("HF_HOME");
  CHECK(cache() == "/x/huggingface/hub");
  setenv("HF_HUB_CACHE", "~/mine", 1);
  CHECK(cache() == (variables.home / "home/mine").string());
  unsetenv("HOME");
  error_of(ErrorKind::invalid_argument, [] { hub::read_environment(); });
}

TEST_CASE("token: HF_TOKEN, HUGGING_FACE_HUB_TOKEN, file") {
  const Variables variables({{"HF_TOKEN", " hf_one\n"}, {"HUGGING_FACE_HUB_TOKEN", "hf_two"}});
  manifest::test::write(variables.home / "home/.cache/huggingface/token", "hf_three\n");
  manifest::test::write(variables.home / "elsewhere", "hf_four\n");
  CHECK(hub::read_environment().token == "hf_one");
  CHECK(hub::read_environment().token_source == "HF_TOKEN");
  unsetenv("HF_TOKEN");
  CHECK(hub::read_environment().token == "hf_two");
  unsetenv("HUGGING_FACE_HUB_TOKEN");
  CHECK(hub::read_environment().token == "hf_three");
  CHECK(has(hub::read_environment().token_source, "huggingface/token"));
  setenv("HF_TOKEN_PATH", (variables.home / "elsewhere").c_str(), 1);
  CHECK(hub::read_environment().token == "hf_four");
  setenv("HF_HUB_DISABLE_IMPLICIT_TOKEN", "1", 1);
  CHECK(hub::read_environment().token.empty());
}

TEST_CASE("a token that would break a header line is refused, and not shown") {
  const Variables variables({{"HF_TOKEN", "hf_one\r\nX-Evil: 1"}});
  CHECK(!has(error_of(ErrorKind::invalid_argument, [] { hub::read_environment(); }), "hf_one"));
}

TEST_CASE("offline: the words of the Python library") {
  for (const char *word : {"1", "ON", "on", "Yes", "true", "TRUE"})
    CHECK_MESSAGE((Variables({{"HF_HUB_OFFLINE", word}}), hub::read_environment()).offline, word);
  for (const char *word : {"", "0", "no", "off", "2"})
    CHECK_MESSAGE(!(Variables({{"HF_HUB_OFFLINE", word}}), hub::read_environment()).offline, word);
  CHECK((Variables({{"TRANSFORMERS_OFFLINE", "1"}}), hub::read_environment()).offline);
}

TEST_CASE("LOCAL_KERNELS") {
  const Variables variables({{"LOCAL_KERNELS", "org/a=/one:org/b=~/two:"}});
  const hub::Environment environment = hub::read_environment();
  CHECK(environment.local_kernels.size() == 2);
  CHECK(environment.local_kernels.at("org/a") == "/one");
  CHECK(environment.local_kernels.at("org/b") == variables.home / "home/two");
  setenv("LOCAL_KERNELS", "org/a", 1);
  CHECK(has(error_of(ErrorKind::invalid_argument, [] { hub::read_environment(); }), "'org/a' is not ORG/NAME=FOLDER"));
}

TEST_CASE("CA file: the first of three names") {
  const Variables variables({{"SSL_CERT_FILE", "/a"}, {"REQUESTS_CA_BUNDLE", "/b"}, {"CURL_CA_BUNDLE", "/c"}});
  CHECK(hub::read_environment().ca_file == "/a");
  unsetenv("SSL_CERT_FILE");
  CHECK(hub::read_environment().ca_file == "/b");
  unsetenv("REQUESTS_CA_BUNDLE");
  CHECK(hub::read_environment().ca_file == "/c");
}
