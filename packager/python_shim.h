// The Python files of a variant directory: what makes the bundle an ordinary kernel of the hub.
#pragma once
#include <map>
#include <string>

#include "manifest/bundle.h"
#include "manifest/contract.h"

namespace lamina::packager {

// File name -> text: __init__.py, _ops.py (the same for every layer), layers.py (one class for each torch class that a host binding names,
// with that host's own forward signature).  The same inputs give the same text.  [thread-safe]
std::map<std::string, std::string> python_shim(const manifest::Contract &contract, const manifest::Manifest &manifest,
                                               const manifest::Bundle &bundle);

}  // namespace lamina::packager
