// Fused programs as CUDA C++.
#pragma once
#include <string>
#include <vector>

#include "hussar/tensor.h"
#include "tensor/program.h"

namespace hussar::cuda {

// `__device__ __forceinline__ float run_program(float r0, float o0, float o1, ...)`, with one oN per operand.
std::string program_source(const Program& program);

// "float", "half", "bfloat"; empty for what kernels do not compute with.
std::string type_name(DType dtype);

// A number that reads back as the same float.
std::string literal(float value);

}  // namespace hussar::cuda
