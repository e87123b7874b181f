// What layer.cpp needs beside its ops to define the plug-in's one export.
#pragma once
#include "op.h"

extern "C" const char lamina_contract_begin[];  // plugin/contract.S: contract.json, byte for byte
extern const char lamina_build_id[];            // made at link time from everything that is linked

#define LAMINA_EXPORT extern "C" __attribute__((visibility("default")))

namespace lamina::plugin {

template <int count>
constexpr lamina_library make_library(const char *layer, const char *version, const char *arch, uint64_t contract_size,
                                      const lamina_op *const (&ops)[count]) {
  return {sizeof(lamina_library),
          0,
          layer,
          version,
          arch,
          lamina_build_id,
          lamina_contract_begin,
          contract_size,
          ops,
          count,
          0,
          [](const char *) -> const void * { return nullptr; }};
}

}  // namespace lamina::plugin
