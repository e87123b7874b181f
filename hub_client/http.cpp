#include "hub_client/http.h"

#include <curl/curl.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <ctime>
#include <memory>
#include <mutex>
#include <optional>
#include <random>
#include <thread>

#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::hub {
namespace {

constexpr int max_redirects = 10;
constexpr int max_tries = 5;    // without a new byte in between
constexpr int max_pieces = 50;  // a body that arrives in more pieces than this is somebody's game
constexpr size_t max_header_bytes = 64 << 10, max_error_page = 64 << 10;
constexpr int timeouts_in_all = 6;  // a request may take so many of the environment's time-outs, waiting and trying again included,
constexpr uint64_t slowest_transfer = 16384;  // and a second more for so many bytes of a file

using Clock = std::chrono::steady_clock;

// The number that a header's value begins with; nothing when there is none.
std::optional<uint64_t> number_of(std::string_view text) {
  uint64_t number = 0;
  const auto read = std::from_chars(text.data(), text.data() + text.size(), number);
  if (read.ptr == text.data()) return std::nullopt;
  return read.ec == std::errc() ? number : UINT64_MAX;
}

struct Transfer {  // one exchange on the wire
  explicit Transfer(const HttpRequest &given) : request(given) {}
  const HttpRequest &request;
  HttpAnswer answer;
  size_t header_bytes = 0;
  uint64_t offset = 0, body_bytes = 0;  // where the range that was asked for begins; what came
  bool begun = false;
  std::string problem;
  std::exception_ptr thrown;  // by the sink: must not cross libcurl

  // Before the first byte of a body: is it what was asked for?
  void begin() {
    begun = true;
    const std::string coding = answer.header("content-encoding"), range = answer.header("content-range");
    if (!coding.empty() && coding != "identity") problem = "the body is compressed, which was not asked for";
    const bool part = answer.status == 206;
    if (part && !request.headers.contains("Range") && (!request.sink || !range.starts_with("bytes " + std::to_string(offset) + "-")))
      problem = "the server sends another part of the file than was asked for";
    const size_t slash = range.find('/');
    if (const auto total = number_of(slash == std::string::npos ? "" : range.substr(slash + 1));
        part && total.value_or(0) > request.max_bytes)
      too_long();
    if (offset && !part && request.sink) {  // it sends the whole file
      offset = 0;
      request.restart();
    }
    if (const auto length = number_of(answer.header("content-length")); length && *length > room()) too_long();
  }
  // The body may still be as long as this, behind what is held.
  uint64_t room() const { return request.max_bytes - std::min(offset, request.max_bytes); }
  void too_long() { problem = "the body is longer than " + std::to_string(request.max_bytes) + " bytes"; }
  // Two lengths, or a length beside chunks, are how one server hides from another what it sends.
  void check_framing(const std::string &name, const std::string &value) {
    if (name == "content-length" && answer.headers.contains(name) && answer.header(name) != value) problem = "the answer has two lengths";
    if ((name == "content-length" && answer.headers.contains("transfer-encoding")) ||
        (name == "transfer-encoding" && answer.headers.contains("content-length")))
      problem = "the answer has both a length and a transfer encoding";
  }
};

size_t on_header(char *data, size_t, size_t size, void *to) {
  Transfer &transfer = *static_cast<Transfer *>(to);
  if ((transfer.header_bytes += size) > max_header_bytes) return transfer.problem = "the headers are too long", 0;
  std::string line(data, size);
  if (line.starts_with("HTTP/")) {  // perhaps 100 Continue, then the answer
    transfer.answer.headers.clear();
    const size_t space = line.find(' ');
    transfer.answer.status = space == std::string::npos ? 0 : std::atoi(line.c_str() + space);
  }
  const size_t colon = line.find(':');
  if (colon == std::string::npos) return size;
  std::string name = line.substr(0, colon), value = line.substr(colon + 1);
  std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  value.erase(0, value.find_first_not_of(" \t"));
  value.erase(value.find_last_not_of(" \t\r\n") + 1);
  transfer.check_framing(name, value);
  if (!transfer.problem.empty()) return 0;
  transfer.answer.headers[name] = value;
  return size;
}

size_t on_body(char *data, size_t, size_t size, void *to) {
  Transfer &transfer = *static_cast<Transfer *>(to);
  try {
    const bool ok = transfer.answer.ok(), to_sink = transfer.request.sink && ok;
    if (ok && !transfer.begun) transfer.begin();
    if (!transfer.problem.empty()) return 0;
    if (!ok) {  // a page that says what went wrong: its beginning is enough
      const size_t room = max_error_page - std::min(max_error_page, transfer.answer.body.size());
      transfer.answer.body.append(data, std::min(size, room));
      return room > size ? size : 0;
    }
    if ((transfer.body_bytes += size) > transfer.room()) return transfer.too_long(), 0;
    if (to_sink) transfer.request.sink({data, size});
    else transfer.answer.body.append(data, size);
    return size;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return 0;
  }
}

struct Curl {
  CURL *handle = curl_easy_init();
  curl_slist *headers = nullptr;
  ~Curl() { curl_slist_free_all(headers), curl_easy_cleanup(handle); }
  void header(const std::string &line) { headers = curl_slist_append(headers, line.c_str()); }
};

void start_curl() {
  static std::once_flag once;
  std::call_once(once, [] { curl_global_init(CURL_GLOBAL_DEFAULT); });
}

bool is_loopback(const std::string &origin) {
  return origin.starts_with("http://127.") || origin.starts_with("http://localhost:") || origin.starts_with("http://[::1]:");
}

// One exchange with one address, no redirect followed, for so many milliseconds at most.
CURLcode exchange(const HttpRequest &request, const std::string &url, const Environment &environment, long milliseconds, Transfer &transfer,
                  std::string &why) {
  Curl curl;
  const auto set = [&](auto option, auto value) { curl_easy_setopt(curl.handle, option, value); };
  char text[CURL_ERROR_SIZE] = {};
  set(CURLOPT_ERRORBUFFER, text);
  set(CURLOPT_URL, url.c_str());
  set(CURLOPT_PROTOCOLS_STR, "http,https");
  set(CURLOPT_FOLLOWLOCATION, 0L);
  set(CURLOPT_NOSIGNAL, 1L);
  set(CURLOPT_BUFFERSIZE, 512L << 10);  // fewer, longer pieces to hash and write
  set(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  set(CURLOPT_TIMEOUT_MS, milliseconds);
  set(CURLOPT_CONNECTTIMEOUT, environment.timeout_seconds);
  set(CURLOPT_LOW_SPEED_LIMIT, 64L);  // less than this for that long: the other side is gone
  set(CURLOPT_LOW_SPEED_TIME, environment.timeout_seconds);
  set(CURLOPT_HEADERFUNCTION, on_header), set(CURLOPT_HEADERDATA, &transfer);
  set(CURLOPT_WRITEFUNCTION, on_body), set(CURLOPT_WRITEDATA, &transfer);
  set(CURLOPT_USERAGENT, "lamina");
  if (!environment.ca_file.empty()) set(CURLOPT_CAINFO, environment.ca_file.c_str());
  if (request.method == "HEAD") set(CURLOPT_NOBODY, 1L);
  else if (request.method != "GET") {
    set(CURLOPT_CUSTOMREQUEST, request.method.c_str());
    set(CURLOPT_POSTFIELDSIZE_LARGE, static_cast<curl_off_t>(request.body.size()));
    set(CURLOPT_POSTFIELDS, request.body.data());
  }
  if (transfer.offset) curl.header("Range: bytes=" + std::to_string(transfer.offset) + "-");
  for (const auto &[name, value] : request.headers) curl.header(name + ": " + value);
  curl.header("Accept-Encoding: identity");
  curl.header("Expect:");
  if (request.authorise && !environment.token.empty() && origin_of(url) == origin_of(environment.endpoint)) {
    curl.header("Authorization: Bearer " + environment.token);
    if (url.starts_with("http:")) set(CURLOPT_PROXY, "");  // it would read the token
  }
  set(CURLOPT_HTTPHEADER, curl.headers);
  const CURLcode code = curl_easy_perform(curl.handle);
  long status = 0;
  curl_easy_getinfo(curl.handle, CURLINFO_RESPONSE_CODE, &status);
  transfer.answer.status = static_cast<int>(status);
  why = transfer.problem.empty() ? (text[0] ? text : curl_easy_strerror(code)) : transfer.problem;
  // libcurl has a bound of its own for one header line; newer ones say so by code 100, CURLE_TOO_LARGE.
  if (transfer.problem.empty() && (code == CURLE_OUT_OF_MEMORY || static_cast<int>(code) == 100))
    transfer.problem = "the headers are too long";
  const bool enough = code == CURLE_WRITE_ERROR && transfer.answer.body.size() == max_error_page && !transfer.answer.ok();
  return enough ? CURLE_OK : code;
}

bool is_transient(int status) { return status == 408 || status == 429 || status == 500 || status == 502 || status == 503 || status == 504; }
bool may_repeat(const HttpRequest &request) { return request.method != "POST"; }

// What a server asks to be waited for: Retry-After in seconds or as a date, or RateLimit ("api";r=0;t=30).
std::optional<double> asked_to_wait(const HttpAnswer &answer) {
  const std::string after = answer.header("retry-after"), rate = answer.header("ratelimit");
  if (!after.empty() && after.find_first_not_of("0123456789") == std::string::npos) return static_cast<double>(*number_of(after));
  if (const std::time_t date = curl_getdate(after.c_str(), nullptr); !after.empty() && date > 0)
    return std::max(0.0, std::difftime(date, std::time(nullptr)));
  const size_t time = rate.find(";t=");
  if (answer.status != 429 || rate.find(";r=0") == std::string::npos || time == std::string::npos) return std::nullopt;
  if (const auto seconds = number_of(std::string_view(rate).substr(time + 3))) return static_cast<double>(*seconds) + 1;
  return std::nullopt;
}

// Doubling from a quarter second, scattered so that many ranks do not come back at once; or what the server asks for.  Errors: network
// when that is later than `deadline`.
void wait_before(int attempt, const HttpAnswer &answer, const std::string &url, Clock::time_point deadline) {
  std::random_device source;
  double seconds = 0.25 * (1 << attempt) * std::uniform_real_distribution(0.5, 1.0)(source);
  const double left = std::chrono::duration<double>(deadline - Clock::now()).count();
  if (const auto asked = asked_to_wait(answer)) {
    seconds = *asked;
    if (seconds > left)
      throw Error(ErrorKind::network, shown_url(url) + " answers " + std::to_string(answer.status) + " and asks to try again in " +
                                          std::to_string(static_cast<uint64_t>(std::min(seconds, 1e15))) + " s; try again then");
  }
  std::this_thread::sleep_for(std::chrono::duration<double>(std::clamp(seconds, 0.0, std::max(left, 0.0))));
}

// When a request must have ended, whatever the other side does.
Clock::time_point deadline_of(const HttpRequest &request, const Environment &environment) {
  const uint64_t bytes = request.body.size() + (request.sink ? request.max_bytes : 0);
  return Clock::now() + std::chrono::seconds(timeouts_in_all * environment.timeout_seconds) +
         std::chrono::seconds(bytes / slowest_transfer);
}

}  // namespace

std::string HttpAnswer::header(const std::string &name) const {
  const auto found = headers.find(name);
  return found == headers.end() ? "" : found->second;
}

std::string origin_of(const std::string &url) {
  const std::unique_ptr<CURLU, void (*)(CURLU *)> parsed(curl_url(), curl_url_cleanup);
  if (std::any_of(url.begin(), url.end(), [](unsigned char c) { return c <= 0x20 || c == 0x7f || c == '\\'; })) return "";
  if (curl_url_set(parsed.get(), CURLUPART_URL, url.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK) return "";
  const auto part = [&](CURLUPart which, unsigned flags) {
    char *text = nullptr;
    std::string value;
    if (curl_url_get(parsed.get(), which, &text, flags) == CURLUE_OK) value = text;
    curl_free(text);
    std::transform(value.begin(), value.end(), value.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    return value;
  };
  const std::string scheme = part(CURLUPART_SCHEME, 0);
  if (scheme != "http" && scheme != "https") return "";
  return scheme + "://" + part(CURLUPART_HOST, 0) + ":" + part(CURLUPART_PORT, CURLU_DEFAULT_PORT);
}

std::string resolved_location(const std::string &base, const std::string &location) {
  const std::unique_ptr<CURLU, void (*)(CURLU *)> parsed(curl_url(), curl_url_cleanup);
  if (curl_url_set(parsed.get(), CURLUPART_URL, base.c_str(), 0) != CURLUE_OK) return "";
  if (curl_url_set(parsed.get(), CURLUPART_URL, location.c_str(), CURLU_DISALLOW_USER) != CURLUE_OK) return "";
  char *text = nullptr;
  std::string url;
  if (curl_url_get(parsed.get(), CURLUPART_URL, &text, 0) == CURLUE_OK) url = text;
  curl_free(text);
  return origin_of(url).empty() ? "" : url;
}

std::string shown_url(const std::string &url) { return url.substr(0, url.find_first_of("?#")); }

namespace {

[[noreturn]] void throw_unreachable(CURLcode code, const std::string &url, const std::string &why, bool too_late) {
  if (too_late && code == CURLE_OPERATION_TIMEDOUT)
    throw Error(ErrorKind::network,
                shown_url(url) + " did not answer in time: " + why +
                    "; try again, or let HF_HUB_DOWNLOAD_TIMEOUT say more seconds.  HF_HUB_OFFLINE=1 takes what the cache has");
  std::string fix = "check the connection, the proxy (https_proxy, no_proxy) and HF_ENDPOINT";
  if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CACERT_BADFILE)
    fix = "check this machine's clock; behind a proxy that inspects, let SSL_CERT_FILE name its certificate";
  throw Error(ErrorKind::network,
              "cannot reach " + shown_url(url) + ": " + why + "; " + fix + ".  HF_HUB_OFFLINE=1 takes what the cache has");
}

// What is not encrypted goes to this machine alone.
void refuse_plain(const std::string &url) {
  if (!url.starts_with("https:") && !is_loopback(origin_of(url)))
    throw Error(ErrorKind::network, shown_url(url) + " is not encrypted; plain http is spoken with this machine alone");
}

// Where an answer leads, or "" when it is the final one.  Errors: network for a redirect that is refused.
std::string redirect_of(const HttpRequest &request, const std::string &url, const HttpAnswer &answer) {
  const int status = answer.status;
  const bool moved = status == 301 || status == 302 || status == 303 || status == 307 || status == 308;
  if (!moved || !answer.headers.contains("location")) return "";
  if (request.method != "GET" && request.method != "HEAD")
    throw Error(ErrorKind::network, shown_url(url) + " redirects a " + request.method + ", which is not followed");
  const std::string location = answer.header("location"), next = location.empty() ? "" : resolved_location(url, location);
  if (next.empty() || (url.starts_with("https:") && !next.starts_with("https:")))
    throw Error(ErrorKind::network, shown_url(url) + " redirects to an address that is refused");
  if (next.starts_with("http:") && !is_loopback(origin_of(next)))
    throw Error(ErrorKind::network, shown_url(url) + " redirects to plain http on another machine");
  return next;
}

}  // namespace

HttpAnswer Http::send(const HttpRequest &request) const {
  std::string url = request.url.starts_with("/") ? environment_.endpoint + request.url : request.url;
  if (environment_.offline)
    throw Error(ErrorKind::offline, "the network is switched off (HF_HUB_OFFLINE), and " + shown_url(url) + " is needed");
  if (origin_of(environment_.endpoint).starts_with("http://") && !is_loopback(origin_of(environment_.endpoint)))
    throw Error(ErrorKind::network, environment_.endpoint + " is not encrypted; plain http is spoken with this machine alone");
  if (!request.url.starts_with("/")) refuse_plain(url);
  for (const auto &[name, value] : request.headers)  // a hub may have named them
    if ((name + value).find_first_of(std::string("\r\n\0", 3)) != std::string::npos || name.find_first_of(": ") != std::string::npos)
      throw Error(ErrorKind::malformed, "a header that the hub asks for has a line break in it");
  start_curl();
  uint64_t best = 0;
  const Clock::time_point deadline = deadline_of(request, environment_);
  for (int hop = 0, attempt = 0, pieces = 0;;) {
    if (origin_of(url).empty()) throw Error(ErrorKind::network, "'" + shown_url(url) + "' is no address of a hub");
    Transfer transfer(request);
    if (request.held) transfer.offset = request.held();
    std::string why;
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()).count();
    const CURLcode code = exchange(request, url, environment_, std::max<long>(left, 1), transfer, why);
    const bool too_late = Clock::now() >= deadline;
    if (transfer.thrown) std::rethrow_exception(transfer.thrown);
    if (!transfer.problem.empty()) throw Error(ErrorKind::integrity, shown_url(url) + ": " + transfer.problem);
    const int status = transfer.answer.status;
    const bool wrong_range = status == 416 && transfer.offset > 0;  // what is held is no beginning of this file
    if (const uint64_t held = request.held ? request.held() : 0; held > best && !wrong_range) best = held, attempt = 0;
    const bool again = code != CURLE_OK || is_transient(status) || wrong_range;
    if (again && !too_late && may_repeat(request) && ++attempt < max_tries && ++pieces < max_pieces &&
        code != CURLE_PEER_FAILED_VERIFICATION && code != CURLE_COULDNT_RESOLVE_HOST) {
      if (request.restart && (wrong_range || !request.held)) request.restart();
      wait_before(attempt, transfer.answer, url, deadline);
      continue;
    }
    if (code != CURLE_OK) throw_unreachable(code, url, why, too_late);
    const std::string next = redirect_of(request, url, transfer.answer);
    if (next.empty()) return transfer.answer;
    if (++hop > max_redirects) throw Error(ErrorKind::network, shown_url(request.url) + ": more than 10 redirects");
    url = next;
  }
}

// What the hub says went wrong, on one line.
static std::string words_of(const HttpAnswer &answer) {
  std::string words = answer.header("x-error-message");
  try {
    if (words.empty() && answer.body.starts_with('{')) {
      const manifest::Json page = manifest::parse_json(answer.body, "", {max_error_page, 16, true});
      if (page.contains("error") && page["error"].is_string()) words = page["error"].get<std::string>();
    }
  } catch (const Error &) {}  // no JSON: the status says enough
  std::erase_if(words, [](unsigned char c) { return c < 0x20 || c >= 0x7f; });
  return words.substr(0, 300);
}

void throw_status(const HttpAnswer &answer, const std::string &what, const Environment &environment) {
  const std::string words = words_of(answer);
  const std::string code = answer.header("x-error-code");
  const std::string end = words.empty() ? " (HTTP " + std::to_string(answer.status) + ")" : ": " + words;
  if (answer.status == 404 || code == "RepoNotFound")
    throw Error(ErrorKind::not_found, what + " was not found at " + environment.endpoint + end +
                                          (environment.token.empty() ? "; a private one needs HF_TOKEN" : ""));
  if (answer.status == 401 || answer.status == 403)
    throw Error(ErrorKind::permission,
                what + ": the hub refuses access" +
                    (environment.token.empty() ? ", and no token was sent" : ", with the token of " + environment.token_source) + end);
  if (answer.status == 409 || answer.status == 412) throw Error(ErrorKind::conflict, what + end);
  if (answer.status == 429) throw Error(ErrorKind::network, what + ": the hub says too many requests" + end + "; try again later");
  throw Error(ErrorKind::network, what + " failed" + end);
}

HttpAnswer Http::expect(const HttpRequest &request, const std::string &what) const {
  HttpAnswer answer = send(request);
  if (!answer.ok()) throw_status(answer, what, environment_);
  return answer;
}

}  // namespace lamina::hub
