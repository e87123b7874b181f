// What one `run` costs the calling thread: a loop of them, with no Python between.
#include <time.h>

#include "abi/lamina_abi.h"

static double now(void) {
  struct timespec at;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &at);
  return (double)at.tv_sec + 1e-9 * (double)at.tv_nsec;
}

typedef lamina_status (*run_function)(const lamina_plan *plan, const lamina_call *call, lamina_error *error);

// Seconds of this thread's CPU time for `runs` calls; negative if one failed, with its reason in *error.
double lamina_run_loop(run_function run, const lamina_plan *plan, const lamina_call *call, lamina_error *error, int runs) {
  const double begin = now();
  for (int i = 0; i < runs; ++i)
    if (run(plan, call, error) != LAMINA_OK) return -1;
  return now() - begin;
}
