// OutputError: what INT8 does to the output of a product, on rows that it read.
#pragma once
#include <vector>

#include "compile/product_samples.h"
#include "ops/product_weights.h"
#include "tensor/quant_params.h"

namespace hussar {

// Looks at 32 output channels of every group at most. Sums are taken in one order, without fused multiply-adds: the
// same bits everywhere.
//
// Outputs of matrix products count in parts of the power of their row (a tenth of the usual one at least), and of these
// the root mean square: a row is a token, and the next normalization makes all tokens alike, so that few rows with most
// of the power must not decide alone; but these may be what all others attend to, so that to lose them is no price for
// a little more of the others. Pixels of a convolution are added up: there the power of all counts.
class OutputError {
 public:
  // With divisors, one per element of a row: x is divided and weights are multiplied by them. With flips:
  // flip_roundings(). The outputs in FP32 are those of `undivided`, of the same product, where there is one.
  explicit OutputError(const ProductSamples& samples, const std::vector<float>& divisors = {},
                       const std::vector<uint8_t>& flips = {}, const OutputError* undivided = nullptr);

  // The sum of the squared outputs in FP32, over the rows by their weights.
  double power() const { return power_; }
  // How much a row counts: for how many it stands, in parts of all, and of matrix products by its power.
  double weight_of(int64_t row) const { return row_weights_[static_cast<size_t>(row)]; }
  // Of the squared differences with x and weights quantized: the same, and, of tokens, the root mean square over the
  // rows instead of the mean.
  double mean_noise(const QuantParams& params) const;
  double noise(const QuantParams& params) const;
  // The mean squared error of the elements of the rows that clipping alone makes.
  double clipping(const QuantParams& params) const;
  // What independent errors of the elements with a mean square of 1 would add to the noise, were they in the rows with
  // most of the power.
  double gain() const { return gain_ * greatest_weight_; }

 private:
  // One that is looked at. What stands for several counts so much more: its outputs are multiplied by the factor.
  struct Channel {
    int64_t number;
    float factor;
  };
  // The weights of some channels of one group as [element][channel], filled up with zeros to the width.
  struct Block {
    int64_t group, channels, width;
    std::vector<float> real, quantized;
  };
  void fill(const ProductSamples& samples, const std::vector<float>& divisors, const std::vector<uint8_t>& flips);
  void weigh_pixels(const ProductSamples& samples);
  void weigh_tokens(const ProductSamples& samples);

  std::vector<double> squares(const QuantParams& params) const;  // of the differences, by row

  int64_t count_, row_size_, elements_;
  std::vector<float> scaled_;  // rows, when there are divisors
  const float* rows_;
  bool are_tokens_;
  std::vector<Channel> channels_;  // group by group
  std::vector<Block> blocks_;
  std::vector<float> outputs_;  // of the rows, block by block, with the weights as they are
  std::vector<double> shares_, row_weights_;
  double power_ = 0, gain_ = 0, greatest_weight_ = 1;
};

// x as it is after quantization.
void quantize_row(const float* x, int64_t count, const QuantParams& params, float* result);

}  // namespace hussar
