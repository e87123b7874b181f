// On a machine with a GPU: the CUDA side of conformance does what its checks rely on.  gpu.sh runs it first.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <dlfcn.h>

#include <cstring>
#include <vector>

#include "conformance/device.h"
#include "manifest/error.h"

using namespace lamina;
using namespace lamina::conformance;

// A driver call that conformance itself has no use for: something to put on a stream.
static int copy_async(void *to, const void *from, size_t bytes, void *stream) {
  using Copy = int (*)(unsigned long long, unsigned long long, size_t, void *);
  static const auto copy = reinterpret_cast<Copy>(dlsym(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL), "cuMemcpyDtoDAsync_v2"));
  return copy(reinterpret_cast<unsigned long long>(to), reinterpret_cast<unsigned long long>(from), bytes, stream);
}

TEST_CASE("memory is aligned as asked and no better, starts as poison, and canaries see writes on both sides") {
  const auto device = cuda_device(0);
  MESSAGE(device->name());
  CHECK(device->id().type == LAMINA_CUDA);
  for (const size_t align : {1, 2, 4, 16, 256})
    for (const Edge edge : {Edge::front, Edge::back}) {
      const auto buffer = device->allocate(1000, align, edge, "x");
      CHECK(reinterpret_cast<uintptr_t>(buffer->data()) % align == 0);
      if (edge == Edge::back) CHECK(reinterpret_cast<uintptr_t>(buffer->data()) % (2 * align) != 0);
      std::vector<unsigned char> bytes(1000);
      buffer->read(bytes.data());
      CHECK(bytes == std::vector<unsigned char>(1000, 0xff));
      CHECK(buffer->damage().empty());
      for (size_t i = 0; i < 1000; ++i) bytes[i] = static_cast<unsigned char>(i * 7);
      buffer->write(bytes.data());
      std::vector<unsigned char> again(1000);
      buffer->read(again.data());
      CHECK(again == bytes);
      CHECK(buffer->damage().empty());
      const auto source = device->allocate(16, 16, Edge::front, "y");
      REQUIRE(copy_async(static_cast<char *>(buffer->data()) + 999, source->data(), 2, device->stream(0)) == 0);
      device->synchronise();
      CHECK(buffer->damage() == "wrote past its end");
    }
  const auto buffer = device->allocate(64, 4, Edge::front, "x"), source = device->allocate(16, 16, Edge::front, "y");
  REQUIRE(copy_async(static_cast<char *>(buffer->data()) - 1, source->data(), 1, nullptr) == 0);
  device->synchronise();
  CHECK(buffer->damage() == "wrote before its begin");
  CHECK(device->allocate(0, 4, Edge::front, "nothing")->data() == nullptr);
}

TEST_CASE("a captured graph does nothing until it is replayed, then reads what is there now") {
  const auto device = cuda_device(0);
  const auto from = device->allocate(256, 16, Edge::front, "from"), to = device->allocate(256, 16, Edge::front, "to");
  const std::vector<unsigned char> ones(256, 1), twos(256, 2), poison(256, 0xff);
  std::vector<unsigned char> now(256);
  from->write(ones.data());
  const auto replay = device->capture([&](void *stream) { return copy_async(to->data(), from->data(), 256, stream) == 0; });
  to->read(now.data());
  CHECK(now == poison);
  replay();
  to->read(now.data());
  CHECK(now == ones);
  from->write(twos.data());
  replay();
  to->read(now.data());
  CHECK(now == twos);
  CHECK_THROWS_AS(device->capture([](void *) { return true; }), Error);  // an empty graph shows nothing
}

TEST_CASE("a thread without a context can use the device's streams by handle") {
  const auto device = cuda_device(0);
  const auto from = device->allocate(256, 16, Edge::front, "from"), to = device->allocate(256, 16, Edge::front, "to");
  const std::vector<unsigned char> ones(256, 1);
  std::vector<unsigned char> now(256);
  from->write(ones.data());
  int without = 0;
  device->without_context([&] { without = copy_async(to->data(), from->data(), 256, nullptr); });
  CHECK(without != 0);  // the thread really has no context: the default stream has none to stand for
  CHECK_THROWS_AS(cuda_device(1000), Error);
}
