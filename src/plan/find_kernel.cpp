// Lookup of kernels by name.
#include "plan/kernel.h"

namespace hussar {

const Kernel* find_kernel(std::string_view name) {
  for (const Kernel* kernel : all_kernels()) {
    if (kernel->name == name) return kernel;
  }
  return nullptr;
}

}  // namespace hussar
