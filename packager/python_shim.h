// The Python files of a variant directory: what makes the bundle an ordinary kernel of the hub.
#pragma once
#include <map>
#include <string>

#include "manifest/bundle.h"
#include "manifest/contract.h"

namespace lamina::packager {

// File name -> text: __init__.py; layers.py (one class for each torch class that a host binding names,
// with that host's own forward signature), functions.py (one for each function that a binding names), and the templates as they are.
// The same inputs give the same text.  Errors: malformed for a contract without an op forward of one output.  [thread-safe]
std::map<std::string, std::string> python_shim(const manifest::Contract &contract, const manifest::Manifest &manifest,
                                               const manifest::Bundle &bundle);

}  // namespace lamina::packager
