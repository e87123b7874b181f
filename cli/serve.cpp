// lamina serve: a hub on a directory.
#include <csignal>
#include <cstdio>
#include <malloc.h>
#include <pthread.h>

#include "hub_client/server.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "verbs.h"

namespace lamina::cli {
namespace {

struct Options {
  hub::ServerOptions server;
  std::string directory, token_file, upload = "regular";
  std::vector<std::string> trusted, private_names;
};

void serve(const Options &options) {
  hub::ServerOptions server = options.server;
  server.directory = options.directory, server.lfs = options.upload == "lfs";
  server.trusted = {options.trusted.begin(), options.trusted.end()};
  server.private_names = {options.private_names.begin(), options.private_names.end()};
  if (!server.private_names.empty() && options.token_file.empty())
    throw Error(ErrorKind::invalid_argument, "--private needs --token-file: without a token nobody could read it");
  if (!options.token_file.empty()) {
    server.token = manifest::read_file(options.token_file, 4096);
    while (!server.token.empty() && std::isspace(static_cast<unsigned char>(server.token.back()))) server.token.pop_back();
    if (server.token.empty()) throw Error(ErrorKind::invalid_argument, options.token_file + " holds no token");
  }
  // Blocked before the server's threads start, so that they inherit it and the signal comes to sigwait here.
  sigset_t stop;
  sigemptyset(&stop);
  sigaddset(&stop, SIGINT), sigaddset(&stop, SIGTERM);
  pthread_sigmask(SIG_BLOCK, &stop, nullptr);
  mallopt(M_ARENA_MAX, 2);  // a thread a client: heaps of their own would each keep what they once held
  hub::Server running(server);
  std::printf("serving %s at %s%s\n", options.directory.c_str(), running.url().c_str(), server.read_only ? ", read-only" : "");
  std::printf("clients: export HF_ENDPOINT=%s   (Python: also HF_HUB_DISABLE_XET=1 with --upload lfs)\n", running.url().c_str());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&stop, &signal);
  std::printf("stopped\n");
}

}  // namespace

void add_serve(CLI::App &app) {
  auto options = std::make_shared<Options>();
  CLI::App *verb =
      app.add_subcommand("serve",
                         "Serve a directory as a hub: the Hugging Face protocol for kernel repositories, read and write, for trying,\n"
                         "testing and mirroring.  Ends on Ctrl-C or SIGTERM.\n\n  lamina serve build/hub --port 8080");
  verb->add_option("directory", options->directory, "where repositories are kept; made if needed")->required();
  verb->add_option("--port", options->server.port, "0 lets the system choose; the address is printed")->capture_default_str();
  verb->add_option("--host", options->server.address, "IPv4 address to listen on")->capture_default_str();
  verb->add_option("--upload", options->upload, "how clients are asked to upload builds")
      ->check(CLI::IsMember({"regular", "lfs"}))
      ->capture_default_str();
  verb->add_option("--token-file", options->token_file, "file with the token that writes need")->check(CLI::ExistingFile);
  verb->add_option("--trusted-org", options->trusted,
                   "organisation whose overview says it is a trusted publisher (Python asks). Repeatable");
  verb->add_option("--private", options->private_names,
                   "ORG or ORG/NAME that only the token may read; to others it does not exist. Repeatable");
  verb->add_flag("--read-only", options->server.read_only, "refuse every write");
  verb->callback([options] { serve(*options); });
}

}  // namespace lamina::cli
