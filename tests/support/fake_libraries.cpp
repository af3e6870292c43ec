#include "tests/support/fake_libraries.h"

#include <dlfcn.h>

#include <cstdlib>
#include <functional>
#include <initializer_list>
#include <string>

#include "backends/cuda/cublaslt.h"
#include "backends/cuda/cudnn.h"
#include "backends/cuda/cusparselt.h"
#include "tests/support/emulated_device.h"
#include "tests/support/emulated_stream.h"

namespace hussar::tests {

static void enqueue(void* stream, const std::function<void()>& work) {
  static_cast<EmulatedStream*>(stream)->enqueue([work]() -> Status {
    work();
    return {};
  });
}

// Whether the stand-ins that are wanted are there.
static bool open_stand_ins(std::initializer_list<const char*> names) {
  if (!is_emulated(use_test_device())) return true;
  const std::string folder = HUSSAR_TEST_LIBRARIES;
  ::setenv("HUSSAR_CUDA_LIBRARIES", folder.c_str(), 1);
  for (const char* name : names) {
    void* library = ::dlopen((folder + name).c_str(), RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) return false;
    using Enqueue = void (*)(void*, const std::function<void()>&);
    reinterpret_cast<void (*)(Enqueue)>(::dlsym(library, "hussar_fake_enqueue_with"))(enqueue);
  }
  return true;
}

bool use_libraries() {
  return open_stand_ins({"/libcublasLt.so.13", "/libcudnn.so.9"}) && cuda::lt::functions().has_value() &&
         cuda::dnn::functions().has_value();
}

bool use_sparse_library() { return open_stand_ins({"/libcusparseLt.so.0"}) && cuda::sparselt::functions().has_value(); }

}  // namespace hussar::tests
