/* What bench/profiler.cpp looks for in libnvToolsExt, counting instead of recording. */
int open_ranges = 0, all_ranges = 0;
char last_range[96];
int nvtxRangePushA(const char *name) {
  int i = 0;
  for (; name[i] && i < 95; ++i) last_range[i] = name[i];
  last_range[i] = 0;
  ++all_ranges;
  return open_ranges++;
}
int nvtxRangePop(void) { return --open_ranges; }
