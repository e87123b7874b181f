// The page of measurements, written by the tool so that no number is typed.
#include <cctype>
#include <cstdio>
#include <fstream>

#include "bench/bench.h"

namespace lamina::bench {
namespace {

std::string number(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

}  // namespace

std::string processor_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.rfind("model name", 0) == 0) return line.substr(line.find(':') + 2);
  return "unknown processor";
}

std::string slug_of(const std::string &model) {
  std::string slug;
  for (const char letter : model) {
    if (std::isalnum(static_cast<unsigned char>(letter))) slug += static_cast<char>(std::tolower(static_cast<unsigned char>(letter)));
    else if (!slug.empty() && slug.back() != '-') slug += '-';
  }
  while (!slug.empty() && slug.back() == '-') slug.pop_back();
  return slug;
}

std::string page_of(const std::vector<Row> &rows, const Options &options, const std::string &commit) {
  std::string page = "# " + processor_model() + "\n\nWritten by `" + options.command + "` at commit " + commit + ".\n\n";
  page +=
      "Each time is the best of its run (the median beside it shows what neighbours took). The peak is measured in the same run by a loop\n"
      "of the build's own instruction on all threads. U is the bytes of one output tensor; extra memory is the workspace and what is "
      "saved. A "
      "peer's\n"
      "ratio is its time over ours; peers keep their heap (no page faults counted against them), as bench/peers_torch.py arranges. Peers'\n"
      "heap and a build's tensors and workspace lie in huge pages where the system gives them.\n\n";
  if (options.op == "training")
    page +=
        "A row is one step: forward_train, then backward to every gradient; its arithmetic is what the contract counts for both, a second\n"
        "computation of the activations included. PyTorch's step is the forward of the same maths and its autograd.\n\n";
  if (options.home.processor_time)
    page +=
        "Times are what one thread spent on a processor, so neighbours, of which there were many, lengthen them only through caches and "
        "memory.\n\n";
  std::vector<std::string> peers;
  for (const Row &row : rows)
    if (row.peers.size() > peers.size()) {
      peers.clear();
      for (const Peer &peer : row.peers) peers.push_back(peer.name);
    }
  page += "| build | dtype | dims | ms | median | GFLOP/s | peak | % of peak | extra memory, U |";
  for (const std::string &peer : peers) page += " " + peer + " ms | ratio |";
  page += "\n|--|--|--|--|--|--|--|--|--|";
  for (size_t i = 0; i < peers.size(); ++i) page += "--|--|";
  page += "\n";
  for (const Row &row : rows) {
    const double rate = row.flops / row.milliseconds * 1e3;
    page += "| " + row.target + " | " + row.dtype + " | " + row.dims + " | " + number(row.milliseconds, 2) + " | " +
            number(row.median_milliseconds, 2) + " | " + number(rate * 1e-9, 0) + " | " +
            (row.peak > 0 ? number(row.peak * 1e-9, 0) : "-") + " | " + (row.peak > 0 ? number(100 * rate / row.peak, 1) : "-") + " | " +
            number(row.workspace_units, 2) + " |";
    for (size_t i = 0; i < peers.size(); ++i) {
      if (i >= row.peers.size()) page += " - | - |";
      else page += " " + number(row.peers[i].milliseconds, 1) + " | " + number(row.peers[i].milliseconds / row.milliseconds, 2) + " |";
    }
    page += "\n";
  }
  return page;
}

}  // namespace lamina::bench
