// A hub made of files alone: what clients ask of a hub, answered by any nginx.
#pragma once
#include <filesystem>
#include <set>
#include <string>
#include <vector>

#include "hub_client/snapshot.h"

namespace lamina::hub {

struct MirrorOptions {
  std::filesystem::path directory;  // must not exist, or be an earlier mirror: it is replaced as a whole
  std::string listen = "127.0.0.1:8080";
  std::set<std::string> trusted;  // organisations whose overview says trustedKernelPublisher; the Python library asks
};

// Writes objects/<etag>, api/... as JSON files, and nginx.conf, which maps addresses to them with the headers that clients need.  Paths in
// it are relative, so the folder may be moved.  Several versions of a repository may be among the snapshots.  The same input gives the
// same files.  Errors: conflict (the folder holds something else, or two snapshots claim one branch), unsupported for a snapshot with
// files missing, invalid_argument, integrity, no_space, io.
void write_static_mirror(const std::vector<Snapshot> &snapshots, const MirrorOptions &options);

}  // namespace lamina::hub
