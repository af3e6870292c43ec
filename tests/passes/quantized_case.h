// Graphs as quantizers write them.
#pragma once
#include "tests/passes/pass_case.h"

namespace hussar {

class QuantizedCase : public GraphCase {
 public:
  explicit QuantizedCase(unsigned seed = 1) : GraphCase(seed) {}
  DType bytes = DType::kUInt8;

  Value* quantize(Value* x, double scale, double zero_point) {
    return make("QuantizeLinear", {x, number(scale), number(zero_point, bytes)});
  }
  Value* dequantize(Value* x, double scale, double zero_point) {
    return make("DequantizeLinear", {x, number(scale), number(zero_point, bytes)});
  }
  Value* both(Value* x, double scale, double zero_point) {
    return dequantize(quantize(x, scale, zero_point), scale, zero_point);
  }
  // int8 weights with a scale per index of `axis`, or one for all.
  Value* quantized_weights(const Shape& shape, int axis = -1) {
    std::vector<double> q, scales;
    for (int64_t i = 0; i < shape.elements(); ++i)
      q.push_back(static_cast<double>((i * 7919 + 13 * ++made_) % 255 - 127));
    const int64_t count = axis < 0 ? 1 : shape[axis];
    for (int64_t i = 0; i < count; ++i) scales.push_back(0.003 + 0.0004 * static_cast<double>(i));
    Value* scale = axis < 0 ? number(scales[0]) : constant({count}, scales);
    Value* zero = axis < 0 ? number(0, DType::kInt8) : constant({count}, std::vector<double>(count, 0), DType::kInt8);
    return make("DequantizeLinear", {constant(shape, q, DType::kInt8), scale, zero},
                with({{"axis", int64_t{axis < 0 ? 0 : axis}}}));
  }
  int64_t made_ = 0;
  // Where sums of real numbers become sums of integers, or others, the last bit may decide about a byte.
  void run_all(double tolerance = 1e-4) {
    for (std::string_view pass : pipeline_order()) {
      if (pass != "fuse_inverted_residual") run(pass, tolerance);
    }
  }
};

}  // namespace hussar
