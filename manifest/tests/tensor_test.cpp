#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <cstring>

#include "manifest/npy.h"
#include "manifest/safetensors.h"
#include "manifest/tests/support.h"

using namespace lamina;
using namespace lamina::manifest;
using test::error_of;
using test::has;

namespace {

std::string safetensors_bytes(const std::string &header, const std::string &data) {
  const uint64_t size = header.size();
  return std::string(reinterpret_cast<const char *>(&size), 8) + header + data;
}

TensorView view_of(const std::vector<float> &values, std::vector<int64_t> shape) {
  return {reinterpret_cast<const unsigned char *>(values.data()), *dtype_named("float32"), shape, row_major_strides(shape)};
}

std::vector<float> floats(const TensorView &view) {
  const std::vector<unsigned char> bytes = copy_contiguous(view);
  std::vector<float> values(bytes.size() / 4);
  if (!bytes.empty()) std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

}  // namespace

TEST_CASE("a strided view copies in row-major order") {
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  TensorView view = view_of(values, {2, 3});
  CHECK(view.contiguous());
  view.shape = {3, 2}, view.strides = {1, 3};
  CHECK(!view.contiguous());
  CHECK(floats(view) == std::vector<float>{0, 3, 1, 4, 2, 5});
  view.shape = {2, 2, 2}, view.strides = {0, 3, 2};
  CHECK(floats(view) == std::vector<float>{0, 2, 3, 5, 0, 2, 3, 5});
  view.shape = {0, 2}, view.strides = {2, 1};
  CHECK(floats(view).empty());
  view.shape = {}, view.strides = {};
  CHECK(floats(view) == std::vector<float>{0});
}

TEST_CASE("safetensors: what is written is read, every dtype, aligned and deterministic") {
  test::Folder folder;
  std::vector<std::vector<unsigned char>> buffers;
  std::map<std::string, TensorView> tensors;
  for (const char *name :
       {"float64", "float32", "float16", "bfloat16", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}) {
    const lamina_dtype dtype = *dtype_named(name);
    buffers.emplace_back(static_cast<size_t>(3 * dtype_bytes(dtype)));
    for (size_t i = 0; i < buffers.back().size(); ++i) buffers.back()[i] = static_cast<unsigned char>(i * 37 + buffers.size());
    tensors[std::string("t.") + name] = {buffers.back().data(), dtype, {3, 1}, {1, 1}};
  }
  tensors["empty"] = {nullptr, *dtype_named("float32"), {0, 7}, {7, 1}};
  tensors["scalar"] = {buffers[1].data(), *dtype_named("float32"), {}, {}};
  write_safetensors(folder / "a", tensors, {{"source", "a test"}});
  write_safetensors(folder / "b", tensors, {{"source", "a test"}});
  CHECK(test::read(folder / "a") == test::read(folder / "b"));
  const auto file = SafetensorsFile::open(folder / "a");
  CHECK(file->metadata().at("source") == "a test");
  CHECK(file->tensors().size() == tensors.size());
  for (const auto &[name, view] : tensors) {
    const TensorView *found = file->find(name);
    REQUIRE(found != nullptr);
    CHECK(found->shape == view.shape);
    CHECK(found->dtype == view.dtype);
    CHECK(copy_contiguous(*found) == copy_contiguous(view));
    CHECK(reinterpret_cast<uintptr_t>(found->data) % static_cast<uintptr_t>(dtype_bytes(view.dtype)) == 0);
  }
  CHECK(file->find("none") == nullptr);
  error_of(ErrorKind::invalid_argument, [&] { write_safetensors(folder / "c", {{"x", {nullptr, {9, 8, 1}, {0}, {1}}}}); });
  error_of(ErrorKind::not_found, [&] { SafetensorsFile::open(folder / "c"); });
}

TEST_CASE("safetensors: hostile headers") {
  test::Folder folder;
  const auto opened = [&](const std::string &bytes) {
    test::write(folder / "x.safetensors", bytes);
    return SafetensorsFile::open(folder / "x.safetensors");
  };
  const auto refused = [&](const std::string &bytes) { return error_of(ErrorKind::malformed, [&] { opened(bytes); }); };
  const std::string good = R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data(8, '\1');
  CHECK(opened(safetensors_bytes(good, data))->tensors().size() == 1);
  CHECK(opened(safetensors_bytes(good + "   ", data))->tensors().size() == 1);
  CHECK(opened(safetensors_bytes("{}", ""))->tensors().empty());

  refused("");
  refused("1234567");
  CHECK(has(refused(std::string(8, '\xFF') + good), "header claims 18446744073709551615"));
  refused(safetensors_bytes(good, data).substr(0, 30));
  CHECK(has(refused(safetensors_bytes(good, data + "x")), "cover 8 of 9"));
  CHECK(has(refused(safetensors_bytes(good, "1234567")), "not inside the file"));
  refused(safetensors_bytes(" " + good, data));
  refused(safetensors_bytes("[]", ""));
  refused(safetensors_bytes(good + "x", data));
  const auto tensor = [](const std::string &dtype, const std::string &shape, const std::string &offsets) {
    return "{\"a\":{\"dtype\":" + dtype + ",\"shape\":" + shape + ",\"data_offsets\":" + offsets + "}}";
  };
  for (const std::string &header :
       {tensor("\"F32\"", "[3]", "[0,8]"),
        tensor("\"F64\"", "[2]", "[0,8]"),
        tensor("\"F32\"", "[-2]", "[0,8]"),
        tensor("\"F32\"", "[2.0]", "[0,8]"),
        tensor("\"F32\"", "2", "[0,8]"),
        tensor("\"F32\"", "[2]", "[8,0]"),
        tensor("\"F32\"", "[2]", "[-8,0]"),
        tensor("\"F32\"", "[2]", "[0]"),
        tensor("\"F32\"", "[2]", "[0,8,9]"),
        tensor("\"F32\"", "[2]", "[4,12]"),
        tensor("\"F32\"", "[4611686018427387904,2]", "[0,8]"),
        tensor("\"F32\"", "[9223372036854775807,9223372036854775807]", "[0,4]"),
        tensor("\"F32\"", "[0,9223372036854775807,16]", "[0,0]"),
        tensor("\"F32\"", "[18446744073709551615]", "[0,8]"),
        tensor("3", "[2]", "[0,8]"),
        std::string(R"({"a":{"dtype":"F32","shape":[2]}})"),
        std::string(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})"),
        std::string(R"({"a":3})"),
        std::string(R"({"__metadata__":{"a":1}})"),
        std::string(R"({"__metadata__":[]})"),
        std::string(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})")})
    CHECK_MESSAGE(has(refused(safetensors_bytes(header, data)), "x.safetensors"), header);
  const auto two = [](const std::string &a, const std::string &b) {
    return "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + a +
           "},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":" + b + "}}";
  };
  CHECK(opened(safetensors_bytes(two("[4,8]", "[0,4]"), data))->tensors().size() == 2);
  CHECK(has(refused(safetensors_bytes(two("[0,4]", "[0,4]"), data)), "overlaps"));
  CHECK(has(refused(safetensors_bytes(two("[0,4]", "[2,6]"), data)), "overlaps"));
  CHECK(has(refused(safetensors_bytes(two("[0,4]", "[4,8]"), data + "1")), "cover 8 of 9"));
  CHECK(has(refused(safetensors_bytes(two("[0,4]", "[5,9]"), data + "1")), "belong to no tensor"));
  CHECK(has(error_of(ErrorKind::unsupported, [&] { opened(safetensors_bytes(tensor("\"F8_E4M3\"", "[8]", "[0,8]"), data)); }), "F8_E4M3"));
  error_of(ErrorKind::malformed, [&] { SafetensorsFile::open(folder.path()); });
}

TEST_CASE("safetensors: any altered byte is refused or stays inside the file") {
  test::Folder folder;
  const std::vector<float> values(24, 1);
  write_safetensors(folder / "good", {{"a", view_of(values, {2, 3})}, {"b", view_of(values, {4})}, {"c", view_of(values, {0, 2})}},
                    {{"k", "v"}});
  const std::string good = test::read(folder / "good");
  int refused = 0, opened = 0;
  for (size_t at = 0; at < good.size(); ++at)
    for (const char value : {'\0', '9', '-', '"', '}', '\xFF'}) {
      std::string bytes = good;
      bytes[at] = value;
      test::write(folder / "bad", bytes);
      try {
        const auto file = SafetensorsFile::open(folder / "bad");
        for (const auto &[name, view] : file->tensors()) CHECK(copy_contiguous(view).size() <= good.size());
        ++opened;
      } catch (const Error &error) {
        CHECK((error.kind == ErrorKind::malformed || error.kind == ErrorKind::unsupported));
        ++refused;
      }
    }
  CHECK(refused > 500);
  CHECK(opened > 100);  // names, metadata and the data itself may be anything
}

TEST_CASE("npy: what is written is read, and NumPy's own bytes") {
  test::Folder folder;
  const std::vector<float> values = {0, 1, 2, 3, 4, 5};
  TensorView view = view_of(values, {2, 3});
  write_npy(folder / "a.npy", view);
  // What numpy.save writes of arange(6, dtype=float32).reshape(2, 3).
  std::string header = "{'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }";
  header.resize(117, ' ');
  const std::string expected =
      std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header + "\n" + std::string(reinterpret_cast<const char *>(values.data()), 24);
  CHECK(test::read(folder / "a.npy") == expected);
  const NpyArray array = read_npy(folder / "a.npy");
  CHECK(array.shape == view.shape);
  CHECK(floats(array.view()) == values);
  view.shape = {3, 2}, view.strides = {1, 3};
  write_npy(folder / "t.npy", view);
  CHECK(floats(read_npy(folder / "t.npy").view()) == std::vector<float>{0, 3, 1, 4, 2, 5});
  for (const char *name :
       {"float64", "float16", "bfloat16", "bool", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"}) {
    const TensorView one{reinterpret_cast<const unsigned char *>(values.data()), *dtype_named(name), {1}, {1}};
    write_npy(folder / "d.npy", one);
    const NpyArray back = read_npy(folder / "d.npy");
    CHECK_MESSAGE(dtype_name(back.dtype) == name, name);
    CHECK(back.bytes == copy_contiguous(one));
  }
  write_npy(folder / "s.npy", {reinterpret_cast<const unsigned char *>(values.data()), *dtype_named("float32"), {}, {}});
  CHECK(read_npy(folder / "s.npy").shape.empty());
  write_npy(folder / "e.npy", {nullptr, *dtype_named("float32"), {0, 4}, {4, 1}});
  CHECK(read_npy(folder / "e.npy").shape == std::vector<int64_t>{0, 4});
}

TEST_CASE("npy: versions 2 and 3, other spellings") {
  test::Folder folder;
  const auto opened = [&](const std::string &version, const std::string &header, const std::string &data) {
    const uint32_t size = static_cast<uint32_t>(header.size());
    const std::string length(reinterpret_cast<const char *>(&size), version == "\x01" ? 2 : 4);
    test::write(folder / "x.npy", "\x93NUMPY" + version + std::string(1, '\0') + length + header + data);
    return read_npy(folder / "x.npy");
  };
  const std::string data(8, '\0');
  for (const char *version : {"\x01", "\x02", "\x03"})
    CHECK(opened(version, "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }\n", data).shape == std::vector<int64_t>{2});
  CHECK(opened("\x01", "{\"shape\":(1,2),\"fortran_order\":False,\"descr\":\"<f4\"}", data).shape.size() == 2);
  for (const char *header :
       {"{'descr': '<f4', 'fortran_order': False, 'shape': (3,), }", "{'descr': '<f4', 'fortran_order': False, 'shape': (2,)",
        "{'descr': '<f4', 'shape': (2,), }", "{'descr': '<f4', 'fortran_order': 0, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (-2,), }", "x", "",
        "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (2,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), 'x': 1}",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 4), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999999999999,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), } x"})
    CHECK_MESSAGE(has(error_of(ErrorKind::malformed, [&] { opened("\x01", header, data); }), "x.npy"), header);
  CHECK(has(error_of(ErrorKind::unsupported, [&] { opened("\x01", "{'descr': '>f4', 'fortran_order': False, 'shape': (2,), }", data); }),
            ">f4"));
  CHECK(has(error_of(ErrorKind::unsupported, [&] { opened("\x01", "{'descr': '<f4', 'fortran_order': True, 'shape': (2,), }", data); }),
            "ascontiguousarray"));
  error_of(ErrorKind::unsupported, [&] { opened("\x01", "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (2,), }", data); });
  error_of(ErrorKind::unsupported, [&] { opened("\x04", "{}", data); });
  const std::string good =
      "\x93NUMPY" + std::string("\x01\x00\x39\x00", 4) + "{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }" + data;
  test::write(folder / "x.npy", good);
  CHECK(read_npy(folder / "x.npy").shape == std::vector<int64_t>{2});
  test::write(folder / "x.npy", good + "x");
  error_of(ErrorKind::malformed, [&] { read_npy(folder / "x.npy"); });
  for (size_t size = 0; size < good.size(); ++size) {
    test::write(folder / "x.npy", good.substr(0, size));
    error_of(ErrorKind::malformed, [&] { read_npy(folder / "x.npy"); });
  }
}
