// python_formats write FOLDER: files of every format of ours.  python_formats read FOLDER: NumPy's and safetensors' files, printed as
// "name dtype shape sha256".  python_formats metadata FILE: for each document in FILE, behind its length on a line, whether it is accepted.
// python_agrees compares all of it with the Python libraries.
#include <cstdio>
#include <cstring>

#include "manifest/digest.h"
#include "manifest/npy.h"
#include "manifest/python_metadata.h"
#include "manifest/safetensors.h"
#include "manifest/tests/bundle_fixture.h"

#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

using namespace lamina::manifest;

namespace {

constexpr const char *dtypes[] = {"float64", "float32", "float16", "bfloat16", "bool",   "int8",  "int16",
                                  "int32",   "int64",   "uint8",   "uint16",   "uint32", "uint64"};

void write_formats(const std::filesystem::path &folder) {
  std::vector<unsigned char> bytes(6 * 8);
  for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<unsigned char>(i % 2);  // whatever the dtype, finite and a valid bool
  std::map<std::string, TensorView> tensors;
  for (const char *name : dtypes) {
    tensors[name] = {bytes.data(), *dtype_named(name), {2, 3}, {3, 1}};
    write_npy(folder / (std::string(name) + ".npy"), tensors[name]);
  }
  write_safetensors(folder / "ours.safetensors", tensors, {{"made", "by us"}});
  test::Variant variant;
  std::filesystem::copy(variant.path(), folder / "variant", std::filesystem::copy_options::recursive);
}

void print(const std::string &name, const TensorView &view) {
  const std::vector<unsigned char> bytes = copy_contiguous(view);
  std::printf("%s %s %s %s\n", name.c_str(), dtype_name(view.dtype).c_str(), shape_text(view.shape).c_str(),
              sha256_hex({reinterpret_cast<const char *>(bytes.data()), bytes.size()}).c_str());
}

void read_formats(const std::filesystem::path &folder) {
  for (const std::string &file : list_files(folder)) {
    if (file.ends_with(".npy")) print(file, read_npy(folder / file).view());
    if (!file.ends_with(".safetensors")) continue;
    const auto opened = SafetensorsFile::open(folder / file);
    for (const auto &[name, view] : opened->tensors()) print(file + ":" + name, view);
  }
}

void judge_metadata(const std::filesystem::path &file) {
  const std::string all = read_file(file, 1 << 30);
  for (size_t at = 0; at < all.size();) {
    const size_t line = all.find('\n', at), size = std::stoul(all.substr(at, line - at));
    const std::string text = all.substr(line + 1, size);
    at = line + 1 + size;
    try {
      const PythonMetadata read = parse_python_metadata(text, "metadata.json");
      std::printf("yes %s %llu %s\n", read.name.c_str(), static_cast<unsigned long long>(read.version), read.backend.c_str());
    } catch (const lamina::Error &error) { std::printf("no %s\n", error.what()); }
  }
}

}  // namespace

int main(int argc, char **argv) {
  doctest::Context context;  // the fixture's checks throw through it
  context.setAsDefaultForAssertsOutOfTestCases();
  context.setAssertHandler([](const doctest::AssertData &data) { throw std::runtime_error(std::string("failed: ") + data.m_expr); });
  try {
    if (argc == 3 && std::strcmp(argv[1], "write") == 0) return write_formats(argv[2]), 0;
    if (argc == 3 && std::strcmp(argv[1], "read") == 0) return read_formats(argv[2]), 0;
    if (argc == 3 && std::strcmp(argv[1], "metadata") == 0) return judge_metadata(argv[2]), 0;
    std::fprintf(stderr, "usage: python_formats write|read FOLDER, or metadata FILE\n");
  } catch (const std::exception &error) { std::fprintf(stderr, "%s\n", error.what()); }
  return 1;
}
