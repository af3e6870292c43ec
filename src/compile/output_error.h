// OutputError: what INT8 does to the output of a product, on rows that it read.
#pragma once
#include <vector>

#include "compile/product_samples.h"
#include "ops/product_weights.h"
#include "tensor/quant_params.h"

namespace hussar {

// Looks at 32 output channels of every group at most. Sums are taken in one order, without fused multiply-adds: the
// same bits everywhere.
class OutputError {
 public:
  // With divisors, one per element of a row: x is divided and weights are multiplied by them. With flips:
  // flip_roundings(). The outputs in FP32 are those of `undivided`, of the same product, where there is one.
  explicit OutputError(const ProductSamples& samples, const std::vector<float>& divisors = {},
                       const std::vector<uint8_t>& flips = {}, const OutputError* undivided = nullptr);

  // The sum of the squared outputs in FP32, as a mean over the rows.
  double power() const { return power_; }
  // Of the squared differences with x and weights quantized, the same.
  double noise(const QuantParams& params) const;
  // The mean squared error of the elements of the rows that clipping alone makes.
  double clipping(const QuantParams& params) const;
  // How many output channels are looked at.
  int64_t channels() const { return channels_; }
  // What independent errors of the elements with a mean square of 1 would add to the noise.
  double gain() const { return gain_; }

 private:
  // The weights of some channels of one group as [element][channel], filled up with zeros to the width.
  struct Block {
    int64_t group, channels, width;
    std::vector<float> real, quantized;
  };
  void fill(const ProductSamples& samples, const std::vector<float>& divisors, const std::vector<uint8_t>& flips);

  int64_t count_, row_size_, elements_, channels_ = 0;
  std::vector<float> scaled_;  // rows, when there are divisors
  const float* rows_;
  std::vector<Block> blocks_;
  std::vector<float> outputs_;  // of the rows, block by block, with the weights as they are
  double power_ = 0, gain_ = 0;
};

// x as it is after quantization.
void quantize_row(const float* x, int64_t count, const QuantParams& params, float* result);

}  // namespace hussar
