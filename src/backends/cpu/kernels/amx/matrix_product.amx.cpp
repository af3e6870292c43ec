#include "backends/cpu/kernels/amx/matrix_product.h"

#include "backends/cpu/kernels/amx/matrix_unit.h"
#include "backends/cpu/kernels/pointwise/program.h"
#include "backends/cpu/matrix_packing.h"
#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Steps of k whose weights for two panels (32 KB) stay in the L1 cache while the rows of A pass by.
constexpr int64_t steps_at_once(int64_t parts) { return 16 / parts; }

struct Range {
  int64_t begin;
  int64_t end;
};

HUSSAR_INLINE Range part_of(int64_t size, int64_t parts, int64_t index) {
  return {size * index / parts, size * (index + 1) / parts};
}

// One share's part: images x groups, output lines, pairs of panels.
struct Work {
  Range items;
  Range lines;
  Range pairs;
};

// The cut into at most share.count equal parts whose largest costs least, in cycles: 6 per step for a row of A and a
// pair of panels, about 10 to split 32 channels of a pixel, 400 to fetch the weights of a step.
Work share_of_work(const MatrixGeometry& geometry, int64_t groups, int64_t pairs, Share share, CutAlong along) {
  const int64_t items = geometry.images * groups;
  int64_t cut[3] = {1, 1, 1};
  double best = INFINITY;
  for (int64_t i = 1; i <= share.count && i <= items; ++i) {
    for (int64_t l = 1; i * l <= share.count && l <= geometry.lines; ++l) {
      if (along == CutAlong::kPanels && l > 1) break;
      const int64_t room = along == CutAlong::kRows ? 1 : share.count / (i * l), p = room < pairs ? room : pairs;
      const double lines = static_cast<double>((geometry.lines + l - 1) / l);
      const double own_pairs = static_cast<double>((pairs + p - 1) / p), steps = static_cast<double>(geometry.steps);
      const double pixels = static_cast<double>(geometry.image_width);
      const double split = (lines + static_cast<double>(geometry.more_lines)) * pixels * 10 *
                           static_cast<double>(geometry.phases[0] * geometry.phases[1] * geometry.channels / 32);
      const double cost =
          static_cast<double>((items + i - 1) / i) * (split + own_pairs * steps * (6 * lines * pixels + 400));
      if (cost >= best) continue;
      best = cost;
      cut[0] = i, cut[1] = l, cut[2] = p;
    }
  }
  if (share.index >= cut[0] * cut[1] * cut[2]) return {};
  return {part_of(items, cut[0], share.index / (cut[1] * cut[2])),
          part_of(geometry.lines, cut[1], share.index / cut[2] % cut[1]), part_of(pairs, cut[2], share.index % cut[2])};
}

// 32 floats to 32 high parts and 32 low parts.
HUSSAR_INLINE void split(__m512 x0, __m512 x1, uint16_t* high, uint16_t* low) {
  const __m512i parts = reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(x1, x0));
  const __m512i wide0 = _mm512_cvtepu16_epi32(_mm512_castsi512_si256(parts));
  const __m512i wide1 = _mm512_cvtepu16_epi32(_mm512_extracti64x4_epi64(parts, 1));
  const __m512 high0 = _mm512_castsi512_ps(_mm512_slli_epi32(wide0, 16));
  const __m512 high1 = _mm512_castsi512_ps(_mm512_slli_epi32(wide1, 16));
  const __m512 low0 = _mm512_sub_ps(x0, high0), low1 = _mm512_sub_ps(x1, high1);
  _mm512_storeu_si512(high, parts);
  _mm512_storeu_si512(low, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(low1, low0)));
}

// 32 floats to 32 bfloat16.
HUSSAR_INLINE void round_to_bfloat(__m512 x0, __m512 x1, uint16_t* out) {
  _mm512_storeu_si512(out, reinterpret_cast<__m512i>(_mm512_cvtne2ps_pbh(x1, x0)));
}

// One pixel: [channels] floats to [padded].
HUSSAR_INLINE void round_pixel(const float* pixel, int64_t channels, int64_t padded, uint16_t* out) {
  int64_t channel = 0;
  for (; channel + 32 <= channels; channel += 32) {
    round_to_bfloat(_mm512_loadu_ps(pixel + channel), _mm512_loadu_ps(pixel + channel + 16), out + channel);
  }
  if (channel == padded) return;
  const int left = static_cast<int>(channels - channel);
  round_to_bfloat(load_up_to(pixel + channel, left).v, left > 16 ? load_n(pixel + channel + 16, left - 16).v : set(0).v,
                  out + channel);
}

// The same to [high: padded][low: padded].
HUSSAR_INLINE void split_pixel(const float* pixel, int64_t channels, int64_t padded, uint16_t* out) {
  int64_t channel = 0;
  for (; channel + 32 <= channels; channel += 32) {
    split(_mm512_loadu_ps(pixel + channel), _mm512_loadu_ps(pixel + channel + 16), out + channel,
          out + padded + channel);
  }
  if (channel == padded) return;
  const int left = static_cast<int>(channels - channel);
  split(load_up_to(pixel + channel, left).v, left > 16 ? load_n(pixel + channel + 16, left - 16).v : set(0).v,
        out + channel, out + padded + channel);
}

// c [kRows * 16][kPanels * 16] = or += A x B over `steps` of k. The rows of A at step i begin at a + offsets[i],
// `pitch` bytes apart, their low parts, if there are two parts, `low` elements later; b: [step][panel][part] tiles.
template <int kParts, int kRows, int kPanels>
void multiply_tiles(const uint16_t* a, const int64_t* offsets, int64_t pitch, int64_t low, const uint16_t* b,
                    int64_t steps, float* c, bool fresh) {
  constexpr int64_t kSumPitch = kPanels * 16;
  if (fresh) {
    zero_tiles<kRows, kPanels>();
  } else {
    load_sums<kRows, kPanels>(c, kSumPitch);
  }
  for (int64_t step = 0; step < steps; ++step, b += kPanels * kParts * kMatrixElements) {
    const uint16_t* const rows = a + offsets[step];
    load_panels<kPanels>(b, kParts * kMatrixElements);
    if constexpr (kParts > 1) {
      load_rows<kRows>(rows + low, pitch);
      multiply_add_tiles<kRows, kPanels>();  // low x high
    }
    load_rows<kRows>(rows, pitch);
    multiply_add_tiles<kRows, kPanels>();  // high x high
    if constexpr (kParts > 1) {
      load_panels<kPanels>(b + kMatrixElements, kParts * kMatrixElements);
      multiply_add_tiles<kRows, kPanels>();  // high x low
    }
  }
  store_sums<kRows, kPanels>(c, kSumPitch);
}

using MultiplyTiles = void (*)(const uint16_t*, const int64_t*, int64_t, int64_t, const uint16_t*, int64_t, float*,
                               bool);
// [parts][row tiles][panels]
constexpr MultiplyTiles kMultiplyTiles[2][2][2] = {
    {{multiply_tiles<1, 1, 1>, multiply_tiles<1, 1, 2>}, {multiply_tiles<1, 2, 1>, multiply_tiles<1, 2, 2>}},
    {{multiply_tiles<2, 1, 1>, multiply_tiles<2, 1, 2>}, {multiply_tiles<2, 2, 1>, multiply_tiles<2, 2, 2>}}};

// The epilogue on sums [rows][width]; row and column count over the whole output.
void finish_rows(const ConvArgs& conv, float* sums, int64_t width, int64_t row, int64_t rows, int64_t column,
                 int64_t columns) {
  const Epilogue& epilogue = conv.epilogue;
  const Vec low = set(epilogue.low), high = set(epilogue.high);
  float* const out = conv.output + row * conv.output_pitch + column;
  for (int64_t r = 0; r < rows; ++r) {
    const float* const residual =
        epilogue.residual == nullptr ? nullptr : epilogue.residual + (row + r) * epilogue.residual_pitch + column;
    float* const target = epilogue.program != nullptr ? sums + r * width : out + r * conv.output_pitch;
    for (int64_t c = 0; c < columns; c += kLanes) {
      const int left = static_cast<int>(columns - c);
      Vec y = load(sums + r * width + c);
      if (epilogue.bias != nullptr) y = y + load_up_to(epilogue.bias + column + c, left);
      if (residual != nullptr) y = y + load_up_to(residual + c, left);
      store_up_to(target + c, min_second(high, max_second(low, y)), left);
    }
  }
  if (epilogue.program == nullptr) return;
  ProgramOperand operands[kProgramOperands];
  for (int i = 0; i < epilogue.program->operand_count; ++i) {
    operands[i] = epilogue.operands[i];
    operands[i].data += row * operands[i].row_stride;
  }
  program_table.run(*epilogue.program, operands, {sums, out, width, conv.output_pitch, 0, column, rows, columns});
}

// A band of output lines of one image and one group.
class Band {
 public:
  Band(const MatrixArgs& args, const MatrixGeometry& geometry, int64_t most_lines, void* scratch)
      : conv_(args.conv), weights_(args.weights), geometry_(geometry), pixel_(geometry.parts * geometry.channels) {
    offsets_ = static_cast<int64_t*>(scratch);
    sums_ = reinterpret_cast<float*>(offsets_ + (geometry.steps + 7) / 8 * 8);
    images_ = reinterpret_cast<uint16_t*>(sums_ + (most_lines * geometry.image_width + 31) / 32 * 32 * 32);
  }

  void run(int64_t image, int64_t group, Range lines, Range pairs) {
    image_ = image;
    group_ = group;
    lines_ = lines;
    image_elements_ = matrix_image_pixels(geometry_, lines.end - lines.begin) * pixel_;
    split_images();
    set_offsets();
    for (int64_t pair = pairs.begin; pair < pairs.end; ++pair) multiply_pair(pair);
  }

 private:
  const float* input_pixel(int64_t y, int64_t x) const {
    return conv_.input + ((image_ * conv_.in[1] + y) * conv_.in[2] + x) * conv_.input_pitch + group_ * conv_.channels;
  }

  void narrow_pixel(const float* pixel, uint16_t* out) const {
    const auto narrow = geometry_.parts > 1 ? split_pixel : round_pixel;
    narrow(pixel, conv_.channels, geometry_.channels, out);
  }

  void split_flat() {
    const int64_t first = lines_.begin * 16;
    const int64_t end = lines_.end * 16 < geometry_.pixels ? lines_.end * 16 : geometry_.pixels;
    const float* pixel = conv_.input + first * conv_.input_pitch + group_ * conv_.channels;
    for (int64_t i = 0; i < end - first; ++i, pixel += conv_.input_pitch) {
      narrow_pixel(pixel, images_ + i * pixel_);
    }
  }

  // One line of the image of phase (., phase_x), made from input line y.
  void split_line(int64_t y, int64_t phase_x, uint16_t* out) {
    const int64_t stride = conv_.stride[2], bytes = pixel_ * 2;
    for (int64_t c = 0; c < geometry_.image_width; ++c, out += pixel_) {
      const int64_t x = c * stride + phase_x - conv_.pad[2];
      if (y >= 0 && y < conv_.in[1] && x >= 0 && x < conv_.in[2]) {
        narrow_pixel(input_pixel(y, x), out);
      } else {
        memset(out, 0, static_cast<size_t>(bytes));
      }
    }
  }

  void split_images() {
    if (geometry_.flat) return split_flat();
    uint16_t* out = images_;
    for (int64_t phase_y = 0; phase_y < geometry_.phases[0]; ++phase_y) {
      for (int64_t phase_x = 0; phase_x < geometry_.phases[1]; ++phase_x, out += image_elements_) {
        for (int64_t r = 0; r < lines_.end - lines_.begin + geometry_.more_lines; ++r) {
          const int64_t y = (lines_.begin + r) * conv_.stride[1] + phase_y - conv_.pad[1];
          split_line(y, phase_x, out + r * geometry_.image_width * pixel_);
        }
      }
    }
  }

  // Where the rows of A begin for every step of k, from the first pixel of the image.
  void set_offsets() {
    int64_t* offset = offsets_;
    for (int64_t y = 0; y < conv_.kernel[1]; ++y) {
      for (int64_t x = 0; x < conv_.kernel[2]; ++x) {
        const int64_t at_y = y * conv_.dilation[1], at_x = x * conv_.dilation[2];
        const int64_t phase = at_y % conv_.stride[1] * geometry_.phases[1] + at_x % conv_.stride[2];
        const int64_t pixel = at_y / conv_.stride[1] * geometry_.image_width + at_x / conv_.stride[2];
        for (int64_t channel = 0; channel < geometry_.channels; channel += kMatrixDepth) {
          *offset++ = phase * image_elements_ + pixel * pixel_ + channel;
        }
      }
    }
  }

  void multiply_pair(int64_t pair) {
    const int64_t panels = panel_count(conv_.filters);
    const int panels_here = panels - pair * 2 >= 2 ? 2 : 1;
    const int64_t parts = geometry_.parts, step_elements = panels_here * parts * kMatrixElements;
    const uint16_t* const b = weights_ +
                              group_ * matrix_weight_elements(geometry_.taps, conv_.channels, conv_.filters, parts) +
                              pair * geometry_.steps * 2 * parts * kMatrixElements;
    // The last line ends where its output does.
    const int64_t rows = (lines_.end - lines_.begin - 1) * geometry_.image_width + geometry_.width;
    const int64_t at_once = steps_at_once(parts);
    const int64_t width = panels_here * 16, sum_floats = geometry_.steps > at_once ? 32 * width : 0;
    const auto& multiply = kMultiplyTiles[parts - 1];
    for (int64_t step = 0; step < geometry_.steps; step += at_once) {
      const int64_t left = geometry_.steps - step, count = left < at_once ? left : at_once;
      float* sums = sums_;
      for (int64_t row = 0; row < rows; row += 32, sums += sum_floats) {
        multiply[rows - row > 16 ? 1 : 0][panels_here - 1](images_ + row * pixel_, offsets_ + step, pixel_ * 2,
                                                           geometry_.channels, b + step * step_elements, count, sums,
                                                           step == 0);
        if (step + count == geometry_.steps) finish(sums, row, rows - row < 32 ? rows - row : 32, pair * 32, width);
      }
    }
  }

  // Stores those of the rows [row, row + rows) of the image that are output pixels.
  void finish(float* sums, int64_t row, int64_t rows, int64_t first_column, int64_t width) {
    const int64_t columns = conv_.filters - first_column < width ? conv_.filters - first_column : width;
    const int64_t column = group_ * conv_.filters + first_column;
    for (int64_t done = 0; done < rows;) {
      const int64_t line = (row + done) / geometry_.image_width, x = (row + done) % geometry_.image_width;
      int64_t run = geometry_.image_width - x < rows - done ? geometry_.image_width - x : rows - done;
      const int64_t pixel = (lines_.begin + line) * geometry_.width + x;
      const int64_t inside =
          geometry_.width - x < geometry_.pixels - pixel ? geometry_.width - x : geometry_.pixels - pixel;
      const int64_t stored = run < inside ? run : inside;
      if (stored > 0) {
        finish_rows(conv_, sums + done * width, width, image_ * geometry_.pixels + pixel, stored, column, columns);
      }
      done += run;
    }
  }

  const ConvArgs& conv_;
  const uint16_t* weights_;
  const MatrixGeometry& geometry_;
  const int64_t pixel_;  // elements of a split pixel
  int64_t* offsets_;
  float* sums_;
  uint16_t* images_;
  int64_t image_ = 0, group_ = 0, image_elements_ = 0;
  Range lines_{};
};

}  // namespace

void run_matrix_product(const MatrixArgs& args, Share share, void* scratch) {
  const ConvArgs& conv = args.conv;
  const MatrixGeometry geometry = matrix_geometry(conv, args.parts);
  const Work work = share_of_work(geometry, conv.groups, (panel_count(conv.filters) + 1) / 2, share, conv.cut.along);
  const int64_t lines = work.lines.end - work.lines.begin;
  if (lines <= 0 || work.pairs.begin >= work.pairs.end) return;
  const int64_t usual = geometry.band_lines / conv.cut.block_divisor, band_lines = usual > 1 ? usual : 1;
  const int64_t most = lines < band_lines ? lines : band_lines;
  const int64_t bands = (lines + most - 1) / most;
  Band band(args, geometry, most, scratch);
  configure_tiles();
  for (int64_t item = work.items.begin; item < work.items.end; ++item) {
    for (int64_t i = 0; i < bands; ++i) {
      const Range part = part_of(lines, bands, i);
      band.run(item / conv.groups, item % conv.groups, {work.lines.begin + part.begin, work.lines.begin + part.end},
               work.pairs);
    }
  }
  release_tiles();
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
