#include "bench/peers.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>

#include "manifest/error.h"
#include "manifest/json.h"

namespace lamina::bench {
namespace {

[[noreturn]] void become(int write_end, const std::vector<std::string> &words) {
  dup2(write_end, STDOUT_FILENO);
  // Freed memory stays in the heap: without this a measurement of eager PyTorch is one of page faults.
  setenv("MALLOC_MMAP_MAX_", "0", 1);
  setenv("MALLOC_TRIM_THRESHOLD_", "17179869184", 1);
  setenv("MALLOC_TOP_PAD_", "268435456", 1);
  setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1", 1);
  setenv("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_BF16", 0);
  std::vector<char *> arguments;
  for (const std::string &word : words) arguments.push_back(const_cast<char *>(word.c_str()));
  arguments.push_back(nullptr);
  execvp(arguments[0], arguments.data());
  _exit(127);
}

}  // namespace

std::vector<Peer> run_peers(const std::string &python, const std::string &script, const std::string &layer, const Setting &setting,
                            int threads, bool processor_time) {
  std::vector<std::string> words = {python, script, layer, setting.op, setting.dtype, std::to_string(threads)};
  for (const auto &[letter, value] : setting.dims) words.push_back(letter + "=" + std::to_string(value));
  for (const auto &[name, value] : setting.attributes) words.push_back(name + "=" + value);
  std::string given;
  for (const std::string &name : setting.given) given += (given.empty() ? "given=" : ",") + name;
  if (!given.empty()) words.push_back(given);
  if (processor_time) words.push_back("clock=processor");
  int ends[2];
  if (pipe2(ends, O_CLOEXEC)) throw Error(ErrorKind::internal, "no pipe to the peers");
  const pid_t child = fork();
  if (child < 0) throw Error(ErrorKind::internal, "no process for the peers");
  if (!child) become(ends[1], words);
  close(ends[1]);
  std::string said;
  char buffer[4096];
  for (ssize_t got; (got = read(ends[0], buffer, sizeof buffer)) > 0 && said.size() < 65536;) said.append(buffer, static_cast<size_t>(got));
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  if (!WIFEXITED(status) || WEXITSTATUS(status))
    throw Error(ErrorKind::failed, python + " " + script + " failed; --torch takes a Python that imports torch (`make bench` makes one)");
  std::vector<Peer> peers;
  const manifest::Json answer = manifest::parse_json(said, script + "'s answer");
  for (const manifest::Json &peer : answer) peers.push_back({peer.at("name").get<std::string>(), peer.at("milliseconds").get<double>()});
  return peers;
}

}  // namespace lamina::bench
