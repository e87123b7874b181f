// The CPU builds' own threads: every index once, from one thread or many, in a region inside a region, and in a child after fork.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <thread>
#include <vector>

#include "kernels/cpu/machine.h"
#include "kernels/cpu/pool.h"

using namespace lamina;

namespace {

// True if a region over `count` indices visits each of them once.
bool each_once(int64_t count, int64_t grain) {
  std::vector<std::atomic<int>> seen(static_cast<size_t>(count));
  cpu::own_threads().for_each(count, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) seen[static_cast<size_t>(i)].fetch_add(1);
  });
  for (const auto &times : seen)
    if (times.load() != 1) return false;
  return true;
}

}  // namespace

TEST_CASE("a region visits every index once") {
  for (const int64_t count : {0, 1, 2, 7, 64, 1000, 100003})
    for (const int64_t grain : {0, 1, 3, 1000}) CHECK(each_once(count, grain));
}

TEST_CASE("regions of several host threads at once are all complete") {
  std::atomic<int> complete{0};
  std::vector<std::thread> hosts;
  for (int host = 0; host < 8; ++host)
    hosts.emplace_back([&] {
      for (int round = 0; round < 200; ++round)
        if (each_once(257, 1)) complete.fetch_add(1);
    });
  for (std::thread &host : hosts) host.join();
  CHECK(complete.load() == 8 * 200);
}

TEST_CASE("a region inside a region runs on its caller") {
  std::atomic<int> inner{0};
  cpu::own_threads().for_each(16, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i)
      cpu::own_threads().for_each(8, 1, [&](int64_t from, int64_t to) { inner.fetch_add(static_cast<int>(to - from)); });
  });
  CHECK(inner.load() == 16 * 8);
}

TEST_CASE("a child of fork starts threads of its own, also a child of a child") {
  CHECK(each_once(1000, 1));
  const pid_t child = fork();
  if (child == 0) {
    bool good = each_once(1000, 1);
    const pid_t grandchild = fork();
    if (grandchild == 0) _exit(each_once(1000, 1) ? 0 : 1);
    int status = 1;
    good = waitpid(grandchild, &status, 0) == grandchild && status == 0 && good;
    _exit(good ? 0 : 1);
  }
  int status = 1;
  CHECK(waitpid(child, &status, 0) == child);
  CHECK(status == 0);
  CHECK(each_once(1000, 1));
}

TEST_CASE("the machine has what it says: the kernel's list agrees") {
#if defined(__x86_64__)
  FILE *list = popen("grep -m1 ^flags /proc/cpuinfo", "r");
  REQUIRE(list);
  std::string flags;
  for (char piece[4096]; fgets(piece, sizeof piece, list);) flags += piece;
  pclose(list);
  const auto listed = [&](const char *flag) {
    return (flags + " ").find(std::string(" ") + flag + " ") != std::string::npos ||
           flags.find(std::string(" ") + flag + "\n") != std::string::npos;
  };
  const cpu::Features has = cpu::features();
  CHECK(has.avx2 == listed("avx2"));
  CHECK(has.fma == listed("fma"));
  CHECK(has.f16c == listed("f16c"));
  CHECK(has.avx512f == listed("avx512f"));
  CHECK(has.avx512bw == listed("avx512bw"));
  CHECK(has.avx512vl == listed("avx512vl"));
  CHECK(has.avx512dq == listed("avx512dq"));
  CHECK(has.avx512bf16 == listed("avx512_bf16"));
  CHECK(has.amx_bf16 == listed("amx_bf16"));
#endif
}
