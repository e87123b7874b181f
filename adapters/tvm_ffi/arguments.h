// From tvm-ffi's values to a call: tensors by position, then pairs of a name and a value.
//
//   forward(pair, mask, None, ..., out)                         by position, in the order of the argument table
//   forward(pair, "out", out, "direction", "incoming")          from the first string on: names of arguments and attributes
//
// A third kind of name is "workspace": a uint8 tensor in place of the environment's allocator.
#pragma once
#include "failure.h"

namespace lamina::tvm_ffi {

constexpr uint32_t max_arguments = 64, max_attributes = 16, max_string = 128;
constexpr int32_t max_rank = 8;

struct Arguments {
  const lamina_tensor *tensors[max_arguments] = {};
  lamina_attr attributes[max_attributes] = {};  // by the op's own index; kind 0: not given
  char strings[max_attributes][max_string];     // NUL-terminated copies
  const lamina_tensor *workspace = nullptr;
  lamina_device device = {LAMINA_CPU, 0};  // of the first tensor given

  // What `values` say, checked against the op's tables as far as names and kinds go; the plug-in checks the rest.  Pointers into
  // `values` are kept.
  bool read(const lamina_op &op, const Any *values, int32_t count, Failure &failure);

 private:
  bool set_tensor(const char *op, const char *name, const Any &value, const lamina_tensor *&place, Failure &failure);
  bool set_attribute(const lamina_op &op, uint32_t index, const Any &value, Failure &failure);
  bool set_named(const lamina_op &op, const Any &name, const Any &value, Failure &failure);
};

}  // namespace lamina::tvm_ffi
