// What bench_model() measured, as a page and as a picture.
#include <algorithm>
#include <cstdio>

#include "bench/models.h"

namespace lamina::bench {
namespace {

std::string number(double value, int digits) {
  char text[64];
  std::snprintf(text, sizeof text, "%.*f", digits, value);
  return text;
}

std::string escaped(const std::string &text) {
  std::string out;
  for (const char letter : text) out += letter == '<' ? "&lt;" : letter == '&' ? "&amp;" : letter == '>' ? "&gt;" : std::string(1, letter);
  return out;
}

// The name of the peer that is shown: the first of the first row that has any.
std::string first_peer(const std::vector<ModelRow> &rows) {
  for (const ModelRow &one : rows)
    if (!one.row.peers.empty()) return one.row.peers.front().name;
  return "";
}

double all_of(const ModelRow &one, double milliseconds) { return static_cast<double>(one.call.count) * milliseconds; }

}  // namespace

std::string model_page(const Model &model, const std::vector<ModelRow> &rows) {
  const std::string peer = first_peer(rows);
  std::string page = "## " + model.name + "\n\n" + model.title + ". " + model.source +
                     ".\n\n| what | calls | layer | dims | build | dtype | ms a call | GFLOP/s | % of peak |";
  if (!peer.empty()) page += " " + peer + " ms | ratio |";
  page += "\n|--|--|--|--|--|--|--|--|--|";
  if (!peer.empty()) page += "--|--|";
  page += "\n";
  for (const ModelRow &one : rows) {
    const Row &row = one.row;
    const double rate = row.flops / row.milliseconds * 1e3;
    page += "| " + one.call.what + " | " + std::to_string(one.call.count) + " | " + one.call.layer + " | " + row.dims + " | " + row.target +
            " | " + row.dtype + " | " + number(row.milliseconds, 3) + " | " + number(rate * 1e-9, 1) + " | " +
            (row.peak > 0 ? number(100 * rate / row.peak, 1) : "-") + " |";
    if (!row.peers.empty())
      page += " " + number(row.peers.front().milliseconds, 2) + " | " + number(row.peers.front().milliseconds / row.milliseconds, 2) + " |";
    page += "\n";
  }
  return page;
}

std::string model_picture(const Model &model, const std::vector<ModelRow> &rows) {
  constexpr int left = 330, right = 110, bar = 11, step = 34, top = 64, width = 900;
  double longest = 0;
  for (const ModelRow &one : rows) {
    longest = std::max(longest, all_of(one, one.row.milliseconds));
    for (const Peer &peer : one.row.peers) longest = std::max(longest, all_of(one, peer.milliseconds));
  }
  const double scale = longest > 0 ? (width - left - right) / longest : 0;
  const int height = top + step * static_cast<int>(rows.size()) + 16;
  std::string svg = "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"" + std::to_string(width) + "\" height=\"" + std::to_string(height) +
                    "\" font-family=\"sans-serif\" font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n";
  const auto text = [&svg](double x, int y, const std::string &words, const char *extra) {
    svg += "<text x=\"" + number(x, 1) + "\" y=\"" + std::to_string(y) + "\" " + extra + ">" + escaped(words) + "</text>\n";
  };
  const auto draw = [&](int y, double milliseconds, const char *colour, const std::string &label) {
    svg += "<rect x=\"" + std::to_string(left) + "\" y=\"" + std::to_string(y) + "\" width=\"" + number(milliseconds * scale, 1) +
           "\" height=\"" + std::to_string(bar) + "\" fill=\"" + colour + "\"/>\n";
    text(left + milliseconds * scale + 6, y + bar - 1, label, "fill=\"#333\" font-size=\"11\"");
  };
  text(16, 24, model.title, "font-size=\"15\" font-weight=\"bold\"");
  const std::string peer = first_peer(rows);
  text(16, 44, "milliseconds of all calls" + (peer.empty() ? "" : ": Lamina in blue, " + peer + " in grey"), "fill=\"#555\"");
  for (size_t i = 0; i < rows.size(); ++i) {
    const ModelRow &one = rows[i];
    const int y = top + step * static_cast<int>(i);
    text(16, y + 11, one.call.what + (one.call.count > 1 ? " (" + std::to_string(one.call.count) + ")" : ""), "");
    text(16, y + 25, one.call.layer + ", " + one.row.target + ", " + one.row.dtype, "fill=\"#777\" font-size=\"10\"");
    const double ours = all_of(one, one.row.milliseconds);
    draw(y + 2, ours, "#2a6fb0", number(ours, ours < 10 ? 3 : 1));
    if (one.row.peers.empty()) continue;
    const double theirs = all_of(one, one.row.peers.front().milliseconds);
    draw(y + 15, theirs, "#aaaaaa", number(theirs, theirs < 10 ? 3 : 1));
  }
  return svg + "</svg>\n";
}

}  // namespace lamina::bench
