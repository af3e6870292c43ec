// AdaptiveRounding: which weights of an INT8 product had better be rounded the other way, judged by rows that it read.
#pragma once
#include <cstdint>
#include <vector>

#include "tensor/quant_params.h"

namespace hussar {

// Rows of one group of a product, not quantized.
struct RoundingRows {
  const float* x;         // [row][element]
  int64_t row_stride;     // from one row to the next
  int64_t elements;       // of a row
  const uint8_t* halves;  // of every row: 0 or 1
  int64_t count;
};

// For the output channels of one group. With e the difference between a channel's integers and its weights, in steps,
// and a the bytes of a row less the zero point, the channel's weights add e' A e to the squared error of its outputs, A
// = sum of a a'. Beginning with the nearest integers, the flip (the integer on the weight's other side) that lowers
// this most is made until none lowers it.
//
// Sums are taken in an order that the rows alone decide, without fused multiply-adds: the same bits everywhere.
class AdaptiveRounding {
 public:
  static constexpr int64_t kTogether = 32;  // channels

  AdaptiveRounding(const RoundingRows& rows, const QuantParams& input);

  // A is made in parts, which may run at the same time; all are done before round() is called.
  int64_t parts() const;
  void make(int64_t part);

  // `weights`, in steps, and the integers nearest to them are [element][channel], `channels` at most kTogether.
  // Gives the elements to flip, by channel, in order. Flips that one half of the rows asks for must make the error of
  // the other half less, and the other way round; else the channel has none. May run for several channels at once.
  std::vector<std::vector<int32_t>> round(const float* weights, const int8_t* numbers, int64_t channels) const;

 private:
  struct Half {
    int64_t rows = 0, padded = 0;
    std::vector<int16_t> bytes;  // of a, [element][row], zeros behind the last row
    std::vector<float> gram;     // A
  };
  void errors_of(const float* weights, const int8_t* numbers, int64_t channels, std::vector<float> (&errors)[2]) const;

  int64_t elements_;
  Half halves_[2];
};

}  // namespace hussar
