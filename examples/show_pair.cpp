// Draws one channel of a pair representation before and after a layer, side by side.
//
//   show_pair BEFORE.npy AFTER.npy [--channel C] [--out PICTURE.svg]
//
// Both files are [1, N, N, channels] or [N, N, channels], floating point.  The left picture uses viridis over the channel's range; the
// right one, an update that has both signs, blue to red around zero.  On a terminal a small view in half blocks is printed too.
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <vector>

#include "manifest/convert.h"
#include "manifest/error.h"
#include "manifest/files.h"
#include "manifest/npy.h"

namespace {
using lamina::Error;
using lamina::ErrorKind;

struct Colour {
  int red, green, blue;
};
// Nine samples of matplotlib's viridis and eleven of ColorBrewer's RdBu, both perceptually even and safe for colour-blind readers.
constexpr Colour kViridis[] = {{68, 1, 84},    {72, 40, 120},  {62, 73, 137},  {49, 104, 142}, {38, 130, 142},
                               {31, 158, 137}, {53, 183, 121}, {109, 205, 89}, {253, 231, 37}};
constexpr Colour kBlueRed[] = {{5, 48, 97},     {33, 102, 172},  {67, 147, 195}, {146, 197, 222}, {209, 229, 240}, {247, 247, 247},
                               {253, 219, 199}, {244, 165, 130}, {214, 96, 77},  {178, 24, 43},   {103, 0, 31}};

struct Panel {
  std::string title;
  int64_t residues = 0;
  std::vector<double> values;  // [residues, residues]
  double low = 0, high = 0;
  bool diverging = false;

  Colour colour(double value) const {
    const Colour *map = diverging ? kBlueRed : kViridis;
    const int last = diverging ? 10 : 8;
    const double at = high > low ? std::clamp((value - low) / (high - low), 0.0, 1.0) * last : 0;
    const int left = std::min(static_cast<int>(at), last - 1);
    const double part = at - left;
    const auto mix = [part](int a, int b) { return static_cast<int>(std::lround(a + (b - a) * part)); };
    return {mix(map[left].red, map[left + 1].red), mix(map[left].green, map[left + 1].green), mix(map[left].blue, map[left + 1].blue)};
  }
  double at(int64_t i, int64_t j) const { return values[i * residues + j]; }
};

Panel read_channel(const std::string &path, int64_t channel, const char *title) {
  const lamina::manifest::NpyArray array = lamina::manifest::read_npy(path);
  std::vector<int64_t> shape = array.shape;
  if (shape.size() == 4 && shape[0] == 1) shape.erase(shape.begin());
  if (shape.size() != 3 || shape[0] != shape[1] || shape[0] < 1)
    throw Error(ErrorKind::malformed, path + ": expected [1, N, N, channels], found " + lamina::manifest::shape_text(array.shape));
  if (channel < 0 || channel >= shape[2])
    throw Error(ErrorKind::invalid_argument,
                path + ": --channel " + std::to_string(channel) + " is not one of its " + std::to_string(shape[2]) + " channels");
  const auto doubles = lamina::manifest::converted(array.view(), {LAMINA_CODE_FLOAT, 64, 1});
  Panel panel;
  panel.title = title;
  panel.residues = shape[0];
  for (int64_t cell = 0; cell < shape[0] * shape[0]; ++cell) {
    double value;
    std::memcpy(&value, doubles.data() + (cell * shape[2] + channel) * sizeof value, sizeof value);
    if (!std::isfinite(value)) throw Error(ErrorKind::malformed, path + ": the channel holds a value that is not finite");
    panel.values.push_back(value);
  }
  const auto [least, most] = std::minmax_element(panel.values.begin(), panel.values.end());
  panel.low = *least;
  panel.high = *most;
  return panel;
}

// Blue to red is symmetric around zero and ends at the 99th percentile of the size, so that one cell does not bleach the rest.
void make_diverging(Panel &panel) {
  std::vector<double> sizes;
  for (const double value : panel.values) sizes.push_back(std::fabs(value));
  const auto place = sizes.begin() + static_cast<int64_t>(sizes.size() * 99 / 100);
  std::nth_element(sizes.begin(), place, sizes.end());
  panel.diverging = true;
  panel.high = *place > 0 ? *place : 1;
  panel.low = -panel.high;
}

template <typename... Values>
void append(std::string &text, const char *format, Values... values) {
  char line[512];
  std::snprintf(line, sizeof line, format, values...);
  text += line;
}

constexpr int kSide = 456, kTop = 74, kPitch = 610, kFirst = 70;

void draw_legend(std::string &svg, const Panel &panel, int left) {
  const int bar = left + kSide + 14;
  for (int step = 0; step < 64; ++step) {
    const Colour c = panel.colour(panel.low + (panel.high - panel.low) * (63.5 - step) / 64);
    append(svg, "<rect x='%d' y='%.2f' width='14' height='%.2f' fill='#%02x%02x%02x'/>\n", bar, kTop + kSide * step / 64.0,
           kSide / 64.0 + 0.3, c.red, c.green, c.blue);
  }
  for (int tick = 0; tick <= 4; ++tick) {
    const double value = panel.high + (panel.low - panel.high) * tick / 4;
    append(svg, "<text x='%d' y='%.1f'>%.2g</text>\n", bar + 19, kTop + kSide * tick / 4.0 + 4, std::fabs(value) < 1e-12 ? 0.0 : value);
  }
}

void draw_panel(std::string &svg, const Panel &panel, int left) {
  const double cell = double(kSide) / panel.residues;
  append(svg, "<text x='%d' y='%d' class='title'>%s</text>\n<g shape-rendering='crispEdges'>\n", left, kTop - 14, panel.title.c_str());
  for (int64_t i = 0; i < panel.residues; ++i)
    for (int64_t j = 0; j < panel.residues;) {
      const Colour c = panel.colour(panel.at(i, j));
      int64_t end = j + 1;  // equal neighbours are one rectangle
      for (; end < panel.residues; ++end) {
        const Colour next = panel.colour(panel.at(i, end));
        if (next.red != c.red || next.green != c.green || next.blue != c.blue) break;
      }
      append(svg, "<rect x='%.2f' y='%.2f' width='%.2f' height='%.2f' fill='#%02x%02x%02x'/>\n", left + j * cell, kTop + i * cell,
             (end - j) * cell + 0.05, cell + 0.05, c.red, c.green, c.blue);
      j = end;
    }
  append(svg, "</g>\n<rect x='%d' y='%d' width='%d' height='%d' fill='none' stroke='#888'/>\n", left, kTop, kSide, kSide);
  const int64_t step = panel.residues <= 20 ? 5 : panel.residues <= 120 ? 10 : 50;
  for (int64_t residue = step; residue <= panel.residues; residue += step) {
    const double at = (residue - 0.5) * cell;
    append(svg, "<text x='%.1f' y='%d' text-anchor='middle'>%lld</text>\n", left + at, kTop + kSide + 17, static_cast<long long>(residue));
    append(svg, "<text x='%d' y='%.1f' text-anchor='end'>%lld</text>\n", left - 6, kTop + at + 4, static_cast<long long>(residue));
  }
  append(svg, "<text x='%d' y='%d' text-anchor='middle'>residue j</text>\n", left + kSide / 2, kTop + kSide + 37);
  append(svg, "<text transform='translate(%d %d) rotate(-90)' text-anchor='middle'>residue i</text>\n", left - 38, kTop + kSide / 2);
  draw_legend(svg, panel, left);
}

std::string picture(const Panel &before, const Panel &after, int64_t channel) {
  std::string svg;
  append(svg, "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 %d %d' font-family='sans-serif' font-size='12' fill='#333'>\n",
         kFirst + 2 * kPitch - 20, kTop + kSide + 56);
  svg += "<style>.title{font-size:15px}.head{font-size:18px;font-weight:bold}</style>\n<rect width='100%' height='100%' fill='white'/>\n";
  append(svg, "<text x='%d' y='30' class='head'>Triangle multiplication, channel %lld of the pair representation, %lld residues</text>\n",
         kFirst, static_cast<long long>(channel), static_cast<long long>(before.residues));
  draw_panel(svg, before, kFirst);
  draw_panel(svg, after, kFirst + kPitch);
  return svg + "</svg>\n";
}

// Two rows of cells per line: the upper half block's foreground is one, its background the other.  Without colour, shades.
void print_terminal(const Panel &before, const Panel &after, bool colour) {
  const int64_t cells = std::min<int64_t>(before.residues, 38);
  const auto sample = [cells](const Panel &panel, int64_t i, int64_t j) {
    return panel.at(i * panel.residues / cells, j * panel.residues / cells);
  };
  std::printf("   %-*s   %s\n", static_cast<int>(cells), before.title.c_str(), after.title.c_str());
  for (int64_t i = 0; i < cells; i += 2) {
    std::fputs("   ", stdout);
    for (const Panel *panel : {&before, &after}) {
      for (int64_t j = 0; j < cells; ++j) {
        const double upper = sample(*panel, i, j), lower = i + 1 < cells ? sample(*panel, i + 1, j) : upper;
        if (colour) {
          const Colour a = panel->colour(upper), b = panel->colour(lower);
          std::printf("\033[38;2;%d;%d;%d;48;2;%d;%d;%dm▀", a.red, a.green, a.blue, b.red, b.green, b.blue);
        } else {
          const double part = std::clamp((0.5 * (upper + lower) - panel->low) / (panel->high - panel->low + 1e-300), 0.0, 0.999);
          static constexpr const char *kShades[] = {" ", "░", "▒", "▓", "█"};
          std::fputs(kShades[static_cast<int>(part * 5)], stdout);
        }
      }
      std::fputs(colour ? "\033[0m   " : "   ", stdout);
    }
    std::fputc('\n', stdout);
  }
}
}  // namespace

int main(int argc, char **argv) try {
  std::vector<std::string> files;
  std::string out;
  long long channel = 0;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    int used = 0;
    if (word == "--channel" && i + 1 < argc) {
      if (std::sscanf(argv[++i], "%lld%n", &channel, &used) != 1 || argv[i][used])
        throw Error(ErrorKind::invalid_argument, std::string("--channel takes a number, got ") + argv[i]);
    } else if (word == "--out" && i + 1 < argc) {
      out = argv[++i];
    } else {
      files.push_back(word);
    }
  }
  if (files.size() != 2)
    throw Error(ErrorKind::invalid_argument, "usage: show_pair BEFORE.npy AFTER.npy [--channel C] [--out PICTURE.svg]");
  const Panel before = read_channel(files[0], channel, "before");
  Panel after = read_channel(files[1], channel, "after: the update");
  if (before.residues != after.residues)
    throw Error(ErrorKind::invalid_argument, files[0] + " and " + files[1] + ": different numbers of residues");
  make_diverging(after);
  // A pipe gets colour if asked for, as by the demo.
  const char *wish = std::getenv("CLICOLOR_FORCE");
  print_terminal(before, after, isatty(STDOUT_FILENO) || (wish && std::strcmp(wish, "0") != 0));
  std::printf("   before: %.3g to %.3g   after: %.3g to %.3g (colours)\n", before.low, before.high, after.low, after.high);
  if (!out.empty()) lamina::manifest::write_file_atomically(out, picture(before, after, channel));
  return 0;
} catch (const Error &error) {
  std::fprintf(stderr, "show_pair: %s\n", error.what());
  return lamina::exit_code(error.kind);
}
