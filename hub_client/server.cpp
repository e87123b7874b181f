// The server's socket side: libmicrohttpd reads requests within bounds and sends answers.
#include "hub_client/server.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "hub_client/server_answers.h"
#include "manifest/error.h"

namespace lamina::hub {
namespace {

constexpr unsigned max_connections = 256, connection_seconds = 60;
constexpr size_t connection_memory = 64 << 10;                  // request line and headers of one connection
constexpr uint64_t max_upload = 768 << 20, max_body = 8 << 20;  // of what goes to a file, of what is held in memory

struct Exchange {  // one request, while its body arrives
  Request request;
  Answer early;  // an answer that needs no body: status other than 200
};

MHD_Result collect(void *to, enum MHD_ValueKind, const char *name, const char *value) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  (*static_cast<std::map<std::string, std::string> *>(to))[lower] = value ? value : "";
  return MHD_YES;
}
MHD_Result collect_query(void *to, enum MHD_ValueKind, const char *name, const char *value) {
  (*static_cast<std::map<std::string, std::string> *>(to))[percent_decoded(name)] = percent_decoded(value ? value : "");
  return MHD_YES;
}

std::vector<std::string> segments(std::string_view url) {
  std::vector<std::string> found;
  for (size_t at = 0; at < url.size();) {
    const size_t slash = std::min(url.find('/', at), url.size());
    if (slash > at) found.push_back(percent_decoded(url.substr(at, slash - at)));
    at = slash + 1;
  }
  return found;
}

uint64_t limit_of(const Request &request) { return Routes::takes_file(request) ? max_upload : max_body; }

bool declares_too_much(const Request &request) {
  const auto length = request.headers.find("content-length");
  return length != request.headers.end() &&
         (length->second.size() > 12 || std::strtoull(length->second.c_str(), nullptr, 10) > limit_of(request));
}

MHD_Result send(MHD_Connection *connection, const Answer &answer) {
  MHD_Response *response = nullptr;
  if (!answer.file.empty()) {
    const int file = open(answer.file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (file >= 0) response = MHD_create_response_from_fd_at_offset64(answer.file_size, file, answer.file_offset);
    if (!response) {
      if (file >= 0) close(file);
      return MHD_NO;
    }
  } else {
    response = MHD_create_response_from_buffer(answer.body.size(), const_cast<char *>(answer.body.data()), MHD_RESPMEM_MUST_COPY);
  }
  if (!response) return MHD_NO;
  for (const auto &[name, value] : answer.headers) MHD_add_response_header(response, name.c_str(), value.c_str());
  const MHD_Result result = MHD_queue_response(connection, static_cast<unsigned>(answer.status), response);
  MHD_destroy_response(response);
  return result;
}

}  // namespace

struct Server::State {
  explicit State(const ServerOptions &given) : options(given), store(given.directory) {}
  ServerOptions options;
  RepositoryStore store;
  std::unique_ptr<Routes> routes;
  MHD_Daemon *daemon = nullptr;
  uint16_t port = 0;

  static MHD_Result handle(void *self, MHD_Connection *connection, const char *url, const char *method, const char *, const char *data,
                           size_t *size, void **slot) {
    State &state = *static_cast<State *>(self);
    try {
      return state.receive(connection, url, method, data, size, slot);
    } catch (const std::exception &) {
      return MHD_NO;  // out of memory: the connection is closed
    }
  }

  MHD_Result receive(MHD_Connection *connection, const char *url, const char *method, const char *data, size_t *size, void **slot) {
    if (!*slot) {
      auto exchange = std::make_unique<Exchange>();
      exchange->request.method = method;
      exchange->request.path = segments(url);
      MHD_get_connection_values(connection, MHD_HEADER_KIND, collect, &exchange->request.headers);
      MHD_get_connection_values(connection, MHD_GET_ARGUMENT_KIND, collect_query, &exchange->request.query);
      exchange->early = routes->may_write(exchange->request);
      if (exchange->early.status == 200) exchange->early = routes->may_read(exchange->request);
      for (const std::string &segment : exchange->request.path)
        if (segment.find('\0') != std::string::npos || segment == ".." || segment == ".")
          exchange->early = failed(400, "", "the path is not one of ours");
      const bool too_large = declares_too_much(exchange->request);
      *slot = exchange.release();
      // Answered at once: the connection closes, and nobody waits for the rest.
      return too_large ? send(connection, failed(413, "", "the body is too large")) : MHD_YES;
    }
    Exchange &exchange = *static_cast<Exchange *>(*slot);
    if (*size) {  // the body of a refused request is read and dropped, so that the client sees the answer
      if (exchange.early.status == 200) take(exchange, {data, *size});
      *size = 0;
      return MHD_YES;
    }
    return send(connection, exchange.early.status == 200 ? routes->answer(exchange.request) : exchange.early);
  }

  // A piece of a body: to a file where bodies are long, else to memory.
  void take(Exchange &exchange, std::string_view bytes) {
    Request &request = exchange.request;
    try {
      if (Routes::takes_file(request) && !request.upload) request.upload = std::make_shared<UploadFile>(store.incoming());
      if ((request.upload ? request.upload->size() : request.body.size()) + bytes.size() > limit_of(request))
        exchange.early = failed(413, "", "the body is too large");
      else if (request.upload) request.upload->write(bytes);
      else request.body.append(bytes);
    } catch (const Error &error) {
      exchange.early = failed(error.kind == ErrorKind::no_space ? 507 : 500, "", "the upload cannot be stored");
    }
    if (exchange.early.status != 200) request.upload.reset();
  }

  static void finish(void *, MHD_Connection *, void **slot, enum MHD_RequestTerminationCode) {
    delete static_cast<Exchange *>(*slot);
    *slot = nullptr;
  }
};

Server::Server(const ServerOptions &options) : state_(std::make_unique<State>(options)) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(options.port);
  if (inet_pton(AF_INET, options.address.c_str(), &address.sin_addr) != 1)
    throw Error(ErrorKind::invalid_argument, "'" + options.address + "' is no IPv4 address");
  // Bound before the daemon starts, so that the port, which answers mention, is known to the first request.
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
  socklen_t size = sizeof address;
  if (listener >= 0) setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
  if (listener < 0 || bind(listener, reinterpret_cast<sockaddr *>(&address), size) != 0 || listen(listener, 128) != 0 ||
      getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size) != 0) {
    const std::string why = std::strerror(errno);
    if (listener >= 0) close(listener);
    throw Error(ErrorKind::io, "cannot listen on " + options.address + ":" + std::to_string(options.port) + ": " + why);
  }
  state_->port = ntohs(address.sin_port);
  state_->routes = std::make_unique<Routes>(state_->options, state_->store, url());
  // Percent-decoding is ours: an encoded slash belongs to a segment.
  const auto keep = +[](void *, MHD_Connection *, char *text) -> size_t { return std::strlen(text); };
  state_->daemon =
      MHD_start_daemon(MHD_USE_THREAD_PER_CONNECTION | MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL, 0, nullptr, nullptr, &State::handle,
                       state_.get(), MHD_OPTION_LISTEN_SOCKET, listener, MHD_OPTION_CONNECTION_LIMIT, max_connections,
                       MHD_OPTION_CONNECTION_TIMEOUT, connection_seconds, MHD_OPTION_CONNECTION_MEMORY_LIMIT, connection_memory,
                       MHD_OPTION_NOTIFY_COMPLETED, &State::finish, nullptr, MHD_OPTION_UNESCAPE_CALLBACK, keep, nullptr, MHD_OPTION_END);
  if (!state_->daemon) {
    close(listener);
    throw Error(ErrorKind::io, "cannot start the server's threads");
  }
}

Server::~Server() {
  if (state_->daemon) MHD_stop_daemon(state_->daemon);
}

uint16_t Server::port() const { return state_->port; }
std::string Server::url() const { return "http://" + state_->options.address + ":" + std::to_string(state_->port); }

}  // namespace lamina::hub
