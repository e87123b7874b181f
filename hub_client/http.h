// HTTP to a hub: bounded, no byte trusted, the token to the endpoint's own origin alone.
#pragma once
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "hub_client/environment.h"

namespace lamina::hub {

struct HttpRequest {
  std::string method = "GET";
  std::string url;  // absolute, or a path below the endpoint
  std::map<std::string, std::string> headers;
  std::string body;
  uint64_t max_bytes = 32 << 20;  // of the answer's body; more is Error(integrity)
  // Where a successful answer's body goes instead of HttpAnswer::body.  Called again from the start after a retry, unless `held` is
  // there: then only what is missing is asked for.
  std::function<void(std::string_view)> sink;
  std::function<void()> restart;  // forget what sink got
  bool authorise = true;          // send the token, if the origin is the endpoint's
  // How many bytes the sink holds already: a Range request asks for the rest.  A server that sends all of it instead, or another part,
  // makes it start again by `restart`.
  std::function<uint64_t()> held = {};
};

struct HttpAnswer {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case; of the final answer
  std::string body;
  bool ok() const { return status >= 200 && status < 300; }
  std::string header(const std::string &name) const;
};

class Http {
 public:
  explicit Http(const Environment &environment) : environment_(environment) {}
  // Follows redirects by its own rules (at most 10, never from https to http, no user info), retries transient failures, times out when
  // nothing moves.  Any final status is an answer.  Errors: offline, network, integrity.  [thread-safe]
  HttpAnswer send(const HttpRequest &request) const;
  // send(), and Error(not_found, permission, network, conflict) with the hub's own words unless the status is 2xx.
  HttpAnswer expect(const HttpRequest &request, const std::string &what) const;
  const Environment &environment() const { return environment_; }

 private:
  Environment environment_;
};

// "https://host:port" in lower case with the port always there; empty when it is no http(s) URL, or carries user info or control characters.
std::string origin_of(const std::string &url);
// Without query and fragment, which may hold a signature: what messages show.
std::string shown_url(const std::string &url);
// RFC 3986 for the forms a hub sends: absolute, //host/..., /path, relative.  Keeps the query.  Empty when it makes no sense.
std::string resolved_location(const std::string &base, const std::string &location);
[[noreturn]] void throw_status(const HttpAnswer &answer, const std::string &what, const Environment &environment);

}  // namespace lamina::hub
