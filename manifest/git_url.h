// Addresses of git repositories, as metadata.json may name them.
#pragma once
#include <string_view>

namespace lamina::manifest {

// Whether the Python library `kernels` takes this for the address of a git repository: a URL by the WHATWG's rules whose scheme is one of
// git's, or user@host:path.  Hosts beyond ASCII are taken as they are, without the tables of international names.
bool is_git_url(std::string_view text);

}  // namespace lamina::manifest
