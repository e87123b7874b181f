// A server on 127.0.0.1 that says exactly what a test wants it to say, also what no server should, and remembers what it was asked.
#pragma once
#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

namespace lamina::hub::test {

struct Seen {
  std::string method, target;
  std::map<std::string, std::string> headers;  // names in lower case
  bool has(const std::string &name) const { return headers.contains(name); }
  std::string header(const std::string &name) const { return has(name) ? headers.at(name) : ""; }
};

class Connection {
 public:
  explicit Connection(int socket) : socket_(socket) {}
  void send(std::string_view bytes) const {
    while (!bytes.empty()) {
      const ssize_t count = ::send(socket_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (count <= 0) return;
      bytes.remove_prefix(static_cast<size_t>(count));
    }
  }

 private:
  int socket_;
};

// The head and body of an answer.  `headers` are whole lines, each ended by \r\n.
inline std::string answer(int status, const std::string &body, const std::string &headers = "") {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nConnection: close\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" +
         headers + "\r\n" + body;
}
inline std::string moved(const std::string &location) { return answer(302, "gone", "Location: " + location + "\r\n"); }

class ScriptedServer {
 public:
  using Handler = std::function<void(const Seen &, const Connection &)>;
  explicit ScriptedServer(Handler handler) : handler_(std::move(handler)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET, address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    REQUIRE(bind(listener_, reinterpret_cast<sockaddr *>(&address), size) == 0);
    REQUIRE(listen(listener_, 64) == 0);
    REQUIRE(getsockname(listener_, reinterpret_cast<sockaddr *>(&address), &size) == 0);
    port_ = ntohs(address.sin_port);
    thread_ = std::thread([this] { run(); });
  }
  ~ScriptedServer() {
    stop_ = true;
    thread_.join();
    for (std::thread &one : connections_) one.join();
    close(listener_);
  }
  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<Seen> seen() const {
    const std::lock_guard lock(mutex_);
    return seen_;
  }
  size_t count(const std::string &part) const {
    size_t found = 0;
    for (const Seen &one : seen()) found += one.target.find(part) != std::string::npos;
    return found;
  }
  void handle(Handler handler) {
    const std::lock_guard lock(mutex_);
    handler_ = std::move(handler), seen_.clear();
  }

 private:
  void run() {
    while (!stop_) {
      pollfd ready{listener_, POLLIN, 0};
      if (poll(&ready, 1, 20) != 1) continue;
      const int socket = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (socket >= 0) connections_.emplace_back([this, socket] { serve(socket), close(socket); });
    }
  }
  void serve(int socket) {
    std::string head;
    char byte;
    while (head.size() < 1 << 16 && head.find("\r\n\r\n") == std::string::npos && recv(socket, &byte, 1, 0) == 1) head += byte;
    Seen one;
    const size_t space = head.find(' '), line = head.find("\r\n");
    if (line == std::string::npos) return;
    one.method = head.substr(0, space), one.target = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
    for (size_t at = line + 2; at < head.size() - 2;) {
      const size_t end = head.find("\r\n", at), colon = head.find(':', at);
      std::string name = head.substr(at, colon - at);
      std::transform(name.begin(), name.end(), name.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
      one.headers[name] = head.substr(colon + 2, end - colon - 2);
      at = end + 2;
    }
    Handler handler;
    {
      const std::lock_guard lock(mutex_);
      seen_.push_back(one);
      handler = handler_;
    }
    handler(one, Connection(socket));
    shutdown(socket, SHUT_WR);
    while (recv(socket, &byte, 1, 0) == 1) {}  // or the client may lose what is on its way
  }

  Handler handler_;
  int listener_ = -1;
  uint16_t port_ = 0;
  std::atomic<bool> stop_ = false;
  mutable std::mutex mutex_;
  std::vector<Seen> seen_;
  std::thread thread_;
  std::vector<std::thread> connections_;
};

}  // namespace lamina::hub::test
