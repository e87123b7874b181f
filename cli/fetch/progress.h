// How a download is shown to a person: one moving line on a terminal, now and then a sentence elsewhere.
#pragma once
#include <chrono>
#include <cstdio>
#include <string>

#include "hub_client/download.h"

namespace lamina::cli {

class ProgressLine {
 public:
  // `terminal`: draw a bar and redraw it; otherwise a line every `interval`, since a log wants sentences.
  ProgressLine(FILE *to, bool terminal, std::chrono::seconds interval = std::chrono::seconds(10))
      : to_(to), terminal_(terminal), interval_(interval) {}
  ~ProgressLine() { clear(); }
  void show(const hub::Progress &now);
  void clear();  // before any other line is printed

 private:
  using Clock = std::chrono::steady_clock;
  FILE *to_;
  bool terminal_, drawn_ = false;
  std::chrono::seconds interval_;
  std::string file_;
  Clock::time_point start_ = Clock::now(), last_ = Clock::now() - std::chrono::hours(1), rate_from_ = Clock::now();
  uint64_t rate_bytes_ = 0, came_ = 0, file_done_ = 0;
  double rate_ = 0;  // bytes a second, of the last seconds
};

// "1.5 MB", "812 kB", "17 B".
std::string bytes_text(uint64_t bytes);
// "4 s", "2 min 5 s", "1 h 3 min".
std::string seconds_text(double seconds);

}  // namespace lamina::cli
