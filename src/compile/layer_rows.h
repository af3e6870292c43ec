// LayerRows: what the outputs of a product are sums of, as rows in the order of its weights as a matrix.
#pragma once
#include <cstdint>
#include <vector>

#include "compile/prunable.h"
#include "ops/conv.h"

namespace hussar {

class LayerRows {
 public:
  // For inputs of this shape, dense and channels first.
  static Result<LayerRows> create(const PrunableLayer& layer, const Shape& input);

  int64_t count() const { return count_; }
  // k numbers, (tap, channel); zeros where a window reaches into the padding.
  void read(const float* input, int64_t row, float* numbers) const;
  // Of a tensor in the shape of the product's outputs: the n numbers where the sums of this row go.
  void read_outputs(const float* outputs, int64_t row, int64_t n, float* numbers) const;

 private:
  int64_t count_ = 0, channels_ = 0, taps_ = 1;
  bool is_conv_ = false;
  ConvShape conv_;
};

}  // namespace hussar
