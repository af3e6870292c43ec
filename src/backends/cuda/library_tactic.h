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

// Of a node and of a step, whose operator has an own bias as input 2 or none; of products of bytes that is their table
// (byte_product.h). Refuses other programs, operands that are not of the output's type, and rows of the residual that
// do not begin at multiples of 16 bytes.
Refusal find_library_epilogue(const Node& node, LibraryEpilogue& epilogue);
Refusal find_library_epilogue(const Prepare& prepare, LibraryEpilogue& epilogue);

// Of products of bytes. Whether the node is packed, so that its scales are a table (byte_product.h), and its weights
// lie as [n][k] in the shape that they had; whether all columns have the same scale.
bool has_table(const Node& node);
bool has_one_scale(const Node& node);

// What tactics of libraries ask first. `library`: whether it is there, which loads it: not without permission.
Refusal check_library(const Problem& problem, Status (*library)());

// What a library offers, beside its first choice, in the order in which it offers them. Of those that are ordered by
// what the library thinks of them so many are of interest.
inline constexpr std::string_view kOtherAlgorithms[] = {"algo_1", "algo_2", "algo_3", "algo_4",
                                                        "algo_5", "algo_6", "algo_7"};
inline constexpr int kMostAlgorithms = 4;
std::vector<Configuration> algorithm_configurations(double predicted, int most = kMostAlgorithms);
// The one that the step asks for, of `count` that there are: fewer, perhaps, than where the plan was built.
Result<int> wanted_algorithm(const PlanStep& step, int count);

// Microseconds of a product or convolution, of which `product` is the form: a little more than the best kernel of our
// own takes, as what a library takes is to be measured and not to be believed. `sparse`: with 2:4 weights.
double library_time(const Problem& problem, const DenseProduct& product, int64_t depth, bool sparse = false);

}  // namespace hussar::cuda
