// Products in FP32 that compute with the numbers that INT8 would have: what quantization costs, one product at a time.
#pragma once
#include <string>
#include <vector>

#include "graph/graph.h"
#include "hussar/status.h"
#include "tensor/quant_params.h"

namespace hussar {

// A convolution or matrix product that has an INT8 form.
struct QuantizedProduct {
  std::string node;    // the ONNX nodes that it stands for, joined by '+'
  std::string output;  // the value that it gives
  QuantParams input;   // of what it reads
  Tensor weights;      // as INT8 has them, in FP32, in the shape of the original ones
  // Of what it reads, per index of the last axis, which are divided before they are rounded and multiplied again; not
  // valid: there are none.
  Tensor divisors = {};
};

// The products of `in_float` that are in INT8 in `in_int8`, which is the same graph after the pass that quantizes.
std::vector<QuantizedProduct> quantized_products(const Graph& in_float, const Graph& in_int8);

enum class QuantizedPart { kWeights = 1, kActivations = 2, kBoth = 3 };
// Lets the product compute with rounded weights, with a rounded input, or with both; the rest stays exact.
Status fake_quantize(Graph& graph, const QuantizedProduct& product, QuantizedPart part);

}  // namespace hussar
