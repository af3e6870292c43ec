// A share of a convolution or product whose operands have 16 bits: Tiles are the register tiles (tile_core.h), Narrow
// rounds the rows of A (narrow_rows.h). Empty below AVX-512. Internal to kernels/half and kernels/bfloat.
#pragma once
#include "backends/cpu/kernels/half/narrow_rows.h"
#include "backends/cpu/kernels/tile/tile_core.h"

#if defined(__AVX512F__)

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {

// weights: the panels of every group, one after the other. scratch: half_scratch_bytes(k) bytes.
template <class Tiles, class Narrow>
void run_narrow_share(const ConvArgs& conv, const uint16_t* weights, Share share, void* scratch) {
  const int64_t k = conv.kernel[0] * conv.kernel[1] * conv.kernel[2] * conv.channels;
  const int64_t rows = conv.batch * conv.out[0] * conv.out[1] * conv.out[2];
  const int64_t panels = (conv.filters + Tiles::kColumns - 1) / Tiles::kColumns;
  const Work work = share_of_work(conv.groups, rows, panels, share, conv.cut);
  const bool pointwise = is_pointwise(conv);
  auto* const lines = static_cast<uint16_t*>(scratch);
  uint16_t* const memory = lines + all_half_lines(k);
  for (int64_t group = work.items.begin; group < work.items.end; ++group) {
    const ProductOf<uint16_t> product = {k,
                                         conv.filters,
                                         weights + group * panels * Tiles::panel_elements(k),
                                         conv.output + group * conv.filters,
                                         conv.output_pitch,
                                         0,
                                         group * conv.filters,
                                         1,
                                         &conv.epilogue,
                                         conv.output_line_gap > 0 ? conv.out[2] : 0,
                                         conv.output_line_gap};
    const float* input = conv.input + group * conv.channels;
    if (pointwise) {
      run_tiles<Tiles>(product, work.rows, work.panels, conv.cut, PackNarrowRows<Narrow>{input, conv.input_pitch, k},
                       memory);
    } else {
      run_tiles<Tiles>(product, work.rows, work.panels, conv.cut,
                       WindowPacker<NarrowForm<Narrow>>{&conv, input, k, lines}, memory);
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE

#endif
