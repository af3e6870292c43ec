// MaxPool and AveragePool over 1 to 3 spatial dimensions (depth, height, width; unused leading ones are 1), in FP32;
// MaxPool of bytes too.
#pragma once
#include <stdint.h>

#include "backends/cpu/isa.h"

namespace hussar::cpu {

// Output o reads input o * stride + tap * dilation - pad for tap < kernel. Padding never wins a maximum; a window that
// sees padding only gives the least number of the type or an average of 0. Sizes and pitches are in elements.
struct PoolArgs {
  const void* input;
  void* output;
  int64_t batch, channels;
  int64_t in[3], out[3];
  int64_t kernel[3], stride[3], dilation[3];
  int64_t pad[3], pad_end[3];
  // Channels-last: elements from pixel to pixel.
  int64_t input_pitch, output_pitch;
  bool is_max;
  bool is_bytes;     // elements are uint8, and it is a maximum
  bool include_pad;  // averages divide by the taps inside of the padded input, else by those inside of the input
};

struct PoolTable {
  // Channels-last tensors: the output pixels [begin, end) of batch * out[0] * out[1] * out[2].
  void (*pixels)(const PoolArgs& args, int64_t begin, int64_t end);
  // Plain tensors: the planes [begin, end) of batch * channels.
  void (*planes)(const PoolArgs& args, int64_t begin, int64_t end);
};

HUSSAR_DECLARE_PER_ISA(PoolTable, pool_table)

}  // namespace hussar::cpu
