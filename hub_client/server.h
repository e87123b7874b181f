// A hub of our own on a directory: the protocol of the Hugging Face hub for kernel repositories, read and write.
#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <set>
#include <string>

namespace lamina::hub {

struct ServerOptions {
  std::filesystem::path directory;  // made if needed
  std::string address = "127.0.0.1";
  uint16_t port = 0;  // 0: the system chooses; see url()
  bool lfs = false;   // ask clients to upload large or binary files by LFS instead of inside the commit
  bool read_only = false;
  std::string token;  // not empty: needed for every write
  // "org" or "org/name" whose repositories only the token may read; to others they do not exist.
  std::set<std::string> private_names;
  std::set<std::string> trusted;  // organisations whose overview says trustedKernelPublisher
  unsigned page_size = 1000;      // entries of a tree listing before a Link to the next page
};

// Listens from construction to destruction; each client has a thread of its own.
class Server {
 public:
  // Errors: io when the address cannot be bound.
  explicit Server(const ServerOptions &options);
  ~Server();
  Server(const Server &) = delete;
  Server &operator=(const Server &) = delete;
  uint16_t port() const;
  std::string url() const;  // "http://127.0.0.1:41234"

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace lamina::hub
