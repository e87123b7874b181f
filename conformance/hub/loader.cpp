// Fetches and loads a bundle COUNT times, each time as a new process would, and says how long each step took: for measurements, and for tests
// that change files meanwhile.  One line a round: "loaded BUILD_ID fetch MS load MS", or "refused KIND: SENTENCE".  Ends with 0 if any loaded.
//   loader ORG/NAME[@vN] COUNT
#include <chrono>
#include <cstdio>
#include <cstdlib>

#include "hub_client/client.h"
#include "hub_client/environment.h"
#include "manifest/error.h"

using namespace lamina;

namespace {

double milliseconds(const auto &from, const auto &to) { return std::chrono::duration<double, std::milli>(to - from).count(); }

bool round(const char *specification) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  try {
    const hub::Client client(hub::read_environment());
    hub::Fetched fetched = client.fetch(specification, {});
    const auto middle = Clock::now();
    const hub::Loaded loaded = hub::load(std::move(fetched));
    const auto end = Clock::now();
    std::printf("loaded %s fetch %.3f load %.3f\n", loaded.library->build_id, milliseconds(begin, middle), milliseconds(middle, end));
    return true;
  } catch (const Error &error) { std::printf("refused %s: %s\n", name_of(error.kind), error.what()); }
  return false;
}

}  // namespace

int main(int count, char **words) {
  if (count != 3) return std::fputs("usage: loader ORG/NAME[@vN] COUNT\n", stderr), 2;
  bool any = false;
  for (int i = std::atoi(words[2]); i > 0; --i) any |= round(words[1]);
  return any ? 0 : 1;
}
