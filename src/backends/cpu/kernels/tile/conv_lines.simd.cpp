// Convolution of few channels without packing: the input lines under one output line are copied beside each other with
// their padding, and the tiles read the overlapping windows straight from the copies.
#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_drivers.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// More than that fill most of a packed chunk of 16.
constexpr int64_t kFewChannels = 4;

// Floats of one copied line: as much as the windows of whole tiles reach.
int64_t copied_floats(const ConvArgs& args) {
  const int64_t pixels = (args.out[2] + kTileRows - 1) / kTileRows * kTileRows;
  return ((pixels - 1) * args.stride[2] + args.kernel[2]) * args.channels;
}

void copy_line(const ConvArgs& args, const float* line, float* out) {
  const int64_t channels = args.channels, total = copied_floats(args) / channels;
  const int64_t left = args.pad[2] > 0 ? (args.pad[2] < total ? args.pad[2] : total) : 0;
  const int64_t first = args.pad[2] < 0 ? -args.pad[2] : 0;
  int64_t pixels = args.in[2] - first < total - left ? args.in[2] - first : total - left;
  if (line == nullptr || pixels < 0) pixels = 0;
  for (int64_t i = 0; i < left * channels; ++i) out[i] = 0.0f;
  out += left * channels;
  if (args.input_pitch == channels) {
    for (int64_t i = 0; i < pixels * channels; i += kLanes) {
      const int rest = static_cast<int>(pixels * channels - i);
      store_up_to(out + i, load_up_to(line + first * channels + i, rest), rest);
    }
  } else {
    for (int64_t i = 0; i < pixels * channels; ++i) {
      out[i] = line[(first + i / channels) * args.input_pitch + i % channels];
    }
  }
  for (int64_t i = pixels * channels; i < (total - left) * channels; ++i) out[i] = 0.0f;
}

}  // namespace

bool takes_lines(const ConvArgs& args) {
  if (args.groups != 1 || args.channels > kFewChannels || args.kernel[0] != 1 || args.in[0] != 1 || args.out[0] != 1) {
    return false;
  }
  if (args.pad[0] != 0 || args.dilation[2] != 1 || args.out[2] < kTileRows) return false;
  if (args.kernel[1] * copied_floats(args) > kBlockFloats) return false;
  return line_kernel(args.stride[2] * args.channels, 1) != nullptr;
}

void run_conv_lines(const ConvArgs& args, Share share, void* scratch) {
  float* const copies = static_cast<float*>(scratch);
  const int64_t line_floats = copied_floats(args), step = args.stride[2] * args.channels;
  const int64_t run = args.kernel[2] * args.channels, k = args.kernel[1] * run, panels = panel_count(args.filters);
  const Range lines = part_of(args.batch * args.out[1], share.count, share.index);
  const Product product = {k,
                           args.filters,
                           args.filter,
                           args.output,
                           args.output_pitch,
                           0,
                           0,
                           1,
                           &args.epilogue,
                           args.output_line_gap != 0 ? args.out[2] : 0,
                           args.output_line_gap};
  for (int64_t line = lines.begin; line < lines.end; ++line) {
    const int64_t image = line / args.out[1], y = line % args.out[1];
    for (int64_t ky = 0; ky < args.kernel[1]; ++ky) {
      const int64_t in_y = y * args.stride[1] - args.pad[1] + ky * args.dilation[1];
      const bool inside = in_y >= 0 && in_y < args.in[1];
      const int64_t pixel = inside ? (image * args.in[1] + in_y) * args.in[2] : 0;
      copy_line(args, inside ? args.input + pixel * args.input_pitch : nullptr, copies + ky * line_floats);
    }
    for (int64_t x = 0; x < args.out[2]; x += kTileRows) {
      const int rows = static_cast<int>(args.out[2] - x < kTileRows ? args.out[2] - x : kTileRows);
      for (int64_t panel = 0; panel < panels;) {
        const int width = panels - panel >= max_panels(kTileRows) ? max_panels(kTileRows) : 1;
        const LineTile tile = {
            copies + x * step, args.kernel[1], line_floats, run, args.filter + panel * 16 * k, 16 * k};
        const LineKernel kernel = line_kernel(step, width);
        emit_tile(product, line * args.out[2] + x, rows, panel, width, {}, [&](const TileOutput& out) {
          if (rows == kTileRows) return kernel(tile, out);
          // The tile has more rows than the line has pixels left.
          alignas(64) float buffer[kTileFloats];
          TileOutput whole = out;
          whole.c = buffer;
          whole.c_pitch = width * 16;
          whole.columns = width * 16;
          whole.residual = nullptr;
          whole.low = -INFINITY;
          whole.high = INFINITY;
          whole.hard_swish = false;
          kernel(tile, whole);
          store_rows(buffer, rows, width * 16, out);
        });
        panel += width;
      }
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
