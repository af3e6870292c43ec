// Compiling CUDA C++ at build time, with the NVRTC library. It needs no GPU.
#pragma once
#include <string>

#include "hussar/status.h"
#include "hussar/tensor.h"

namespace hussar::cuda {

// The machine code (cubin) of a source for compute capability `sm` (90 for 9.0; compiled as sm_90a, with all that this
// GPU has). The same source is compiled once per process, and the tensors (uint8) share its bytes. Any thread. An error
// in the source is our mistake: the message has the compiler's log.
Result<Tensor> compile_cuda(const std::string& source, int sm);

// What the assembler says of a source's kernels: registers, shared memory, bytes of spills.
Result<std::string> compiler_resources(const std::string& source, int sm);

struct CompilerFacts {
  std::string path;
  int major = 0, minor = 0;
};
Result<CompilerFacts> find_compiler();

}  // namespace hussar::cuda
