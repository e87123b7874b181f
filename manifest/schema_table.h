// The schemas' text as embed_schemas writes it into the library.
#pragma once

namespace lamina::manifest {

struct SchemaText {
  const char *name, *text;
};
extern const SchemaText schema_table[];
extern const int schema_count;

}  // namespace lamina::manifest
