#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include "manifest/elf_facts.h"

#include <elf.h>
#include <sys/mman.h>

#include <cstring>

#include "manifest/elf_file.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::has;

namespace {

// Compiles one file with extra flags and reads the result.
ElfFacts built(const test::Folder &folder, const std::string &source, const std::string &flags, const std::string &compiler = "gcc -x c") {
  test::write(folder / "source", source);
  test::run(compiler + " -shared -fPIC -fvisibility=hidden -o " + (folder / "x.so").string() + " " + (folder / "source").string() +
            " -x none " + flags);
  return read_elf(test::read(folder / "x.so"), "x.so");
}

constexpr const char *entry = "__attribute__((visibility(\"default\"))) const void *lamina_library_v1(void) { return 0; }\n";
constexpr const char *clean = "-nostartfiles -nodefaultlibs -Wl,-z,noexecstack";

// Bytes that end where readable memory ends: reading one past them is a fault, not luck.
class Guarded {
 public:
  explicit Guarded(const std::string &bytes) {
    const size_t page = 4096, room = (bytes.size() + page - 1) / page * page;
    size_ = room + page;
    start_ = static_cast<char *>(mmap(nullptr, size_, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    REQUIRE(start_ != MAP_FAILED);
    REQUIRE(mprotect(start_ + room, page, PROT_NONE) == 0);
    text_ = {start_ + room - bytes.size(), bytes.size()};
    std::memcpy(start_ + room - bytes.size(), bytes.data(), bytes.size());
  }
  ~Guarded() { munmap(start_, size_); }
  Guarded(const Guarded &) = delete;
  Guarded &operator=(const Guarded &) = delete;
  std::string_view text() const { return text_; }

 private:
  char *start_;
  size_t size_;
  std::string_view text_;
};

std::string all(const std::vector<std::string> &sentences) {
  std::string text;
  for (const std::string &sentence : sentences) text += sentence + "\n";
  return text;
}

}  // namespace

TEST_CASE("the plug-ins of this tree keep the rules") {
  int audited = 0;
  for (const auto &file : std::filesystem::directory_iterator("build/plugins")) {
    if (file.path().extension() != ".so") continue;
    const ElfFacts facts = read_elf(test::read(file.path()), file.path().string());
    CHECK_MESSAGE(audit_plugin(facts).empty(), file.path().string() << ": " << all(audit_plugin(facts)));
    CHECK(facts.exported == std::vector<std::string>{"lamina_library_v1"});
    CHECK(facts.build_id.size() == 40);
    ++audited;
  }
  CHECK_MESSAGE(audited > 0, "build/plugins is empty; run make plugins");
}

TEST_CASE("a build for tvm-ffi may export its functions, and nobody else") {
  test::Folder folder;
  const std::string function = "__attribute__((visibility(\"default\"))) int __tvm_ffi_forward(void) { return 0; }\n";
  const std::string import =
      "__attribute__((weak)) void TVMFFIErrorSetRaisedFromCStr(void);\nvoid (*volatile use)(void) = TVMFFIErrorSetRaisedFromCStr;\n";
  const ElfFacts with = built(folder, std::string(entry) + function + import, clean);
  CHECK_MESSAGE(audit_plugin(with).empty(), all(audit_plugin(with)));
  CHECK(has(all(audit_plugin(built(folder, std::string(entry) + function, clean))), "it exports __tvm_ffi_forward"));
  const std::string other = "__attribute__((visibility(\"default\"))) int other;\n";
  CHECK(has(all(audit_plugin(built(folder, std::string(entry) + other + import, clean))), "it exports other"));
}

TEST_CASE("a clean file passes, facts are read") {
  test::Folder folder;
  const ElfFacts facts = built(folder, entry, std::string(clean) + " -Wl,--build-id=sha1 -Wl,-soname,name.so");
  CHECK_MESSAGE(audit_plugin(facts).empty(), all(audit_plugin(facts)));
  CHECK(facts.shared_object);
  CHECK(facts.soname == "name.so");
  CHECK(has(test::run("readelf -n " + (folder / "x.so").string()), facts.build_id));
  CHECK(has(test::run("readelf -h " + (folder / "x.so").string()), facts.machine == "x86_64" ? "X86-64" : "AArch64"));
}

TEST_CASE("each rule is seen broken") {
  test::Folder folder;
  const auto violation = [&](const std::string &source, const std::string &flags, const char *expected,
                             const std::string &compiler = "gcc -x c") {
    const std::string found = all(audit_plugin(built(folder, source, flags, compiler)));
    CHECK_MESSAGE(has(found, expected), "expected: " << expected << "\nfound: " << found);
  };
  const std::string base = clean;
  violation("int f(void) { return 1; }", base, "does not export lamina_library_v1");
  violation(std::string(entry) + "__attribute__((visibility(\"default\"))) int other;", base, "exports other");
  violation(entry, "-nostartfiles -Wl,--no-as-needed -lcrypto", "needs libcrypto.so.3");
  violation(entry, base + " -Wl,-rpath,/tmp", "search path /tmp");
  violation(entry, "-nostartfiles -nodefaultlibs -Wl,-z,execstack", "executable stack");
  violation(std::string(entry) + "__attribute__((constructor)) static void c(void) {}", base, "functions when loaded");
  violation(std::string(entry) + "__attribute__((destructor)) static void c(void) {}", base, "functions when unloaded");
  violation(entry, "", "when loaded");  // crtbegin's frame_dummy
  violation(std::string(entry) +
                "static int r(void) { return 1; } static int (*pick(void))(void) { return r; }\n"
                "__attribute__((ifunc(\"pick\"))) int i(void); int (*volatile use)(void) = i;",
            base, "indirect functions");
  violation(std::string(entry) + "#include <dlfcn.h>\nvoid *volatile p; void f(void) { p = dlopen; }", "-nostartfiles",
            "asks for libc.so.6 GLIBC_2.34");
  violation(entry, base + " -Wl,-f,evil.so", "makes the loader open evil.so");
  violation(std::string("extern \"C\" { ") + entry +
                "}\ntemplate <class T> struct S { __attribute__((visibility(\"default\"))) static int v; };\n"
                "template <class T> int S<T>::v = 1; __attribute__((visibility(\"default\"))) int *f() { return &S<int>::v; }",
            base, "STB_GNU_UNIQUE", "g++ -x c++ -fgnu-unique");
  CHECK(has(all(audit_plugin(read_elf(test::read("/proc/self/exe"), "exe"))), "needs libstdc++.so.6"));
}

TEST_CASE("undefined symbols carry their versions") {
  test::Folder folder;
  const ElfFacts facts =
      built(folder,
            std::string("#include <stdlib.h>\n") + entry +
                "__attribute__((weak)) void maybe(void); void *f(void) { return maybe ? 0 : malloc(1); } void *(*volatile g)(void) = f;",
            "-nostartfiles");
  bool found_malloc = false, found_maybe = false;
  for (const UndefinedSymbol &symbol : facts.undefined) {
    if (symbol.name == "malloc") found_malloc = symbol.library == "libc.so.6" && symbol.version.starts_with("GLIBC_2.") && !symbol.weak;
    if (symbol.name == "maybe") found_maybe = symbol.version.empty() && symbol.weak;
  }
  CHECK(found_malloc);
  CHECK(found_maybe);
  CHECK(facts.needed == std::vector<std::string>{"libc.so.6"});
  CHECK(facts.max_glibc.starts_with("2."));
}

TEST_CASE("addresses behind a segment's file bytes are not the bytes that follow in the file") {
  test::Folder folder;
  built(folder, std::string(entry) + "static char zeros[4096]; char *f(void) { return zeros; } char *(*volatile g)(void) = f;", clean);
  const std::string bytes = test::read(folder / "x.so"), name = "x.so";
  const ElfFile file(bytes, name);
  int found = 0;
  for (const Elf64_Phdr &segment : file.segments()) {
    if (segment.p_type != PT_LOAD || segment.p_memsz < segment.p_filesz + 8) continue;
    ++found;
    CHECK(file.offset_of(segment.p_vaddr, 8) == segment.p_offset);
    test::error_of(ErrorKind::malformed, [&] { file.offset_of(segment.p_vaddr + segment.p_filesz, 8); });
  }
  CHECK(found == 1);
}

TEST_CASE("versions compare by number") {
  CHECK(compare_versions("2.9", "2.28") < 0);
  CHECK(compare_versions("2.28", "2.28") == 0);
  CHECK(compare_versions("2.2.5", "2.2") > 0);
  CHECK(compare_versions("3", "2.99") > 0);
}

TEST_CASE("cut and altered files are refused or read, never more") {
  test::Folder folder;
  built(folder, std::string("#include <stdlib.h>\n") + entry + "void *f(void) { return malloc(1); } void *(*volatile g)(void) = f;",
        "-nostartfiles -Wl,--hash-style=both");
  const std::string good = test::read(folder / "x.so");
  int refused = 0, read = 0;
  const auto attempt = [&](const std::string &bytes) {
    try {
      audit_plugin(read_elf(Guarded(bytes).text(), "hostile.so"));
      ++read;
    } catch (const Error &error) {
      CHECK(error.kind == ErrorKind::malformed);
      ++refused;
    }
  };
  for (size_t size = 0; size < good.size(); size += size < 1024 ? 1 : 97) attempt(good.substr(0, size));
  CHECK(read < 200);  // those that only lack sections, which loading does not need
  // Each 8-byte word of headers, dynamic section and tables replaced by extremes.
  for (size_t at = 0; at + 8 <= good.size(); at += 8)
    for (const uint64_t value : {UINT64_MAX, uint64_t{0}, uint64_t{1} << 63, uint64_t{0x7fffffff}, uint64_t{good.size() - 1}}) {
      std::string bytes = good;
      std::memcpy(bytes.data() + at, &value, 8);
      attempt(bytes);
    }
  CHECK(refused > 500);
  test::error_of(ErrorKind::malformed, [] { read_elf("", "empty"); });
  test::error_of(ErrorKind::malformed, [] { read_elf(std::string(4096, '\x7f'), "noise"); });
}
