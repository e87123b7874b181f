// One verb is one file: cli/<verb>.cpp defines `void add_<verb>(CLI::App &app)`, which adds its subcommand with options and callback.
// The list of verbs is the list of files: cli.mk generates it.
#pragma once
#include <CLI/CLI.hpp>

namespace lamina::cli {

#define LAMINA_VERB(name) void add_##name(CLI::App &app);
#include "verbs.inc"
#undef LAMINA_VERB

}  // namespace lamina::cli
