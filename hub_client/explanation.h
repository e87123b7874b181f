// Why a machine got what it got: for people.
#pragma once
#include <string>

#include "hub_client/client.h"

namespace lamina::hub {

// Every variant and every build with why it was taken or passed over, then every check; one a line, the taken ones marked '>'.  `folder`
// names the source where it is no commit of a hub.
std::string explanation(const Fetched &fetched, const std::string &folder);

}  // namespace lamina::hub
