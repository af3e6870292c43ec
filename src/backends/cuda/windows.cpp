// Windows and filters of convolutions as the matrices of products.
#include "backends/cuda/windows.h"

#include "backends/cuda/byte_product.h"

namespace hussar::cuda {
namespace {

// [filter][channel][tap] as [filter][tap][channel], or back. What has one channel per filter counts as one filter.
Tensor turned(const Tensor& from, const Shape& shape, bool back) {
  const int64_t filters = shape[1] == 1 ? 1 : shape[0], channels = shape[1] == 1 ? shape[0] : shape[1];
  const int64_t taps = shape.elements(2, shape.rank());
  const size_t size = dtype_size(from.dtype());
  Tensor to(from.dtype(), shape);
  for (int64_t filter = 0; filter < filters; ++filter) {
    for (int64_t channel = 0; channel < channels; ++channel) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const int64_t by_channels = (filter * channels + channel) * taps + tap;
        const int64_t by_taps = (filter * taps + tap) * channels + channel;
        std::memcpy(to.raw() + static_cast<size_t>(back ? by_channels : by_taps) * size,
                    from.raw() + static_cast<size_t>(back ? by_taps : by_channels) * size, size);
      }
    }
  }
  return to;
}

bool reaches_outside(const Convolution& conv) {
  for (int axis = 0; axis < 3; ++axis) {
    const int64_t last = (conv.output[axis] - 1) * conv.strides[axis] + (conv.kernel[axis] - 1) * conv.dilations[axis];
    if (conv.pads[axis] > 0 || last - conv.pads[axis] >= conv.input[axis]) return true;
  }
  return false;
}

}  // namespace

Windows windows_of(const Convolution& conv) {
  Windows windows{};
  windows.pitch = conv.x_pitch;
  for (int axis = 0; axis < 3; ++axis) {
    windows.input[axis] = static_cast<int32_t>(conv.input[axis]);
    windows.output[axis] = static_cast<int32_t>(conv.output[axis]);
    windows.strides[axis] = static_cast<int32_t>(conv.strides[axis]);
    windows.pads[axis] = static_cast<int32_t>(conv.pads[axis]);
    windows.dilations[axis] = static_cast<int32_t>(conv.dilations[axis]);
  }
  return windows;
}

void define_windows(const Convolution& conv, Defines& defines) {
  defines.set("PRODUCT_WINDOWS", 1).set("CONV_CHANNELS", conv.channels);
  defines.set("CONV_KERNEL_1", conv.kernel[1]).set("CONV_KERNEL_2", conv.kernel[2]);
}

PictureSteps steps_of(const Convolution& conv, Layout layout) {
  const bool is_plain = layout == Layout::kPlain;
  PictureSteps steps{};
  steps.column = is_plain ? 1 : conv.x_pitch;
  steps.row = steps.column * conv.input[2];
  steps.channel = is_plain ? steps.row * conv.input[1] : 1;
  steps.picture = steps.row * conv.input[1] * (is_plain ? conv.channels : 1);
  return steps;
}

DenseProduct window_product(const Convolution& conv) {
  const int64_t k = conv.channels * conv.taps();
  return {conv.pixels(), conv.filters, k, conv.x_pitch, k, conv.y_pitch};
}

Refusal check_window_product(const Problem& problem) {
  if (Refusal refusal = check_convolution(problem, {"Conv", "hussar.QuantizedConv"})) return refusal;
  auto conv = convolution(problem.node);
  if (!conv) return "shapes";
  if (conv->groups != 1) return "groups";
  if (problem.node.attributes.get_int("x_zero_point", 0) != 0 && reaches_outside(*conv))
    return "pads with bytes that are not 0";
  const auto chunk = static_cast<int64_t>(16 / dtype_size(problem.dtype(0)));
  const bool is_aligned = conv->channels % chunk == 0 && conv->filters % 8 == 0 && conv->x_pitch % chunk == 0 &&
                          conv->y_pitch % 8 == 0 && offset_in_holder(*problem.input(0)) % chunk == 0 &&
                          offset_in_holder(*problem.output()) % 8 == 0;
  return is_aligned ? Refusal() : Refusal("channels are not multiples of 16 bytes");
}

Status turn_filter(Packing& packing) {
  const Tensor filter = *packing.node.inputs[1]->constant;
  packing.replace(1, turned(filter, filter.shape(), false));
  return {};
}

Status turn_filter_back(Packing& packing) {
  Node& node = packing.node;
  const Ints* shape = node.attributes.find<Ints>("hussar_packed_1");
  HUSSAR_CHECK(shape != nullptr && node.inputs[1] != nullptr && node.inputs[1]->is_constant() &&
                   node.inputs[1]->constant->shape() == Shape(*shape),
               ErrorCode::kPlanIncompatible, "{}: its filter is not what it was", describe(node));
  packing.replace(1, turned(*node.inputs[1]->constant, Shape(*shape), true));
  return is_byte_product(node.op) ? forget_table(packing) : Status();
}

}  // namespace hussar::cuda
