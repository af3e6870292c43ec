// Convolution as a matrix product whose rows of A are gathered from the input, tile by tile: row = output pixel,
// column k = (kernel position, channel).
#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_drivers.h"
#include "backends/cpu/kernels/tile/tile_gather.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_conv(const ConvArgs& args, Share share, void* scratch) {
  if (takes_lines(args)) return run_conv_lines(args, share, scratch);
  const int64_t k = args.kernel[0] * args.kernel[1] * args.kernel[2] * args.channels;
  const int64_t rows = args.batch * args.out[0] * args.out[1] * args.out[2];
  const Work work = share_of_work(args.groups, rows, panel_count(args.filters), share, args.cut);
  const bool pointwise = is_pointwise(args);
  float* const lines = static_cast<float*>(scratch);
  float* const memory = lines + all_lines_floats(k);
  for (int64_t group = work.items.begin; group < work.items.end; ++group) {
    const Product product = {k,
                             args.filters,
                             args.filter + group * panel_floats(k, args.filters),
                             args.output + group * args.filters,
                             args.output_pitch,
                             0,
                             group * args.filters,
                             1,
                             &args.epilogue,
                             args.output_line_gap != 0 ? args.out[2] : 0,
                             args.output_line_gap};
    const float* input = args.input + group * args.channels;
    if (pointwise) {
      run_product(product, work.rows, work.panels, args.cut, PackRows{input, args.input_pitch, k}, memory);
    } else {
      run_product(product, work.rows, work.panels, args.cut, PackWindows{&args, input, k, lines}, memory);
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
