// Files of packager/templates, embedded at build time.
#pragma once
#include <string_view>

namespace lamina::packager {

extern const std::string_view ops_template;  // templates/ops.py

}  // namespace lamina::packager
