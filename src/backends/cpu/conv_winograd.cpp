// The Winograd convolutions: what they take, what they cost, their transformed filters, their launch parameters.
#include "backends/cpu/conv_winograd.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "backends/cpu/conv_shape.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"

namespace hussar::cpu {
namespace {

// Element i of an attribute is `wanted` for every i, or the attribute is absent.
bool all_are(const Attributes& attributes, const char* name, int64_t wanted) {
  Ints values = attributes.get_ints(name);
  return std::all_of(values.begin(), values.end(), [wanted](int64_t value) { return value == wanted; });
}

// The points of F(4 x 4, 3 x 3) but for infinity, and what the filter's value at each is divided by.
constexpr double kPoints[] = {0, 0.75, -0.75, 1.5, -1.5};
double point_divisor(int point) {
  double product = 1;
  for (int other = 0; other < 5; ++other) product *= other == point ? 1 : kPoints[point] - kPoints[other];
  return product;
}

// The filter's side of the transform, 3 taps to output + 2 positions, for the points of winograd_transform.h.
void transform_taps(int64_t output, const double* taps, int64_t stride, double* positions, int64_t out_stride) {
  const double g0 = taps[0], g1 = taps[stride], g2 = taps[2 * stride];
  auto at = [](double a, double b, double c, double point) { return a + point * (b + point * c); };
  if (output == 2) {
    positions[0] = g0;
    positions[out_stride] = at(g0, g1, g2, 1) / 2;
    positions[2 * out_stride] = at(g0, g1, g2, -1) / 2;
    positions[3 * out_stride] = g2;
    return;
  }
  for (int i = 0; i < 5; ++i) positions[i * out_stride] = at(g0, g1, g2, kPoints[i]) / point_divisor(i);
  positions[5 * out_stride] = g2;
}

// The inverse: the taps are at the point 0, at infinity, and in the difference of a point and its negative.
void restore_taps(int64_t output, const double* positions, int64_t stride, double* taps, int64_t out_stride) {
  const double at_zero = positions[0], plus = positions[stride], minus = positions[2 * stride];
  taps[0] = output == 2 ? at_zero : at_zero * point_divisor(0);
  taps[out_stride] =
      output == 2 ? plus - minus : (plus * point_divisor(1) - minus * point_divisor(2)) / (kPoints[1] - kPoints[2]);
  taps[2 * out_stride] = positions[(output + 1) * stride];
}

// What rounding the positions to floats leaves of a tap that was 0, in parts of the largest tap: six times the most
// that 20,000 random filters showed.
constexpr double kRestoredZero = 1.0 / (1 << 21);

// Zeros stay zeros: 2:4 weights are 2:4 for the kernels of another machine, too.
void clear_restored_zeros(double (&taps)[9]) {
  double largest = 0;
  for (double tap : taps) largest = std::max(largest, std::fabs(tap));
  for (double& tap : taps) tap = std::fabs(tap) <= kRestoredZero * largest ? 0 : tap;
}

}  // namespace

void transform_winograd_filter(const float* filter, int64_t output, int64_t filters, int64_t channels, float* out) {
  const int64_t input = output + 2, positions = winograd_positions(output);
  std::fill_n(out, winograd_filter_floats(output, channels, filters), 0.0f);
  for (int64_t f = 0; f < filters; ++f) {
    for (int64_t c = 0; c < channels; ++c) {
      double taps[9], columns[6 * 3], transformed[36];
      std::copy_n(filter + (f * channels + c) * 9, 9, taps);
      for (int64_t x = 0; x < 3; ++x) transform_taps(output, taps + x, 3, columns + x, 3);
      for (int64_t y = 0; y < input; ++y) transform_taps(output, columns + y * 3, 1, transformed + y * input, 1);
      float* panel = out + f / kPanelColumns * positions * channels * kPanelColumns + f % kPanelColumns;
      for (int64_t p = 0; p < positions; ++p) {
        panel[(p * channels + c) * kPanelColumns] = static_cast<float>(transformed[p]);
      }
    }
  }
}

void restore_winograd_filter(const float* packed, int64_t output, int64_t filters, int64_t channels, float* filter) {
  const int64_t input = output + 2, positions = winograd_positions(output);
  for (int64_t f = 0; f < filters; ++f) {
    const float* panel = packed + f / kPanelColumns * positions * channels * kPanelColumns + f % kPanelColumns;
    for (int64_t c = 0; c < channels; ++c) {
      double transformed[36], columns[6 * 3], taps[9];
      for (int64_t p = 0; p < positions; ++p) transformed[p] = panel[(p * channels + c) * kPanelColumns];
      for (int64_t y = 0; y < input; ++y) restore_taps(output, transformed + y * input, 1, columns + y * 3, 1);
      for (int64_t x = 0; x < 3; ++x) restore_taps(output, columns + x, 3, taps + x, 3);
      clear_restored_zeros(taps);
      for (int64_t i = 0; i < 9; ++i) filter[(f * channels + c) * 9 + i] = static_cast<float>(taps[i]);
    }
  }
}

Refusal check_winograd(const Problem& problem) {
  if (problem.node.op != "Conv") return "op";
  if (auto refusal = check_conv(problem)) return refusal;
  const Shape& filter = problem.input(1)->constant->shape();
  const Attributes& attributes = problem.node.attributes;
  if (filter.rank() != 4 || filter[2] != 3 || filter[3] != 3) return "kernel is not 3 x 3";
  if (attributes.get_int("group", 1) != 1) return "groups";
  if (!all_are(attributes, "strides", 1)) return "stride";
  if (!all_are(attributes, "dilations", 1)) return "dilation";
  return check_epilogue(problem);
}

// Tiles of the problem's output; symbolic dimensions count as 64.
static int64_t tiles_of(const Problem& problem, int64_t output) {
  const Dims& y = *problem.output()->dims;
  auto size = [&](size_t axis) { return y[axis].is_constant() ? y[axis].value() : 64; };
  return size(0) * winograd_tiles(output, size(2)) * winograd_tiles(output, size(3));
}

static double product_flops(int64_t tiles, int64_t output, int64_t channels, int64_t filters) {
  return 2.0 * static_cast<double>(tiles * winograd_positions(output)) * static_cast<double>(channels * filters);
}

double winograd_cost(const Problem& problem, int64_t output) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t tiles = tiles_of(problem, output);
  const int64_t channels = filter[1], panels = panel_count(filter[0]);
  const double products = static_cast<double>(tiles * winograd_positions(output) * panels * kPanelColumns);
  // A register tile starts and ends in the time of about eight channels.
  const double flops = 2 * products * static_cast<double>(channels + 8);
  // Of 16 channels of a tile, to the transformed side or back; the last channels are gathered first.
  const double transform = output == 2 ? 0.024 : 0.065;
  const int64_t gathered = channels % kTileChunk == 0 ? 0 : 1;
  const double transforms = static_cast<double>(tiles * (panel_count(channels) + gathered + panels)) * transform;
  return conv_cost(problem.target, flops, transforms, winograd_filter_floats(output, channels, filter[0]));
}

std::vector<Configuration> winograd_configurations(const Problem& problem, int64_t output) {
  const Shape& filter = problem.input(1)->constant->shape();
  const int64_t tiles = tiles_of(problem, output);
  // Blocks and register tiles are not cut otherwise than usual.
  const ProductSize size = {.rows = tiles,
                            .panels = panel_count(filter[0]),
                            .k = winograd_positions(output) * filter[1],
                            .block_floats = std::numeric_limits<int64_t>::max()};
  const double flops = product_flops(tiles, output, filter[1], filter[0]);
  return cut_configurations(size, share_count(flops, problem.target.threads), winograd_cost(problem, output));
}

Status pack_winograd(Packing& packing, int64_t output) {
  const Tensor& filter = *packing.node.inputs[1]->constant;
  const int64_t filters = filter.shape()[0], channels = filter.shape()[1];
  remember_kernel_shape(packing.node, filter.shape());
  Tensor packed(DType::kFloat32, {winograd_filter_floats(output, channels, filters)});
  transform_winograd_filter(filter.data<float>(), output, filters, channels, packed.data<float>());
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack_winograd(Packing& packing, int64_t output) {
  const Shape shape = HUSSAR_TRY(recall_filter_shape(packing));
  const Value* weights = packing.node.input(1);
  bool fits = shape.rank() == 4 && shape[0] >= 1 && shape[2] == 3 && shape[3] == 3 && weights != nullptr &&
              weights->is_constant() && weights->dtype == DType::kFloat32 &&
              shape.elements() <= weights->constant->elements() &&
              weights->constant->elements() == winograd_filter_floats(output, shape[1], shape[0]);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: packed weights that do not hold {}", describe(packing.node),
               shape.to_string());
  Tensor filter(DType::kFloat32, shape);
  restore_winograd_filter(weights->constant->data<float>(), output, shape[0], shape[1], filter.data<float>());
  packing.replace(1, std::move(filter));
  return {};
}

Status prepare_winograd(Prepare& prepare, int64_t output) {
  auto& state = prepare.state_as<WinogradState>();
  state = WinogradState{};
  state.args.output = output;
  ConvArgs& conv = state.args.conv;
  HUSSAR_TRY(fill_conv_geometry(prepare, conv));
  bool fits = conv.groups == 1 && prepare.inputs[0].shape.rank() == 4;
  for (int axis : {1, 2}) fits = fits && conv.kernel[axis] == 3 && conv.stride[axis] == 1 && conv.dilation[axis] == 1;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': not a 3 x 3 convolution of stride 1", prepare.step.name);
  HUSSAR_TRY(check_packed_weights(
      prepare, {winograd_positions(output), conv.channels, panel_count(conv.filters) * kPanelColumns}));
  HUSSAR_TRY(prepare_epilogue(prepare, bias_input(prepare), state.epilogue));
  const int64_t tiles = conv.batch * winograd_tiles(output, conv.out[1]) * winograd_tiles(output, conv.out[2]);
  HUSSAR_TRY(read_cut(prepare, conv.cut));
  const double flops = product_flops(tiles, output, conv.channels, conv.filters);
  state.shares = cut_shares(share_count(flops, prepare.threads), conv.cut);
  state.scratch_per_share = winograd_scratch_floats(output, conv.channels, conv.filters, tiles);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares) * sizeof(float);
  return {};
}

Status run_winograd(const Run& run) {
  const auto& state = run.state_as<WinogradState>();
  WinogradArgs args = state.args;
  ProgramOperand operands[kProgramOperands];
  args.conv.input = run.inputs[0].f32();
  args.conv.filter = run.inputs[1].f32();
  args.conv.output = run.outputs[0].f32_out();
  args.conv.epilogue = make_epilogue(run, state.epilogue, operands);
  const WinogradTable& table = select_winograd_table(usable_isa(run.isa));
  auto* scratch = reinterpret_cast<float*>(run.scratch);
  run.pool.run(state.shares, [&](int share) {
    table.conv(args, {share, state.shares}, scratch + share * state.scratch_per_share);
  });
  return {};
}

}  // namespace hussar::cpu
