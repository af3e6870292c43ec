// What tactics of NVIDIA's libraries share: the fused program of a node as a bias, a residual and an activation, as
// they have no other programs, and their algorithms as configurations.
#pragma once
#include <span>

#include "backends/cuda/dense_product.h"
#include "tensor/broadcast.h"

namespace hussar::cuda {

enum class Activation { kNone, kRelu, kGeluTanh };

// y = activation(product + bias + residual)
struct LibraryEpilogue {
  int32_t bias = -1, residual = -1;  // inputs of the node; -1: none
  Activation activation = Activation::kNone;
  int64_t residual_pitch = 0;  // elements from row to row
};

// Of a node and of a step, whose operator has an own bias as input 2 or none. Refuses other programs, operands that are
// not of the output's type, and rows of the residual that do not begin at multiples of 16 bytes.
Refusal find_library_epilogue(const Node& node, LibraryEpilogue& epilogue);
Refusal find_library_epilogue(const Prepare& prepare, LibraryEpilogue& epilogue);

// What tactics of libraries ask first. `library`: whether it is there, which loads it: not without permission.
Refusal check_library(const Problem& problem, Status (*library)());

// What a library offers, beside its first choice, in the order in which it offers them.
inline constexpr std::string_view kOtherAlgorithms[] = {"algo_1", "algo_2", "algo_3"};
inline constexpr int kMostAlgorithms = 1 + static_cast<int>(std::size(kOtherAlgorithms));
std::vector<Configuration> algorithm_configurations(double predicted);
// The one that the step asks for, of `count` that there are: fewer, perhaps, than where the plan was built.
Result<int> wanted_algorithm(const PlanStep& step, int count);

// Microseconds of a product or convolution, of which `product` is the form: a little more than the best kernel of our
// own takes, as what a library takes is to be measured and not to be believed.
double library_time(const Problem& problem, const DenseProduct& product, int64_t depth);

}  // namespace hussar::cuda
