// Transposed convolution by phases: the output positions with equal (o + pad) % stride form an ordinary convolution of
// stride 1 with a subset of the taps (panels.h), so no product is computed for the zeros between the input pixels and
// nothing is scattered. One matrix product covers a stretch of one output line in one phase.
#include "backends/cpu/kernels/tile/tile_core.h"
#include "backends/cpu/kernels/tile/tile_drivers.h"
#include "backends/cpu/kernels/tile/tile_gather.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

// Output pixels of one phase in a unit of work: a few row tiles.
constexpr int64_t kStretch = 112;

// A place of the output on one axis: its phase and where its window starts.
struct Place {
  int64_t phase;
  TransposePhase taps;
  int64_t start;
};

Place place_of(const ConvArgs& args, int axis, int64_t position) {
  const int64_t shifted = position + args.pad[axis];
  Place place;
  place.phase = shifted % args.stride[axis];
  place.taps = transpose_phase(place.phase, args.kernel[axis], args.stride[axis], args.dilation[axis]);
  place.start = shifted / args.stride[axis] + place.taps.start;
  return place;
}

// Floats of the panels of one group before those of the phase (z, y, x).
int64_t phase_offset(const ConvArgs& args, const Place (&places)[3]) {
  const int64_t row_floats = args.channels * panel_count(args.filters) * 16;
  int64_t taps = 0;
  for (int64_t z = 0; z <= places[0].phase; ++z) {
    const int64_t count_z = transpose_phase(z, args.kernel[0], args.stride[0], args.dilation[0]).count;
    const bool last_z = z == places[0].phase;
    for (int64_t y = 0; y < (last_z ? places[1].phase + 1 : args.stride[1]); ++y) {
      const int64_t count_y = transpose_phase(y, args.kernel[1], args.stride[1], args.dilation[1]).count;
      const bool last_y = last_z && y == places[1].phase;
      for (int64_t x = 0; x < (last_y ? places[2].phase : args.stride[2]); ++x) {
        taps += count_z * count_y * transpose_phase(x, args.kernel[2], args.stride[2], args.dilation[2]).count;
      }
    }
  }
  return taps * row_floats;
}

// A stretch of an output line: pixels first, first + stride, ... of one phase.
struct Stretch {
  int64_t image;
  int64_t z;
  int64_t y;
  int64_t first;
  int64_t pixels;
};

void run_stretch(const ConvArgs& args, const Stretch& stretch, int64_t group, Range panels, float* scratch) {
  const Place places[3] = {place_of(args, 0, stretch.z), place_of(args, 1, stretch.y),
                           place_of(args, 2, stretch.first)};
  ConvArgs window = args;
  int64_t k = args.channels;
  for (int axis = 0; axis < 3; ++axis) {
    k *= places[axis].taps.count;
    window.kernel[axis] = places[axis].taps.count;
    window.dilation[axis] = places[axis].taps.dilation;
    window.stride[axis] = 1;
    window.pad[axis] = -places[axis].start;
    window.out[axis] = axis == 2 ? stretch.pixels : 1;
  }
  const int64_t pixel =
      ((stretch.image * args.out[0] + stretch.z) * args.out[1] + stretch.y) * args.out[2] + stretch.first;
  const int64_t image_floats = args.in[0] * args.in[1] * args.in[2] * args.input_pitch;
  Product product;
  product.k = k;
  product.n = args.filters;
  product.b = args.filter +
              group * panel_floats(args.kernel[0] * args.kernel[1] * args.kernel[2] * args.channels, args.filters) +
              phase_offset(args, places);
  product.c = args.output + pixel * args.output_pitch + group * args.filters;
  product.c_pitch = args.output_pitch * args.stride[2];
  product.row = pixel;
  product.column = group * args.filters;
  product.row_step = args.stride[2];
  product.epilogue = &args.epilogue;
  const PackWindows pack = {&window, args.input + stretch.image * image_floats + group * args.channels, k, scratch};
  run_product(product, {0, stretch.pixels}, panels, args.cut, pack, scratch + all_lines_floats(k));
}

}  // namespace

void run_conv_transpose(const ConvArgs& args, Share share, void* scratch) {
  const int64_t stride = args.stride[2];
  const int64_t stretches = (args.out[2] + stride * kStretch - 1) / (stride * kStretch);
  const int64_t lines = args.batch * args.out[0] * args.out[1];
  const Work work = share_of_work(args.groups, lines * stretches, panel_count(args.filters), share, args.cut);
  for (int64_t group = work.items.begin; group < work.items.end; ++group) {
    for (int64_t unit = work.rows.begin; unit < work.rows.end; ++unit) {
      const int64_t line = unit / stretches;
      const Range pixels = part_of(args.out[2], stretches, unit % stretches);
      for (int64_t first = pixels.begin; first < pixels.end && first < pixels.begin + stride; ++first) {
        const Stretch stretch = {line / (args.out[0] * args.out[1]), line / args.out[1] % args.out[0],
                                 line % args.out[1], first, (pixels.end - first + stride - 1) / stride};
        run_stretch(args, stretch, group, work.panels, static_cast<float*>(scratch));
      }
    }
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
