// The stand-in driver (build/fake_cuda/libcuda.so.1) as a host of CUDA uses one: it computes nothing and keeps the driver's rules, so that what
// an adapter hands on, a stream or a device, is seen by what is refused.
#pragma once
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <stdlib.h>

struct FakeCuda {
  void *contexts[2];
  void *streams[2];  // one of each device

  FakeCuda() {
    setenv("LAMINA_FAKE_CUDA", "devices=2 capability=90", 1);
    // By its name a build finds what is loaded already.
    void *driver = dlopen("build/fake_cuda/libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
    if (!driver) FAIL(dlerror());
    const auto call = [&]<typename... A>(const char *name, A... arguments) {
      const auto function = reinterpret_cast<int (*)(A...)>(dlsym(driver, name));
      REQUIRE_MESSAGE(bool(function), name);
      const int status = function(arguments...);
      REQUIRE(status == 0);
    };
    call("cuInit", 0u);
    for (int device : {0, 1}) {
      call("cuDevicePrimaryCtxRetain", &contexts[device], device);
      call("cuCtxSetCurrent", contexts[device]);
      call("cuStreamCreate", &streams[device], 1u);
    }
    call("cuCtxSetCurrent", static_cast<void *>(nullptr));
  }
};
