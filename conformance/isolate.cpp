#include "conformance/isolate.h"

#include <poll.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>

#include "manifest/error.h"

namespace lamina::conformance {
namespace {

using Json = nlohmann::json;
using Clock = std::chrono::steady_clock;

int crash_pipe = -1;  // where the handler of the child writes its line

void append(char *line, size_t &length, const char *text) {
  while (*text && length < 400) line[length++] = *text++;
}
void append(char *line, size_t &length, long value) {
  char digits[24];
  int count = 0;
  const bool negative = value < 0;
  unsigned long rest = negative ? 0ul - static_cast<unsigned long>(value) : static_cast<unsigned long>(value);
  do digits[count++] = static_cast<char>('0' + rest % 10), rest /= 10;
  while (rest);
  if (negative) line[length++] = '-';
  while (count) line[length++] = digits[--count];
}

// Only async-signal-safe calls: says what was hit and ends the process.
void on_crash(int signal_number, siginfo_t *info, void *) {
  char line[512];
  size_t length = 0;
  append(line, length, "crash:");
  append(line, length,
         signal_number == SIGSEGV || signal_number == SIGBUS ? "touched memory that it must not"
         : signal_number == SIGILL                           ? "ran an illegal instruction"
         : signal_number == SIGFPE                           ? "arithmetic fault"
                                                             : "aborted");
  if (signal_number == SIGSEGV || signal_number == SIGBUS) {
    long offset = 0, size = 0;
    if (const char *label = nearest_guarded(info->si_addr, &offset, &size)) {
      append(line, length, ": ");
      append(line, length, label);
      if (offset < 0) append(line, length, ", "), append(line, length, -offset), append(line, length, " bytes before its begin");
      else if (offset >= size) append(line, length, ", "), append(line, length, offset - size), append(line, length, " bytes past its end");
      else append(line, length, ", written at byte "), append(line, length, offset), append(line, length, " though it is read-only");
      append(line, length, " (it has "), append(line, length, size), append(line, length, " bytes)");
    } else {
      append(line, length, ", near no argument");
    }
  }
  line[length++] = '\n';
  if (write(crash_pipe, line, length) < 0) {}
  _exit(99);
}

void catch_crashes(int pipe_end) {
  crash_pipe = pipe_end;
  static char stack[65536];
  stack_t alternative{};
  alternative.ss_sp = stack, alternative.ss_size = sizeof stack;
  sigaltstack(&alternative, nullptr);
  struct sigaction action{};
  action.sa_sigaction = on_crash;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (const int signal_number : {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT}) sigaction(signal_number, &action, nullptr);
}

// Failures of a job as (verdict, message); a pass is an empty message.
Failure attempt(const std::function<void()> &work) {
  try {
    work();
    return {Verdict::pass, ""};
  } catch (const Failure &failure) { return failure; } catch (const Error &error) {
    return {Verdict::fail, error.what()};
  } catch (const std::exception &error) { return {Verdict::fail, std::string("unexpected: ") + error.what()}; }
}

struct Child {
  pid_t pid = -1;
  int from = -1;
  std::string buffered;

  Child(const std::function<void(int to_parent)> &work) {
    int ends[2];
    if (pipe(ends) != 0) throw Error(ErrorKind::internal, std::string("pipe: ") + strerror(errno));
    fflush(nullptr);
    pid = fork();
    if (pid < 0) throw Error(ErrorKind::internal, std::string("fork: ") + strerror(errno));
    if (pid == 0) {
      close(ends[0]);
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      catch_crashes(ends[1]);
      work(ends[1]);
      fflush(nullptr);
      _exit(0);
    }
    close(ends[1]);
    from = ends[0];
  }
  ~Child() {
    close(from);
    kill(pid, SIGKILL);
    if (!reaped_) waitpid(pid, nullptr, 0);
  }
  // One line from the child; "" when it ended, "timeout" when it took too long.
  std::string line(int seconds) {
    const auto limit = Clock::now() + std::chrono::seconds(seconds);
    for (;;) {
      if (const size_t end = buffered.find('\n'); end != std::string::npos) {
        std::string text = buffered.substr(0, end);
        buffered.erase(0, end + 1);
        return text;
      }
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(limit - Clock::now()).count();
      if (left <= 0) return "timeout";
      pollfd wait{from, POLLIN, 0};
      if (poll(&wait, 1, static_cast<int>(std::min<long long>(left, 1000))) <= 0) continue;
      char bytes[4096];
      const ssize_t got = read(from, bytes, sizeof bytes);
      if (got <= 0) return "";
      buffered.append(bytes, static_cast<size_t>(got));
    }
  }
  std::string ending() {
    int status = 0;
    waitpid(pid, &status, 0);
    reaped_ = true;
    if (WIFSIGNALED(status)) return std::string("the process died by signal ") + strsignal(WTERMSIG(status));
    return "the process ended with code " + std::to_string(WEXITSTATUS(status));
  }

 private:
  bool reaped_ = false;
};

void write_line(int to, const std::string &text) {
  const std::string line = text + "\n";
  for (size_t done = 0; done < line.size();) {
    const ssize_t wrote = write(to, line.data() + done, line.size() - done);
    if (wrote < 0 && errno == EINTR) continue;
    if (wrote <= 0) _exit(98);
    done += static_cast<size_t>(wrote);
  }
}

Json to_json(const Failure &failure, const Result &result, double seconds) {
  const auto three = [](const Measures &m) { return Json::array({m.frobenius, m.worst_row, m.worst_element}); };
  return {{"verdict", static_cast<int>(failure.verdict)},
          {"message", failure.message},
          {"measured", three(result.measured)},
          {"limits", three(result.limits)},
          {"seconds", seconds}};
}

void from_json(const Json &json, Result &result) {
  const auto three = [](const Json &list) {  // an infinite measure travels as null
    const auto number = [&](int i) {
      return list[static_cast<size_t>(i)].is_number() ? list[static_cast<size_t>(i)].get<double>() : HUGE_VAL;
    };
    return Measures{number(0), number(1), number(2)};
  };
  result.verdict = static_cast<Verdict>(json.at("verdict").get<int>());
  result.message = json.at("message").get<std::string>();
  result.measured = three(json.at("measured"));
  result.limits = three(json.at("limits"));
  result.seconds = json.at("seconds").get<double>();
}

}  // namespace

void run_isolated(const std::vector<Job> &jobs, const std::function<void(const Result &)> &each) {
  for (size_t next = 0; next < jobs.size();) {
    Child child([&](int to_parent) {
      for (size_t i = next; i < jobs.size(); ++i) {
        Result result;
        const auto start = Clock::now();
        const Failure failure = attempt([&] { jobs[i].work(result); });
        const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
        write_line(to_parent, to_json(failure, result, seconds).dump(-1, ' ', false, Json::error_handler_t::replace));
      }
    });
    for (bool alive = true; alive && next < jobs.size(); ++next) {
      Result result;
      result.group = jobs[next].group, result.name = jobs[next].name, result.label = jobs[next].label;
      const std::string line = child.line(jobs[next].seconds_allowed);
      if (!line.empty() && line[0] == '{') {
        from_json(Json::parse(line), result);
      } else {
        result.verdict = Verdict::fail;
        if (line == "timeout") result.message = "did not end within " + std::to_string(jobs[next].seconds_allowed) + " s";
        else if (line.rfind("crash:", 0) == 0) result.message = line.substr(6);
        else result.message = child.ending();
        alive = false;
      }
      each(result);
    }
  }
}

std::string run_in_child(const std::function<void()> &work, int seconds_allowed) {
  Child child([&](int to_parent) {
    const Failure failure = attempt(work);
    std::string message = failure.message;
    for (char &letter : message) letter = letter == '\n' ? ' ' : letter;
    write_line(to_parent, failure.verdict == Verdict::pass ? "done" : "failed:" + message);
  });
  const std::string line = child.line(seconds_allowed);
  if (line == "done") return "";
  if (line == "timeout") return "did not end within " + std::to_string(seconds_allowed) + " s";
  if (line.empty()) return child.ending();
  return line.substr(line.find(':') + 1);
}

}  // namespace lamina::conformance
