/* A driver older than CUDA 12: it has no cuGetProcAddress_v2.  Becomes build/fake_cuda/ancient/libcuda.so.1. */
int cuInit(unsigned flags);
int cuDriverGetVersion(int *version);

int cuInit(unsigned flags) { return flags ? 1 : 0; }
int cuDriverGetVersion(int *version) {
  *version = 11080;
  return 0;
}
