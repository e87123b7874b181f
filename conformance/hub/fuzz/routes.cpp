// Fuzzing: requests to the server: method, path, a header, then the body, a line each
#include "conformance/hub/fuzz/fuzz.h"
#include "hub_client/repository_store.h"
#include "hub_client/server_routes.h"

using namespace lamina;

FUZZ(input) {
  static hub::ServerOptions options;
  options.directory = fuzz::scratch() / "hub", options.token = "hf_token", options.lfs = true, options.private_names = {"secret"};
  static hub::RepositoryStore store(options.directory);
  static const bool made = store.create("kernels/org/k") && store.create("kernels/secret/k");
  static hub::Routes routes(options, store, "http://127.0.0.1:1");
  fuzz::require(made);
  hub::Request request;
  request.method = fuzz::next_line(input);
  std::string path = fuzz::next_line(input);
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string segment = hub::percent_decoded(std::string_view(path).substr(at, slash - at));
    if (segment == ".." || segment == "." || segment.find('\0') != std::string::npos) return;  // the socket side refuses these
    if (!segment.empty()) request.path.push_back(segment);
    at = slash + 1;
  }
  const std::string header = fuzz::next_line(input);
  const size_t colon = header.find(':');
  if (colon != std::string::npos) request.headers[header.substr(0, colon)] = header.substr(colon + 1);
  if (request.headers.contains("token")) request.headers["authorization"] = "Bearer hf_token";
  request.body = std::string(input);
  const hub::Answer answer = routes.answer(request);
  fuzz::require(answer.status >= 200 && answer.status < 600 && answer.status != 500);
  for (const auto &[name, value] : answer.headers) fuzz::require(value.find('\n') == std::string::npos);
  if (!answer.file.empty()) fuzz::require(answer.file.parent_path() == options.directory / "objects");
}
