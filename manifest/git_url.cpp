#include "manifest/git_url.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstdint>
#include <string>
#include <vector>

namespace lamina::manifest {
namespace {

constexpr std::string_view forbidden_in_host("\0\t\n\r #/:<>?@[\\]^|", 17);

bool is_digit(char c) { return c >= '0' && c <= '9'; }
int hex_digit(char c) { return is_digit(c) ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1; }
bool is_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

std::string percent_decoded(std::string_view text) {
  std::string decoded;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool escape = text[i] == '%' && i + 2 < text.size() && hex_digit(text[i + 1]) >= 0 && hex_digit(text[i + 2]) >= 0;
    decoded += escape ? static_cast<char>(hex_digit(text[i + 1]) * 16 + hex_digit(text[i + 2])) : text[i];
    if (escape) i += 2;
  }
  return decoded;
}

std::vector<std::string> labels_of(const std::string &host) {
  std::vector<std::string> labels(1);
  for (const char c : host) c == '.' ? labels.emplace_back() : labels.back() += c, void();
  return labels;
}

// A part of an IPv4 address: decimal, octal with a leading 0, hexadecimal with 0x.  False when it is no number below 2^32.
bool ipv4_number(std::string text, uint64_t &value) {
  int base = 10;
  if (text.size() >= 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) base = 16, text.erase(0, 2);
  else if (text.size() >= 2 && text[0] == '0') base = 8, text.erase(0, 1);
  value = 0;
  for (const char c : text) {
    const int digit = hex_digit(c);
    if (digit < 0 || digit >= base) return false;
    value = std::min<uint64_t>(value * static_cast<uint64_t>(base) + static_cast<uint64_t>(digit), uint64_t{1} << 32);
  }
  return true;
}

// A host whose last label looks like a number must be an IPv4 address.
bool good_ipv4_or_name(const std::string &host) {
  std::vector<std::string> labels = labels_of(host);
  if (labels.back().empty() && labels.size() > 1) labels.pop_back();
  const std::string &last = labels.back();
  const bool digits = !last.empty() && std::all_of(last.begin(), last.end(), is_digit);
  uint64_t value = 0;
  const bool hex = last.size() >= 2 && last[0] == '0' && (last[1] == 'x' || last[1] == 'X') && ipv4_number(last, value);
  if (!digits && !hex) return true;
  if (labels.size() > 4) return false;
  for (size_t i = 0; i < labels.size(); ++i) {
    if (labels[i].empty() || !ipv4_number(labels[i], value)) return false;
    const bool final_one = i + 1 == labels.size();
    if (value >= (final_one ? uint64_t{1} << 8 * (5 - labels.size()) : 256)) return false;
  }
  return true;
}

bool good_host(std::string_view host, bool special) {
  if (host.starts_with('[')) {
    in6_addr address;
    return host.ends_with(']') && inet_pton(AF_INET6, std::string(host.substr(1, host.size() - 2)).c_str(), &address) == 1;
  }
  if (!special) return host.find_first_of(forbidden_in_host) == std::string_view::npos;
  const std::string name = percent_decoded(host);
  const bool forbidden = name.find_first_of(forbidden_in_host) != std::string::npos || name.find('%') != std::string::npos ||
                         std::any_of(name.begin(), name.end(), [](unsigned char c) { return c < 0x20 || c == 0x7f; });
  return !name.empty() && !forbidden && good_ipv4_or_name(name);
}

bool good_authority(std::string_view authority, bool special) {
  const size_t at = authority.rfind('@');
  const bool credentials = at != std::string_view::npos;
  std::string_view host = credentials ? authority.substr(at + 1) : authority;
  const size_t bracket = host.rfind(']'), colon = host.find(':', host.starts_with('[') && bracket != std::string_view::npos ? bracket : 0);
  if (colon != std::string_view::npos) {
    const std::string_view port =
        host.substr(colon + 1, host.find('\\', colon) - colon - 1);  // a backslash ends a port, whatever the scheme
    if (!std::all_of(port.begin(), port.end(), is_digit)) return false;
    uint64_t number = 0;
    for (const char c : port) number = std::min<uint64_t>(number * 10 + static_cast<uint64_t>(c - '0'), 1 << 20);
    if (number > 65535) return false;
    host = host.substr(0, colon);
    if (host.empty()) return false;
  }
  if (host.empty()) return !special && !credentials;
  return good_host(host, special);
}

enum class Verdict { good, bad, other_scheme };

// file: has no port and no credentials, and a drive letter is a path.
bool good_file(std::string_view rest) {
  const auto slash = [](char c) { return c == '/' || c == '\\'; };
  if (rest.size() < 2 || !slash(rest[0]) || !slash(rest[1])) return true;
  const std::string_view host = rest.substr(2, rest.find_first_of("/\\?#", 2) - 2);
  const bool drive = host.size() == 2 && is_letter(host[0]) && (host[1] == ':' || host[1] == '|');
  return host.empty() || drive || good_host(host, true);
}

Verdict judge_url(std::string_view given) {
  while (!given.empty() && static_cast<unsigned char>(given.front()) <= 0x20) given.remove_prefix(1);
  while (!given.empty() && static_cast<unsigned char>(given.back()) <= 0x20) given.remove_suffix(1);
  std::string text(given);
  std::erase_if(text, [](char c) { return c == '\t' || c == '\n' || c == '\r'; });
  size_t colon = 0;
  while (colon < text.size() && (is_letter(text[colon]) ||
                                 (colon > 0 && (is_digit(text[colon]) || text[colon] == '+' || text[colon] == '-' || text[colon] == '.'))))
    ++colon;
  if (colon == 0 || colon == text.size() || text[colon] != ':') return Verdict::bad;
  std::string scheme = text.substr(0, colon);
  std::transform(scheme.begin(), scheme.end(), scheme.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  constexpr std::string_view of_git[] = {"http", "https", "git", "ssh", "git+ssh", "git+https", "git+http"};
  const Verdict good = std::find(std::begin(of_git), std::end(of_git), scheme) != std::end(of_git) ? Verdict::good : Verdict::other_scheme;
  const bool special = scheme == "http" || scheme == "https" || scheme == "ftp" || scheme == "ws" || scheme == "wss";
  std::string_view rest = std::string_view(text).substr(colon + 1);
  if (scheme == "file") return good_file(rest) ? good : Verdict::bad;
  if (special) rest.remove_prefix(std::min(rest.find_first_not_of("/\\"), rest.size()));
  else if (rest.starts_with("//")) rest.remove_prefix(2);
  else return good;  // a path, which may be anything
  return good_authority(rest.substr(0, rest.find_first_of(special ? "/\\?#" : "/?#")), special) ? good : Verdict::bad;
}

}  // namespace

bool is_git_url(std::string_view text) {
  const Verdict verdict = judge_url(text);
  if (verdict != Verdict::bad) return verdict == Verdict::good;
  // No URL: then perhaps [user@]host:path, which is read as ssh://[user@]host/path.
  const size_t colon = text.find(':');
  if (colon == 0 || colon == std::string_view::npos) return false;
  const std::string_view path = text.substr(colon + 1);
  if (path.empty() || path.starts_with('/')) return false;
  return judge_url("ssh://" + std::string(text.substr(0, colon)) + "/" + std::string(path)) == Verdict::good;
}

}  // namespace lamina::manifest
