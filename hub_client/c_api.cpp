// lamina_hub.h: errors, options, the client.
#include "hub_client/c_api.h"

#include "manifest/printable.h"

#include <cstddef>
#include <filesystem>
#include <new>

namespace lamina::hub {
namespace {

// Fills the caller's struct as far as it goes; a sentence that does not fit ends in "...", never inside a character.
void report(lamina_hub_error *error, lamina_hub_status status, const char *sentence) noexcept {
  if (!error) return;
  const size_t size = std::min<size_t>(error->struct_size, sizeof *error);
  if (size >= offsetof(lamina_hub_error, message)) error->status = status;
  if (size <= offsetof(lamina_hub_error, message)) return;
  const size_t room = size - offsetof(lamina_hub_error, message) - 1;  // before the final NUL
  size_t length = std::strlen(sentence);
  const bool cut = length > room;
  if (cut) {
    length = room >= 3 ? room - 3 : 0;
    while (length > 0 && (static_cast<unsigned char>(sentence[length]) & 0xc0) == 0x80) --length;
  }
  std::memcpy(error->message, sentence, length);
  if (cut && room >= 3) std::memcpy(error->message + length, "...", 3), length += 3;
  error->message[length] = '\0';
}

void set_log(FetchOptions &options, const lamina_hub_options &given) {
  if (!given.log) return;
  options.log = [log = given.log, context = given.context](const std::string &sentence) {
    constexpr std::string_view warning = "warning: ";
    const bool warns = sentence.starts_with(warning);
    log(context, warns ? 2 : 1, sentence.c_str() + (warns ? warning.size() : 0));
  };
}

void set_progress(FetchOptions &options, const lamina_hub_options &given) {
  if (!given.progress) return;
  options.progress = [progress = given.progress, context = given.context](const Progress &now) {
    lamina_hub_progress shown{};
    shown.struct_size = sizeof shown;
    shown.file = now.file.c_str(), shown.done = now.done, shown.total = now.total;
    shown.all_done = now.all_done, shown.all_total = now.all_total;
    if (progress(context, &shown)) throw Error(ErrorKind::interrupted, "the download of " + now.file + " was stopped by the caller");
  };
}

std::optional<std::pair<int, int>> version_of(int32_t major, int32_t minor, const char *name) {
  if (major < 0 || minor < 0)
    throw Error(ErrorKind::invalid_argument,
                std::string(name) + " " + std::to_string(major) + "." + std::to_string(minor) + " is no version");
  if (major == 0 && minor == 0) return std::nullopt;
  return std::pair<int, int>(major, minor);
}

FetchOptions fetch_options(const lamina_hub_options &given) {
  FetchOptions options;
  options.backend = text_or_empty(given.backend), options.arch = text_or_empty(given.arch);
  options.framework.torch = version_of(given.torch_major, given.torch_minor, "torch");
  options.framework.tvm_ffi = version_of(given.tvm_ffi_major, given.tvm_ffi_minor, "tvm-ffi");
  switch (given.signatures) {
    case LAMINA_HUB_SIGNATURES_REQUIRE: options.signatures = manifest::SignaturePolicy::require; break;
    case LAMINA_HUB_SIGNATURES_WARN: options.signatures = manifest::SignaturePolicy::warn; break;
    case LAMINA_HUB_SIGNATURES_OFF: options.signatures = manifest::SignaturePolicy::off; break;
    default:
      throw Error(ErrorKind::unsupported,
                  "lamina_hub_options.signatures is " + std::to_string(given.signatures) + "; expected LAMINA_HUB_SIGNATURES_*");
  }
  set_log(options, given);
  set_progress(options, given);
  return options;
}

Environment environment_of(const lamina_hub_options &given) {
  Environment environment = read_environment();
  if (given.endpoint) {
    environment.endpoint = given.endpoint;
    while (environment.endpoint.ends_with('/')) environment.endpoint.pop_back();
    if (origin_of(environment.endpoint).empty())
      throw Error(ErrorKind::invalid_argument, "endpoint is '" + environment.endpoint + "', expected an address that begins with https://");
  }
  if (given.cache) environment.cache = given.cache;
  if (given.cache && !*given.cache) throw Error(ErrorKind::invalid_argument, "cache is an empty path; NULL means the shared cache");
  if (given.token) {
    environment.token = given.token, environment.token_source = "lamina_hub_options.token";
    // It stands in a header line; a line break in it would write further headers.
    if (std::any_of(environment.token.begin(), environment.token.end(), [](unsigned char c) { return c <= 0x20 || c >= 0x7f; }))
      throw Error(ErrorKind::invalid_argument, "the token holds a character that no token has");
  }
  if (given.trust_file) environment.trust_file = given.trust_file;
  if (given.flags & LAMINA_HUB_NO_NETWORK) environment.offline = true;
  return environment;
}

}  // namespace

lamina_hub_status guarded(lamina_hub_error *error, const std::function<void()> &body) noexcept {
  ErrorKind kind = ErrorKind::internal;
  try {
    try {
      body();
      return LAMINA_HUB_OK;
    } catch (const Error &thrown) {
      kind = thrown.kind;
      report(error, exit_code(kind), manifest::printable(thrown.what()).c_str());
    } catch (const std::bad_alloc &) {
      report(error, LAMINA_HUB_INTERNAL, "out of memory");
    } catch (const std::filesystem::filesystem_error &thrown) {
      kind = kind_of_errno(thrown.code().value());
      report(error, exit_code(kind), thrown.what());
    } catch (const std::exception &thrown) {
      report(error, LAMINA_HUB_INTERNAL, (std::string("internal error: ") + thrown.what()).c_str());
    }
  } catch (...) { report(error, LAMINA_HUB_INTERNAL, "internal error"); }
  return exit_code(kind);
}

}  // namespace lamina::hub

using namespace lamina;
using namespace lamina::hub;

extern "C" {

lamina_hub_status lamina_hub_open(const lamina_hub_options *options, lamina_hub_client **client, lamina_hub_error *error) {
  if (client) *client = nullptr;
  return guarded(error, [&] {
    required(client, "client");
    const lamina_hub_options given = read_struct(options, "lamina_hub_options");
    refuse_unknown_flags(given.flags, LAMINA_HUB_NO_NETWORK, "lamina_hub_options");
    if (given.reserved) throw Error(ErrorKind::unsupported, "lamina_hub_options.reserved is not 0");
    auto made = std::make_unique<lamina_hub_client>();
    made->options = fetch_options(given);
    made->client = std::make_unique<const Client>(environment_of(given));
    *client = made.release();
  });
}

void lamina_hub_close(lamina_hub_client *client) { delete client; }

const char *lamina_hub_version(void) { return LAMINA_VERSION; }

}  // extern "C"
