// What the server answers, without a socket: a request in, an answer out.
#pragma once
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "hub_client/repository_store.h"
#include "hub_client/server.h"
#include "hub_client/upload_file.h"

namespace lamina::hub {

struct Request {
  std::string method;             // upper case
  std::vector<std::string> path;  // segments, percent-decoded; none holds NUL
  std::map<std::string, std::string> query;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
  std::shared_ptr<UploadFile> upload;  // instead of `body`, for routes that take long ones
};

struct Answer {
  int status = 200;
  std::map<std::string, std::string> headers;
  std::string body;
  std::filesystem::path file;               // not empty: the body is this file's
  uint64_t file_offset = 0, file_size = 0;  // the part of it that is sent
};

class Routes {
 public:
  Routes(const ServerOptions &options, RepositoryStore &store, std::string base_url)
      : options_(options), store_(store), url_(std::move(base_url)) {}
  // Never throws: what goes wrong is an answer.  [thread-safe]
  Answer answer(const Request &request);
  // Why this request may not write, as an answer of status 401 or 403; status 200 when it may.  Known before its body is read.
  Answer may_write(const Request &request) const;
  // The same for reading a private repository: it looks as if it were not there.
  Answer may_read(const Request &request) const;
  // Whether this request's body may be long, and goes to a file.
  static bool takes_file(const Request &request);

 private:
  Answer dispatch(const Request &request);
  Answer api(const Request &request, const std::string &repository, const std::vector<std::string> &rest);
  Answer info(const std::string &repository, const std::string &revision);
  Answer refs(const std::string &repository);
  Answer tree(const Request &request, const std::string &repository, const std::vector<std::string> &rest);
  Answer resolve(const Request &request, const std::string &repository, const std::string &revision, const std::string &path);
  Answer create(const Request &request);
  Answer remove(const Request &request);
  Answer branch(const Request &request, const std::string &repository, const std::string &name);
  Answer tag(const Request &request, const std::string &repository, const std::string &revision);
  Answer preupload(const Request &request, const std::string &repository, const std::string &revision);
  Answer commit(const Request &request, const std::string &repository, const std::string &revision);
  Answer lfs_batch(const Request &request, const std::string &repository);
  Answer lfs_object(const Request &request, const std::string &sha256);
  Answer lfs_verify(const Request &request);
  bool has_token(const Request &request) const;
  std::string commit_of(const std::string &repository, const std::string &revision) const;

  const ServerOptions &options_;
  RepositoryStore &store_;
  std::string url_;
  std::mutex commits_;  // read one at a time: a line of one may be long, and is in memory more than once
};

std::string percent_decoded(std::string_view text);
std::string percent_encoded(std::string_view text);  // of one path segment or query value

}  // namespace lamina::hub
