// The program `lamina`: one subcommand per file of this folder.
#include <csignal>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <memory>
#include <sstream>

#include "manifest/error.h"
#include "manifest/printable.h"
#include "verbs.h"

namespace {

// In the list of verbs each says what it does in one line; its own --help says the rest.
class Brief : public CLI::Formatter {
 public:
  std::string make_subcommand(const CLI::App *verb) const override {
    std::string text = verb->get_description();
    for (const char *end : {". ", ".\n", ":", ";"}) text = text.substr(0, text.find(end));
    for (char &letter : text)
      if (letter == '\n') letter = ' ';
    if (text.ends_with('.')) text.pop_back();
    std::ostringstream line;
    CLI::detail::format_help(line, verb->get_name(), text, column_width_);
    return line.str();
  }
};

}  // namespace

int main(int argc, char **argv) {
  std::signal(SIGPIPE, SIG_IGN);  // a closed pipe is an error of the write, not a death
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file that may not grow
  CLI::App app{
      "Lamina: fused neural-network layers as plug-ins.\n\n"
      "A first walk:  lamina doctor                                what this machine can run\n"
      "               lamina trust add ORG KEY                     whose bundles you load\n"
      "               lamina fetch ORG/triangle-multiplication     download, verify, say where it lies\n"
      "               lamina run --bundle ORG/NAME --host boltz --weights model.safetensors --prefix P --input x.npy --output y.npy\n\n"
      "Every verb explains itself: lamina VERB --help.  Exit codes: docs/exit-codes.md."};
  app.name("lamina");
  app.formatter(std::make_shared<Brief>());
  app.require_subcommand(1);
  app.set_version_flag("--version", LAMINA_VERSION);
#define LAMINA_VERB(name) lamina::cli::add_##name(app);
#include "verbs.inc"
#undef LAMINA_VERB
  try {
    app.parse(argc, argv);
    return 0;
  } catch (const CLI::ParseError &error) {
    // CLI11's own codes are above 100; a usage error is 2 everywhere in Lamina.
    return app.exit(error) == 0 ? 0 : 2;
  } catch (const lamina::Error &error) {
    std::fprintf(stderr, "error: %s\n", lamina::manifest::printable(error.what()).c_str());
    return lamina::exit_code(error.kind);
  } catch (const std::filesystem::filesystem_error &error) {
    std::fprintf(stderr, "error: %s\n", lamina::manifest::printable(error.what()).c_str());
    return lamina::exit_code(lamina::kind_of_errno(error.code().value()));
  } catch (const std::bad_alloc &) { std::fprintf(stderr, "error: out of memory\n"); } catch (const std::exception &error) {
    std::fprintf(stderr, "error: unexpected: %s\n", error.what());
  }
  return lamina::exit_code(lamina::ErrorKind::internal);
}
