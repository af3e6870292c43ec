// What bytes stand for in kernels that read and write them (ops/quantized_product.h), and how exact results must be.
#pragma once
#include <string>

#include "backends/cuda/kernel_support.h"

namespace hussar::cuda {

// Of programs and what quantizes: memory_type, and "float8".
std::string number_type(DType dtype);
// Refuses what reads or writes FP8 on a GPU that has no instructions for it.
Refusal refuse_fp8(const Problem& problem);

// The type of output 0 in CUDA C++; "quantized" where it has the attribute y_scale.
std::string result_type(const Node& node);
// What the code needs to know of it. `lower_products`: results are of products in a lower precision anyway.
void define_results(const Node& node, bool lower_products, Defines& defines);

// Numbers for bytes by the attributes <what>_scale and <what>_zero_point of a step.
struct ScaledBytes {
  float scale = 1, zero_point = 0;
};
ScaledBytes scaled_bytes(const Attributes& attributes, std::string_view what);

// ByteMeaning of device/numbers.cuh, which is a parameter of all kernels that may write bytes: of y_scale and
// y_zero_point. Without them any will do.
struct ByteMeaning {
  float reciprocal, shift;
  void put(Words& words) const;
};
ByteMeaning byte_meaning(const Attributes& attributes);

// SumBytes of device/numbers.cuh, likewise, for results of type `dtype`.
struct SumBytes {
  float reciprocal, shift;
  void put(Words& words) const;
};
SumBytes sum_bytes(const Attributes& attributes, DType dtype);

// The number that `byte` stands for by the attributes <what>_scale and <what>_zero_point.
std::string real_source(const Attributes& attributes, std::string_view what, std::string_view byte);

}  // namespace hussar::cuda
