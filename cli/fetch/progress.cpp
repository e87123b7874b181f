#include "progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

namespace lamina::cli {
namespace {

int width_of(FILE *to) {
  winsize size{};
  return ioctl(fileno(to), TIOCGWINSZ, &size) == 0 && size.ws_col > 40 ? size.ws_col : 80;
}

std::string formatted(const char *format, double value) {
  char text[64];
  std::snprintf(text, sizeof text, format, value);
  return text;
}

std::string bar(double part, int width) {
  const int full = static_cast<int>(part * width + 0.5);
  return "[" + std::string(static_cast<size_t>(full), '#') + std::string(static_cast<size_t>(width - full), '.') + "]";
}

}  // namespace

std::string bytes_text(uint64_t bytes) {
  const double value = static_cast<double>(bytes);
  if (bytes < 1000) return std::to_string(bytes) + " B";
  if (value < 1e6) return formatted("%.0f kB", value * 1e-3);
  if (value < 1e9) return formatted("%.1f MB", value * 1e-6);
  return formatted("%.2f GB", value * 1e-9);
}

std::string seconds_text(double seconds) {
  const long whole = std::lround(std::min(seconds, 359999.0));
  if (whole < 60) return std::to_string(whole) + " s";
  if (whole < 3600) return std::to_string(whole / 60) + " min " + std::to_string(whole % 60) + " s";
  return std::to_string(whole / 3600) + " h " + std::to_string(whole % 3600 / 60) + " min";
}

void ProgressLine::show(const hub::Progress &now) {
  const Clock::time_point clock = Clock::now();
  if (now.file != file_) file_ = now.file, file_done_ = now.resumed;
  came_ += now.done > file_done_ ? now.done - file_done_ : 0;
  file_done_ = now.done;
  // The rate of the last two seconds: a stall shows, a burst at the start does not mislead.
  if (const double span = std::chrono::duration<double>(clock - rate_from_).count(); span > 2 || rate_ == 0) {
    if (span > 0.05) rate_ = static_cast<double>(came_ - rate_bytes_) / span;
    if (span > 2) rate_from_ = clock, rate_bytes_ = came_;
  }
  const bool end = now.all_done >= now.all_total;
  if (terminal_ ? !end && clock - last_ < std::chrono::milliseconds(100) : clock - last_ < interval_ || clock - start_ < interval_) return;
  last_ = clock;
  const double part = now.all_total ? static_cast<double>(now.all_done) / static_cast<double>(now.all_total) : 1;
  const std::string left =
      rate_ > 0 ? seconds_text(static_cast<double>(now.all_total - now.all_done) / rate_) + " left" : std::string("? left");
  const std::string numbers = formatted("%3.0f %%", std::floor(100 * part)) + "  " + bytes_text(now.all_done) + " of " +
                              bytes_text(now.all_total) + "  " + bytes_text(static_cast<uint64_t>(rate_)) + "/s  " + left;
  if (!terminal_) {
    std::fprintf(to_, "%s  %s\n", numbers.c_str(), now.file.c_str());
    return;
  }
  std::string line = "\r" + bar(part, 20) + " " + numbers + "  " + now.file.substr(now.file.rfind('/') + 1);
  line.resize(std::min<size_t>(line.size(), static_cast<size_t>(width_of(to_))));
  std::fprintf(to_, "%s\033[K", line.c_str());
  std::fflush(to_);
  drawn_ = true;
}

void ProgressLine::clear() {
  if (drawn_) std::fputs("\r\033[K", to_);
  drawn_ = false;
}

}  // namespace lamina::cli
