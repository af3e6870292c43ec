#include "backends/cpu/pool_window.h"

#include <algorithm>

namespace hussar::cpu {

// The attribute's value for a spatial axis.
static int64_t value_at(const Ints& values, int64_t axis, int64_t otherwise) {
  return axis < static_cast<int64_t>(values.size()) ? values[static_cast<size_t>(axis)] : otherwise;
}

void read_window(const Attributes& attributes, const Shape& x, const Shape& y, PoolArgs& args) {
  int64_t spatial = x.rank() - 2;
  Ints kernel = attributes.get_ints("kernel_shape"), strides = attributes.get_ints("strides");
  Ints dilations = attributes.get_ints("dilations"), pads = attributes.get_ints("pads");
  std::string auto_pad = attributes.get_string("auto_pad", "NOTSET");
  bool same_upper = auto_pad == "SAME_UPPER", same = same_upper || auto_pad == "SAME_LOWER";
  for (int slot = 0; slot < 3; ++slot) {
    args.in[slot] = args.out[slot] = args.kernel[slot] = args.stride[slot] = args.dilation[slot] = 1;
    args.pad[slot] = args.pad_end[slot] = 0;
    int64_t axis = slot - (3 - spatial);
    if (axis < 0) continue;
    args.in[slot] = x[static_cast<int>(axis) + 2];
    args.out[slot] = y[static_cast<int>(axis) + 2];
    args.kernel[slot] = value_at(kernel, axis, 1);
    args.stride[slot] = value_at(strides, axis, 1);
    args.dilation[slot] = value_at(dilations, axis, 1);
    if (same) {
      int64_t extent = (args.kernel[slot] - 1) * args.dilation[slot] + 1;
      int64_t total = std::max<int64_t>((args.out[slot] - 1) * args.stride[slot] + extent - args.in[slot], 0);
      args.pad[slot] = same_upper ? total / 2 : total - total / 2;
      args.pad_end[slot] = total - args.pad[slot];
    } else if (auto_pad != "VALID") {
      args.pad[slot] = value_at(pads, axis, 0);
      args.pad_end[slot] = value_at(pads, axis + spatial, 0);
    }
  }
}

WindowTaps window_taps(const PoolArgs& args, int axis, int64_t output) {
  WindowTaps taps{};
  taps.first = output * args.stride[axis] - args.pad[axis];
  const int64_t dilation = args.dilation[axis], kernel = args.kernel[axis];
  if (taps.first >= 0 && taps.first + (kernel - 1) * dilation < args.in[axis]) {
    // Most windows: three divisions less.
    taps.end = taps.padded = kernel;
    return taps;
  }
  const auto below = [&](int64_t position) {
    return position <= taps.first ? 0 : std::min(kernel, (position - taps.first + dilation - 1) / dilation);
  };
  taps.begin = below(0);
  taps.end = std::max(below(args.in[axis]), taps.begin);
  taps.padded = below(args.in[axis] + args.pad_end[axis]);
  return taps;
}

}  // namespace hussar::cpu
