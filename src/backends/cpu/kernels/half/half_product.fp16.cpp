#include "backends/cpu/kernels/half/half_product.h"

#include "backends/cpu/kernels/half/half_tiles.h"
#include "backends/cpu/kernels/half/half_vec.h"
#include "backends/cpu/kernels/half/narrow_rows.h"
#include "backends/cpu/kernels/tile/tile_core.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

void run_half_product(const HalfArgs& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const Work work = share_of_work(conv.groups, rows, half_panel_count(conv.filters), share, conv.cut);
  const bool pointwise = is_pointwise(conv);
  auto* const lines = static_cast<uint16_t*>(scratch);
  uint16_t* const memory = lines + all_half_lines(k);
  for (int64_t group = work.items.begin; group < work.items.end; ++group) {
    const ProductOf<uint16_t> product = {k,
                                         conv.filters,
                                         args.weights + group * half_weight_elements(k, conv.filters),
                                         conv.output + group * conv.filters,
                                         conv.output_pitch,
                                         0,
                                         group * conv.filters,
                                         1,
                                         &conv.epilogue};
    const float* input = conv.input + group * conv.channels;
    if (pointwise) {
      run_tiles<HalfTiles>(product, work.rows, work.panels, conv.cut,
                           PackNarrowRows<Halves>{input, conv.input_pitch, k}, memory);
    } else {
      run_tiles<HalfTiles>(product, work.rows, work.panels, conv.cut,
                           WindowPacker<NarrowForm<Halves>>{&conv, input, k, lines}, memory);
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
