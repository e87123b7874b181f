// Every plug-in in build/plugins exports one symbol, needs glibc's own libraries alone, at most GLIBC_2.28, and runs nothing when it is
// loaded; and the audit can fail.
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>

#include "manifest/elf_facts.h"
#include "manifest/error.h"

namespace {

std::string bytes_of(const std::filesystem::path &path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

}  // namespace

int main() {
  namespace manifest = lamina::manifest;
  int audited = 0, broken = 0;
  try {
    for (const auto &entry : std::filesystem::directory_iterator("build/plugins")) {
      if (entry.path().extension() != ".so") continue;
      const manifest::ElfFacts facts = manifest::read_elf(bytes_of(entry.path()), entry.path().string());
      const auto faults = manifest::audit_plugin(facts);
      for (const std::string &fault : faults) std::printf("%s: %s\n", entry.path().c_str(), fault.c_str());
      std::printf("%s: needs", entry.path().filename().c_str());
      for (const std::string &library : facts.needed) std::printf(" %s", library.c_str());
      std::printf("; at most GLIBC_%s\n", facts.max_glibc.c_str());
      broken += !faults.empty();
      ++audited;
    }
    // Something that is no plug-in: this program itself.
    if (manifest::audit_plugin(manifest::read_elf(bytes_of("/proc/self/exe"), "this program")).size() < 2) {
      std::printf("the audit finds nothing wrong with an ordinary program\n");
      return 1;
    }
  } catch (const std::exception &error) {
    std::printf("error: %s\n", error.what());
    return 1;
  }
  if (audited == 0) std::printf("error: build/plugins holds no plug-in\n");
  std::printf("%d plug-ins audited, %d break the rules\n", audited, broken);
  return audited > 0 && broken == 0 ? 0 : 1;
}
