// conv_transpose_patch: FP32 transposed convolution whose kernel is as large as its stride, so that every input pixel
// makes a patch of the output of its own (the last layers of segmentation networks). One product computes all taps of a
// stretch of pixels; a row of it is the patch of one pixel, whose lines are then copied to their places.
#include <algorithm>
#include <cstring>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/pointwise/program.h"
#include "backends/cpu/kernels/tile/tile.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

// Floats of the patches of a stretch: they stay in the L2 cache until they are copied.
constexpr int64_t kStretchFloats = 24 * 1024;
// Columns of the product: no filter that fits into memory has more.
constexpr int64_t kMostColumns = int64_t{1} << 32;

struct State {
  ConvArgs args;
  EpilogueState epilogue;
  int64_t columns;    // of the product: taps * filters
  int64_t stretch;    // input pixels of one line that are computed at a time
  int64_t stretches;  // of a line
  int shares;
  int64_t tile_bytes;
  int64_t scratch_per_share;
};

bool all_are(const Ints& numbers, int64_t wanted) {
  return std::all_of(numbers.begin(), numbers.end(), [&](int64_t number) { return number == wanted; });
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_conv_transpose(problem)) return refusal;
  const Attributes& attributes = problem.node.attributes;
  if (attributes.get_int("group", 1) != 1) return "groups";
  const Shape& filter = problem.input(1)->constant->shape();
  const Ints kernel = attributes.get_ints("kernel_shape", Ints(filter.begin() + 2, filter.end()));
  if (attributes.get_ints("strides") != kernel) return "kernel is not as large as the stride";
  if (!all_are(attributes.get_ints("pads"), 0) || !all_are(attributes.get_ints("output_padding"), 0)) return "pads";
  if (!all_are(attributes.get_ints("dilations"), 1)) return "dilation";
  return check_epilogue(problem);
}

double cost(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t columns = filter.elements(1, filter.rank());
  const double flops = 2.0 * Problem::elements(problem.input(0)) * static_cast<double>(columns);
  constexpr double kCopiedPerMicrosecond = 2000;
  return tile_conv_cost(problem.target, flops, 1, columns, filter[0]) +
         Problem::elements(problem.output()) / kCopiedPerMicrosecond / problem.target.threads;
}

// ONNX filters are [channels][filters][taps]; packed: panels of channels x (tap, filter).
Status pack(Packing& packing) {
  Node& node = packing.node;
  const Tensor& filter = *node.inputs[1]->constant;
  const int64_t channels = filter.shape()[0], filters = filter.shape()[1];
  const int64_t taps = filter.shape().elements(2, filter.shape().rank());
  node.attributes.set("kernel_shape", Ints(filter.shape().begin() + 2, filter.shape().end()));
  node.attributes.set("hussar_channels", channels);
  std::vector<float> by_taps(static_cast<size_t>(filter.elements()));
  const float* from = filter.data<float>();
  for (int64_t row = 0; row < channels * filters; ++row) {
    float* target = by_taps.data() + row / filters * filters * taps + row % filters;
    for (int64_t tap = 0; tap < taps; ++tap) target[tap * filters] = from[row * taps + tap];
  }
  Tensor packed(DType::kFloat32, {panel_floats(channels, taps * filters)});
  pack_panels(by_taps.data(), channels, taps * filters, taps * filters, 1, packed.data<float>());
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_filter(packing, pack); }

// A residual lies in the order of the output, which the product does not have.
void leave_residual_to_program(const Prepare& prepare, EpilogueState& epilogue) {
  if (epilogue.residual < 0) return;
  epilogue.residual = -1;
  epilogue.bias = bias_input(prepare);
  epilogue.low = -INFINITY;
  epilogue.high = INFINITY;
  epilogue.hard_swish = false;
  epilogue.runs_program = true;
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  ConvArgs& args = state.args;
  HUSSAR_TRY(fill_conv_geometry(prepare, args));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input(prepare), state.epilogue, true));
  leave_residual_to_program(prepare, state.epilogue);
  bool fits = args.groups == 1 && args.filters <= kMostColumns;
  state.columns = args.filters;
  for (int axis = 0; axis < 3; ++axis) {
    fits = fits && args.kernel[axis] == args.stride[axis] && args.pad[axis] == 0 && args.dilation[axis] == 1 &&
           args.in[axis] == args.out[axis] / args.stride[axis] && args.out[axis] % args.stride[axis] == 0 &&
           state.columns <= kMostColumns / args.kernel[axis];
    if (fits) state.columns *= args.kernel[axis];
  }
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed convolution attributes", prepare.step.name);
  HUSSAR_TRY(check_packed_weights(prepare, {args.channels, panel_count(state.columns) * kPanelColumns}));
  state.stretch = std::clamp<int64_t>(kStretchFloats / state.columns, 1, args.in[2]);
  state.stretches = (args.in[2] + state.stretch - 1) / state.stretch;
  const double flops = 2.0 * static_cast<double>(args.batch * args.in[0] * args.in[1] * args.in[2]) *
                       static_cast<double>(args.channels * state.columns);
  state.shares = share_count(flops, prepare.threads);
  state.tile_bytes = (tile_scratch_bytes(args.channels) + 63) / 64 * 64;
  const int64_t floats = (state.stretch + 1) * state.columns;
  state.scratch_per_share = (state.tile_bytes + floats * static_cast<int64_t>(sizeof(float)) + 63) / 64 * 64;
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares);
  return {};
}

// What all shares of a run have in common.
struct Work {
  const State& state;
  const ConvArgs& args;
  const TileTable& tiles;
  const ProgramTable& programs;
};

// `runs` runs of floats, from_pitch and to_pitch apart. One or two floats, for one filter, are not worth a call.
void copy_runs(const float* from, int64_t from_pitch, float* to, int64_t to_pitch, int64_t runs, int64_t floats) {
  for (int64_t i = 0; i < runs; ++i, from += from_pitch, to += to_pitch) {
    if (floats == 2) {
      std::memcpy(to, from, 2 * sizeof(float));
    } else if (floats == 1) {
      *to = *from;
    } else {
      std::memcpy(to, from, static_cast<size_t>(floats) * sizeof(float));
    }
  }
}

// The part of the patches `rows` that lies in line `tap_line` of each, to the output from `pixel` on.
void copy_line(const Work& work, const float* rows, int64_t pixels, int64_t tap_line, int64_t pixel) {
  const ConvArgs& args = work.args;
  const int64_t taps = args.stride[2], filters = args.filters;
  const float* from = rows + tap_line * taps * filters;
  float* to = args.output + pixel * args.output_pitch;
  if (args.output_pitch == filters) {
    copy_runs(from, work.state.columns, to, taps * filters, pixels, taps * filters);
  } else {
    for (int64_t tap = 0; tap < taps; ++tap) {
      copy_runs(from + tap * filters, work.state.columns, to + tap * args.output_pitch, taps * args.output_pitch,
                pixels, filters);
    }
  }
  if (args.epilogue.program == nullptr) return;
  work.programs.run(*args.epilogue.program, args.epilogue.operands,
                    {to, to, args.output_pitch, args.output_pitch, pixel, 0, pixels * taps, filters});
}

// Input pixels [first, first + pixels) of a line, numbered over the batch.
void run_stretch(const Work& work, int64_t line, int64_t first, int64_t pixels, std::byte* scratch) {
  const ConvArgs& args = work.args;
  const int64_t columns = work.state.columns;
  float* const bias = reinterpret_cast<float*>(scratch + work.state.tile_bytes);
  float* const patches = bias + columns;
  GemmArgs gemm;
  gemm.m = pixels, gemm.n = columns, gemm.k = args.channels;
  gemm.a = args.input + (line * args.in[2] + first) * args.input_pitch, gemm.a_row_stride = args.input_pitch;
  gemm.b = args.filter;
  gemm.c = patches, gemm.c_row_stride = columns;
  gemm.epilogue = args.epilogue;
  gemm.epilogue.program = nullptr;
  if (args.epilogue.bias != nullptr) {
    for (int64_t i = 0; i < columns; ++i) bias[i] = args.epilogue.bias[i % args.filters];
    gemm.epilogue.bias = bias;
  }
  work.tiles.gemm(gemm, {0, 1}, scratch);
  const int64_t y = line % args.in[1], z = line / args.in[1] % args.in[0], image = line / (args.in[0] * args.in[1]);
  for (int64_t tap_z = 0; tap_z < args.stride[0]; ++tap_z) {
    for (int64_t tap_y = 0; tap_y < args.stride[1]; ++tap_y) {
      const int64_t out_z = z * args.stride[0] + tap_z, out_y = y * args.stride[1] + tap_y;
      const int64_t out_line = (image * args.out[0] + out_z) * args.out[1] + out_y;
      copy_line(work, patches, pixels, tap_z * args.stride[1] + tap_y, out_line * args.out[2] + first * args.stride[2]);
    }
  }
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  ProgramOperand operands[kProgramOperands];
  const ConvArgs args = bind_conv_args(run, state.args, state.epilogue, operands);
  const Isa isa = usable_isa(run.isa);
  const Work work = {state, args, select_tile_table(isa), select_program_table(isa)};
  const int64_t units = args.batch * args.in[0] * args.in[1] * state.stretches;
  run.pool.run(state.shares, [&](int share) {
    for (int64_t unit = units * share / state.shares; unit < units * (share + 1) / state.shares; ++unit) {
      const int64_t first = unit % state.stretches * state.stretch;
      const int64_t pixels = std::min(state.stretch, args.in[2] - first);
      run_stretch(work, unit / state.stretches, first, pixels, run.scratch + share * state.scratch_per_share);
    }
  });
  return {};
}

}  // namespace

extern const Kernel conv_transpose_patch_kernel = {.name = "conv_transpose_patch",
                                                   .state_bytes = sizeof(State),
                                                   .checks_shapes = true,
                                                   .prepare = prepare,
                                                   .run = run};
extern const Tactic conv_transpose_patch_tactic = {
    .kernel = "conv_transpose_patch", .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
