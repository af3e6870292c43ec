// Sliding windows over the spatial axes D1..Dk of an [N][C][D1]..[Dk] tensor: the geometry of convolution and pooling.
#pragma once
#include "ops/infer.h"
#include "ops/numeric.h"

namespace hussar {

// One entry per spatial axis. Output o reads input o * stride + tap * dilation - pads_begin for tap < kernel.
struct Window {
  enum class AutoPad : uint8_t { kNone, kSameUpper, kSameLower, kValid };

  Shape kernel, strides, dilations, pads_begin, pads_end;
  AutoPad auto_pad = AutoPad::kNone;  // pads are unknown until resolve_padding() while it is kSame*
  bool ceil_mode = false;

  int rank() const { return kernel.rank(); }
  // The input positions from the first tap to the last.
  int64_t extent(int axis) const { return (kernel[axis] - 1) * dilations[axis] + 1; }
};

// Reads strides, dilations, pads, auto_pad and ceil_mode of a node. Every value is checked: kernel, strides and
// dilations are in [1, 2^31), pads in [0, 2^31), so that sums of a few of them cannot overflow.
Result<Window> read_window(const Node& node, std::span<const int64_t> kernel);
// The same with the kernel of the attribute kernel_shape, which must be there.
Result<Window> read_window(const Node& node);

// The output extent along one spatial axis. A negative constant is an error of the node.
Result<Dim> window_output(const Node& node, const Window& window, int axis, const Dim& input);

// Turns auto_pad into pads, for the shape [N][C][D1]..[Dk].
void resolve_padding(Window& window, const Shape& input);

// The spatial part of [N][C][D1]..[Dk].
inline Shape spatial_shape(const Shape& shape) { return Shape(shape.dims().subspan(2)); }

// Visits the output positions of a plane [D1]..[Dk] in row-major order: visit(position, offsets, padded_count), where
// offsets are those of the taps inside the input plane in row-major order, and padded_count counts the taps inside the
// input or its declared padding. `input` and `output` are spatial shapes.
template <class Visit>
void for_each_window(const Window& window, const Shape& input, const Shape& output, Visit&& visit) {
  const ElementStrides strides = row_major_strides(input);
  ElementStrides position = zero_strides(output);
  std::vector<int64_t> offsets, wider;
  for (int64_t linear = 0, total = output.elements(); linear < total; ++linear) {
    offsets.assign(1, 0);
    int64_t padded_count = 1;
    for (int axis = 0; axis < window.rank(); ++axis) {
      int64_t first = position[axis] * window.strides[axis] - window.pads_begin[axis];
      int64_t size = input[axis], padded = 0;
      wider.clear();
      // Only taps that can be inside or in the padding are looked at: a kernel may be much larger than the input.
      int64_t end = size + window.pads_end[axis] - first;
      int64_t taps =
          end <= 0 ? 0 : std::min(window.kernel[axis], (end + window.dilations[axis] - 1) / window.dilations[axis]);
      padded = taps;
      std::vector<int64_t> inside;
      int64_t begin_tap = first >= 0 ? 0 : (-first + window.dilations[axis] - 1) / window.dilations[axis];
      for (int64_t tap = begin_tap; tap < taps; ++tap) {
        int64_t at = first + tap * window.dilations[axis];
        if (at >= size) break;
        inside.push_back(at * strides[axis]);
      }
      for (int64_t base : offsets) {
        for (int64_t step : inside) wider.push_back(base + step);
      }
      offsets.swap(wider);
      padded_count *= padded;
    }
    visit(linear, offsets, padded_count);
    for (int axis = window.rank() - 1; axis >= 0; --axis) {
      if (++position[axis] < output[axis]) break;
      position[axis] = 0;
    }
  }
}

}  // namespace hussar
