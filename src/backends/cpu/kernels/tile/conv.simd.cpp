// Convolution as a matrix product whose rows of A are gathered from the input, tile by tile: row = output pixel,
// column k = (kernel position, channel).
#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_drivers.h"
#include "backends/cpu/kernels/tile/tile_gather.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_conv(const ConvArgs& args, Share share, void* scratch) {
  const int64_t k = args.kernel[0] * args.kernel[1] * args.kernel[2] * args.channels;
  const int64_t row_floats = (k + kTileChunk - 1) / kTileChunk * kTileChunk;
  const int64_t rows = args.batch * args.out[0] * args.out[1] * args.out[2];
  const Work work = share_of_work(args.groups, rows, panel_count(args.filters), share);
  float* const line = static_cast<float*>(scratch);
  for (int64_t i = k; i < row_floats; ++i) line[i] = 0.0f;
  for (int64_t group = work.items.begin; group < work.items.end; ++group) {
    const Product product = {k,
                             args.filters,
                             args.filter + group * panel_floats(k, args.filters),
                             args.output + group * args.filters,
                             args.output_pitch,
                             0,
                             group * args.filters,
                             1,
                             &args.epilogue};
    const PackWindows pack = {&args, args.input + group * args.channels, k, line};
    run_product(product, work.rows, work.panels, pack, line + row_floats);
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
