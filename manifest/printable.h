// Text that may hold a stranger's words, as it is shown to people.
#pragma once
#include <string>
#include <string_view>

namespace lamina::manifest {

// The text with '?' for what would move a cursor, colour a terminal, turn the direction of writing, or is no UTF-8.  Line breaks stay.
// [thread-safe]
std::string printable(std::string_view text);

}  // namespace lamina::manifest
