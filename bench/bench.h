// Times a CPU build against the peak of its own instruction and, where a Python with torch is given, against PyTorch.
#pragma once
#include <cstdio>
#include <string>
#include <vector>

#include "bench/subject.h"

namespace lamina::bench {

struct Options {
  std::vector<std::string> builds;             // plug-in files
  std::vector<std::string> dims;               // "N=256,C=128": one measurement each
  std::vector<std::string> dtypes;             // one measurement each
  std::vector<std::string> attributes;         // "direction=incoming"
  std::vector<std::string> given;              // optional arguments; empty: what layers/<layer>/cases.json gives by default
  std::string op = "forward";                  // or "training": forward_train, then backward of every gradient
  int threads = 0;                             // 0: every processor this process may run on
  double seconds = 1;                          // for each measurement
  std::string torch;                           // a Python that imports torch; empty: no peers
  std::string peers = "bench/peers_torch.py";  // how the peers are run
  std::string write;                           // a folder for cpu-<model>.md; empty: print only
  std::string command;                         // recorded in the file
  Home home = processor_home();                // a GPU's memory and stream, from the caller
  std::string home_name;                       // the GPU's
};

struct Peer {
  std::string name;
  double milliseconds;
};

struct Row {
  std::string target, dtype, dims;
  double milliseconds, median_milliseconds, flops, peak;  // flops of one call; peak in operations per second
  double workspace_units;                                 // workspace over the bytes of the output
  std::vector<Peer> peers;
};

// Measures and prints; a line for each measurement.  Binds the process to `threads` processors.  Errors: as Subject, and
// failed when the peers' Python fails.
std::vector<Row> bench(const Options &options, FILE *out);

// One measurement of one plug-in at complete dims; options give peers, seconds and home.  Errors: as bench.
Row measure(const lamina_library &library, const Setting &setting, const Options &options, int threads);
// Binds this process to `wanted` processors (0: all it may use) and says how many those are.  Plug-in, peaks and peers all size themselves
// by that.
int bind_threads(int wanted);
std::string text_of(const std::map<std::string, int64_t> &dims);

// The model name of this machine's processor.
std::string processor_model();
// "AMD EPYC 9B45" -> "amd-epyc-9b45"
std::string slug_of(const std::string &model);
// The page that `write` asks for, as Markdown.
std::string page_of(const std::vector<Row> &rows, const Options &options, const std::string &commit);

}  // namespace lamina::bench
