// A rule that was broken: the launch ends, the stand-in driver answers CUDA_ERROR_LAUNCH_FAILED, and a sentence goes to standard error.
#pragma once

namespace lamina::cuda_emulator {

// By a thread of a CTA, or by what runs between the threads.
[[noreturn, gnu::format(printf, 1, 2)]] void fail(const char *format, ...);

// What the launch throws where a thread of it failed.
struct LaunchFailed {};
void end_if_failed();  // throws it

}  // namespace lamina::cuda_emulator
