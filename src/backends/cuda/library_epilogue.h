// What libraries do behind a product or a convolution: the fused program of a node as a bias, a residual and an
// activation. They have no other programs.
#pragma once
#include <span>

#include "backends/cuda/kernel_support.h"
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

// What tactics of libraries ask first. `library`: nullopt, or why there is none.
Refusal check_library(const Problem& problem, const Status& library);

}  // namespace hussar::cuda
