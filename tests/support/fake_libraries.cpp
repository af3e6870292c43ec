#include "tests/support/fake_libraries.h"

#include <dlfcn.h>

#include <cstdlib>
#include <functional>
#include <string>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/cudnn.h"
#include "tests/support/emulated_device.h"
#include "tests/support/emulated_stream.h"

namespace hussar::tests {

static void enqueue(void* stream, const std::function<void()>& work) {
  static_cast<EmulatedStream*>(stream)->enqueue([work]() -> Status {
    work();
    return {};
  });
}

bool use_libraries() {
  if (is_emulated(use_test_device())) {
    const std::string folder = HUSSAR_TEST_LIBRARIES;
    ::setenv("HUSSAR_CUDA_LIBRARIES", folder.c_str(), 1);
    for (const char* name : {"/libcublasLt.so.13", "/libcudnn.so.9"}) {
      void* library = ::dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
      if (library == nullptr) return false;
      using Enqueue = void (*)(void*, const std::function<void()>&);
      reinterpret_cast<void (*)(Enqueue)>(::dlsym(library, "hussar_fake_enqueue_with"))(enqueue);
    }
  }
  return cuda::lt::functions().has_value() && cuda::dnn::functions().has_value();
}

}  // namespace hussar::tests
