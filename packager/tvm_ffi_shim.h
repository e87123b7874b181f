// The Python files of a tvm-ffi variant: the ops through tvm-ffi, without torch.
#pragma once
#include <map>
#include <string>

#include "manifest/bundle.h"
#include "manifest/contract.h"

namespace lamina::packager {

// File name -> text: __init__.py and _ops.py, which chooses among the builds of manifest.json by asking each whether it runs here.  The same
// inputs give the same text.  [thread-safe]
std::map<std::string, std::string> tvm_ffi_shim(const manifest::Contract &contract, const manifest::Bundle &bundle);

}  // namespace lamina::packager
