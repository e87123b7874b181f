// Fuzzing: what a server sends on the wire, status line, headers and body, through the whole HTTP client
#include "conformance/hub/fuzz/fuzz.h"
#include <arpa/inet.h>
#include <sys/socket.h>

#include <thread>

#include "hub_client/http.h"

using namespace lamina;

namespace {

// A server that sends the current input to whoever connects.
struct Wire {
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  uint16_t port = 0;
  std::string bytes;

  Wire() {
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    fuzz::require(bind(listener, reinterpret_cast<sockaddr *>(&address), size) == 0 && listen(listener, 16) == 0);
    fuzz::require(getsockname(listener, reinterpret_cast<sockaddr *>(&address), &size) == 0);
    port = ntohs(address.sin_port);
  }
  void serve() const {
    const int to = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    char asked[8192];
    if (recv(to, asked, sizeof asked, 0) > 0) send(to, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    close(to);
  }
};

}  // namespace

FUZZ(input) {
  static Wire wire;
  wire.bytes = input;
  hub::Environment environment;
  environment.endpoint = "http://127.0.0.1:" + std::to_string(wire.port), environment.timeout_seconds = 1;
  std::thread server([] { wire.serve(); });
  size_t got = 0;
  hub::HttpRequest request{"POST", "/x", {}, "", 4096, {}, [&] { got = 0; }, true};  // not repeated
  if (input.size() % 2) request.sink = [&](std::string_view bytes) { got += bytes.size(); };
  fuzz::accepts([&] {
    const hub::HttpAnswer answer = hub::Http(environment).send(request);
    fuzz::require(answer.body.size() <= (64 << 10));
    hub::throw_status(answer, "a file", environment);
  });
  fuzz::require(got <= 4096);
  server.join();
}
