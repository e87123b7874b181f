#include "hub_client/environment.h"

#include <algorithm>
#include <cstdlib>

#include "manifest/error.h"
#include "manifest/files.h"

namespace lamina::hub {
namespace {

namespace fs = std::filesystem;

std::string variable(const char *name) {
  const char *value = std::getenv(name);
  return value ? value : "";  // empty counts as unset, as in the Python libraries
}

// The first of the variables that is set; remembers which.
std::string first_of(Environment &environment, const std::string &setting, std::initializer_list<const char *> names) {
  for (const char *name : names)
    if (const std::string value = variable(name); !value.empty()) return environment.sources[setting] = name, value;
  environment.sources[setting] = "default";
  return "";
}

fs::path expanded(const std::string &path) {
  if (path != "~" && !path.starts_with("~/")) return path;
  const std::string home = variable("HOME");
  if (home.empty()) throw Error(ErrorKind::invalid_argument, "'" + path + "' needs HOME, which is not set");
  return home + path.substr(1);
}

bool truth(std::string value) {
  std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

std::string trimmed(std::string text) {
  const auto space = [](unsigned char c) { return std::isspace(c) != 0; };
  text.erase(std::find_if_not(text.rbegin(), text.rend(), space).base(), text.end());
  text.erase(text.begin(), std::find_if_not(text.begin(), text.end(), space));
  return text;
}

fs::path under_home(const std::string &override_value, const char *folder) {
  if (!override_value.empty()) return expanded(override_value);
  return expanded("~") / folder;
}

// A token stands in a header line; one with a line break in it would write further headers.
void check_token(const Environment &environment) {
  if (std::any_of(environment.token.begin(), environment.token.end(), [](unsigned char c) { return c <= 0x20 || c >= 0x7f; }))
    throw Error(ErrorKind::invalid_argument, "the token of " + environment.token_source + " holds a character that no token has");
}

void read_token(Environment &environment, const fs::path &hf_home) {
  if (truth(variable("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return;
  environment.token = trimmed(first_of(environment, "token", {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
  environment.token_source = environment.sources["token"];
  if (!environment.token.empty()) return check_token(environment);
  const std::string named = variable("HF_TOKEN_PATH");
  const fs::path file = named.empty() ? hf_home / "token" : expanded(named);
  if (!fs::exists(file)) return;
  environment.token = trimmed(manifest::read_file(file, 4096));
  environment.token_source = environment.sources["token"] = file.string();
  check_token(environment);
}

// HF_HUB_DOWNLOAD_TIMEOUT as the Python library reads it: whole seconds.
long timeout_of(const std::string &text) {
  if (text.empty()) return Environment().timeout_seconds;
  if (text.size() > 4 || text.find_first_not_of("0123456789") != std::string::npos || std::stol(text) == 0)
    throw Error(ErrorKind::invalid_argument, "HF_HUB_DOWNLOAD_TIMEOUT is '" + text + "', expected seconds from 1 to 9999");
  return std::stol(text);
}

}  // namespace

Environment read_environment() {
  Environment environment;
  if (std::string endpoint = first_of(environment, "endpoint", {"HF_ENDPOINT"}); !endpoint.empty()) {
    while (endpoint.ends_with('/')) endpoint.pop_back();
    if (!endpoint.starts_with("https://") && !endpoint.starts_with("http://"))
      throw Error(ErrorKind::invalid_argument, "HF_ENDPOINT is '" + endpoint + "', expected an address that begins with https://");
    environment.endpoint = endpoint;
  }
  const std::string hf_home_given = variable("HF_HOME"), xdg_cache = variable("XDG_CACHE_HOME");
  const fs::path hf_home = !hf_home_given.empty() ? expanded(hf_home_given) : under_home(xdg_cache, ".cache") / "huggingface";
  const std::string cache = first_of(environment, "cache", {"KERNELS_CACHE", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  environment.cache = cache.empty() ? hf_home / "hub" : expanded(cache);
  if (cache.empty() && !hf_home_given.empty()) environment.sources["cache"] = "HF_HOME";
  environment.offline = truth(variable("HF_HUB_OFFLINE")) || truth(variable("TRANSFORMERS_OFFLINE"));
  environment.no_progress = truth(variable("HF_HUB_DISABLE_PROGRESS_BARS"));
  environment.timeout_seconds = timeout_of(first_of(environment, "time-out", {"HF_HUB_DOWNLOAD_TIMEOUT"}));
  environment.ca_file = first_of(environment, "CA file", {"SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"});
  environment.trust_file = under_home(variable("XDG_CONFIG_HOME"), ".config") / "lamina" / "trust.json";
  environment.state = under_home(variable("XDG_STATE_HOME"), ".local/state") / "lamina";
  read_token(environment, hf_home);
  std::string local = variable("LOCAL_KERNELS");
  for (size_t at = 0; at < local.size();) {
    const size_t colon = std::min(local.find(':', at), local.size());
    const std::string entry = local.substr(at, colon - at);
    if (const size_t equals = entry.find('='); equals != std::string::npos)
      environment.local_kernels[entry.substr(0, equals)] = expanded(entry.substr(equals + 1));
    else if (!entry.empty()) throw Error(ErrorKind::invalid_argument, "LOCAL_KERNELS: '" + entry + "' is not ORG/NAME=FOLDER");
    at = colon + 1;
  }
  return environment;
}

}  // namespace lamina::hub
