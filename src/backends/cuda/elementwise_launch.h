// What kernels do that run device/elementwise.cuh: nested loops, one thread for a few neighbours of the innermost.
#pragma once
#include <span>
#include <string>

#include "backends/cuda/kernel_support.h"
#include "backends/cuda/results.h"

namespace hussar::cuda {

// How an element of the type lies in memory, in CUDA C++: "half", "long long"; empty: kernels do not read it.
std::string memory_type(DType dtype);
// What kernels compute with: "float" or "long long".
const char* register_type(DType dtype);

// Sets RANK, VECTOR and INPUTS for the nest, and the node's attribute that says what its code is for.
void define_loops(const LoopNest& nest, int vector, std::string_view attribute, Node& node, Defines& defines);

struct ElementwiseLaunch {
  Launch launch;
  LoopNest nest;  // with as many loops as the code has
  int vector = 1;
  ByteMeaning meaning = {};
  bool is_dense = false;  // the loops go through the output as it lies in memory
};
// Loads the step's code for these loops; `attribute` as it was given to define_loops.
Status prepare_elementwise(const Prepare& prepare, const LoopNest& nest, std::string_view attribute,
                           ElementwiseLaunch& launch);
Status launch_elementwise(const Run& run, const ElementwiseLaunch& launch, std::span<const std::byte* const> inputs,
                          std::byte* output);

}  // namespace hussar::cuda
