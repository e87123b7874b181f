// Prints the C header of a layer from its contract, as `lamina pack` puts it into a bundle:
//
//   layer_header layers/triangle_multiplication/contract.json > triangle_multiplication.h
#include <cstdio>

#include "manifest/contract.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "packager/c_header.h"

int main(int argc, char **argv) try {
  if (argc != 2) return std::fputs("usage: layer_header contract.json\n", stderr), 2;
  const std::string header =
      lamina::packager::c_header(lamina::manifest::parse_contract(lamina::manifest::read_file(argv[1], 16 << 20), argv[1]));
  return std::fwrite(header.data(), 1, header.size(), stdout) == header.size() && std::fflush(stdout) == 0 ? 0 : 1;
} catch (const lamina::Error &error) {
  std::fprintf(stderr, "layer_header: %s\n", error.what());
  return lamina::exit_code(error.kind);
}
