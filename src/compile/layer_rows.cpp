#include "compile/layer_rows.h"

#include <algorithm>

#include "base/error.h"

namespace hussar {

Result<LayerRows> LayerRows::create(const PrunableLayer& layer, const Shape& input) {
  LayerRows rows;
  rows.channels_ = layer.channels;
  rows.taps_ = layer.taps;
  const Node& node = *layer.node;
  rows.is_conv_ = node.op == "Conv";
  if (!rows.is_conv_) {
    rows.count_ = input.elements() / layer.channels;
    return rows;
  }
  const Shape& weights = node.inputs[1]->constant->shape();
  const Shape kernel = spatial_shape(weights), spatial = spatial_shape(input);
  const Window window = HUSSAR_TRY(read_window(node, Ints(kernel.begin(), kernel.end())));
  Shape output{input[0], weights[0]};
  for (int axis = 0; axis < window.rank(); ++axis) {
    const Dim size(spatial[static_cast<int>(axis)]);
    output.push_back(HUSSAR_TRY(window_output(node, window, axis, size)).value());
  }
  rows.conv_ = HUSSAR_TRY(conv_shape(node, input, weights, output));
  rows.count_ = output[0] * output.elements(2, output.rank());
  return rows;
}

void LayerRows::read(const float* input, int64_t row, float* numbers) const {
  if (!is_conv_) {
    std::copy_n(input + row * channels_, channels_, numbers);
    return;
  }
  const Window& window = conv_.window;
  const int64_t plane = conv_.input.elements(), outputs = conv_.output.elements();
  int64_t first[kMaxRank], rest = row % outputs;
  for (size_t axis = window.rank(); axis-- > 0;) {
    const int64_t size = conv_.output[static_cast<int>(axis)];
    first[axis] = rest % size * window.strides[axis] - window.pads_begin[axis];
    rest /= size;
  }
  const float* sample = input + row / outputs * plane * channels_;
  for (int64_t tap = 0; tap < taps_; ++tap, numbers += channels_) {
    int64_t left = tap, offset = 0, stride = 1;
    bool is_inside = true;
    for (size_t axis = window.rank(); axis-- > 0;) {
      const int64_t size = conv_.input[static_cast<int>(axis)];
      const int64_t at = first[axis] + left % window.kernel[axis] * window.dilations[axis];
      left /= window.kernel[axis];
      is_inside = is_inside && at >= 0 && at < size;
      offset += at * stride;
      stride *= size;
    }
    for (int64_t channel = 0; channel < channels_; ++channel)
      numbers[channel] = is_inside ? sample[channel * plane + offset] : 0;
  }
}

void LayerRows::read_outputs(const float* outputs, int64_t row, int64_t n, float* numbers) const {
  const int64_t plane = is_conv_ ? conv_.output.elements() : 1;
  const float* first = outputs + row / plane * plane * n + row % plane;
  for (int64_t channel = 0; channel < n; ++channel) numbers[channel] = first[channel * plane];
}

}  // namespace hussar
