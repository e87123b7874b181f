// Files of packager/templates, embedded at build time.
#pragma once
#include <string_view>
#include <utility>
#include <vector>

namespace lamina::packager {

// File name in a variant directory ("_ops.py") -> text of packager/templates/ops.py; sorted.
extern const std::vector<std::pair<std::string_view, std::string_view>> python_templates;

}  // namespace lamina::packager
