// By rows: every share owns a range of output rows and goes through it in bands; of the expanded rows it keeps those
// that the next band reads again. By channels, for small images with many weights: every share owns channels of the
// depthwise convolution, expands and convolves them for the whole image, and then the shares cut up the projection.
#include "backends/cpu/inverted_residual.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <new>
#include <string>
#include <vector>

#include "backends/cpu/bfloat_packing.h"
#include "backends/cpu/bfloat_steps.h"
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/kernel_support.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"
#include "tensor/convert.h"

namespace hussar::cpu {
namespace {

enum Input : size_t { kX, kDepthwise, kDepthwiseBias, kExpand, kExpandBias, kProject, kProjectBias, kOwnInputs };

using State = InvertedResidualState;
using Activation = InnerActivation;

// Floats of the expanded and convolved rows of one band: with the weights and the packed rows of the products they stay
// in an L2 cache of a megabyte.
constexpr int64_t kBandFloats = 112 * 1024;

int64_t filters_of(const Problem& problem) {
  const Value* filter = problem.input(problem.input(kProject) != nullptr ? kProject : kDepthwise);
  return filter->constant->shape()[0];
}

}  // namespace

Refusal check_inverted_residual(const Problem& problem) {
  if (problem.node.op != "hussar.InvertedResidual") return "op";
  const Value* x = problem.input(kX);
  const Value* y = problem.output();
  if (x->dtype != DType::kFloat32 || x->rank() != 4 || y->rank() != 4) return "dtype or rank";
  if (x->layout != Layout::kChannelsLast || y->layout != Layout::kChannelsLast) return "layout is not channels-last";
  if (!problem.is_constant(kDepthwise)) return "needs constant weights";
  for (size_t i = kDepthwise; i < kOwnInputs; ++i) {
    const Value* value = problem.input(i);
    if (value == nullptr) continue;
    if (!value->is_constant() || value->dtype != DType::kFloat32) return "needs constant weights";
    const bool is_filter = i == kDepthwise || i == kExpand || i == kProject;
    if (is_filter && (value->rank() != 4 || value->constant->elements() == 0)) return "shape of the weights";
  }
  if (problem.input(kExpand) == nullptr && problem.input(kProject) == nullptr) return "nothing around it";
  return check_epilogue(problem);
}

// What the convolutions would cost one by one, but for the way of the inner tensors through memory: about a tenth of
// it.
double inverted_residual_cost(const Problem& problem, DType type) {
  const auto products = [&](double pixels, int64_t k, int64_t filters) {
    if (type == DType::kBFloat16) return bfloat_cost(problem, pixels, k, filters, 1);
    return tile_conv_cost(problem.target, 2 * pixels * static_cast<double>(k * filters), 1, filters, k);
  };
  const double out_pixels = Problem::elements(problem.output()) / static_cast<double>(filters_of(problem));
  const Shape& depthwise = problem.input(kDepthwise)->constant->shape();
  const int64_t channels = depthwise[0], taps = depthwise.elements(1, 4);
  const Ints strides = problem.node.attributes.get_ints("depthwise_strides", {1, 1});
  double total = depthwise_cost(problem.target, 2 * out_pixels * static_cast<double>(channels * taps));
  if (const Value* expand = problem.input(kExpand)) {
    const int64_t k = expand->constant->shape().elements(1, 4);
    const double pixels = out_pixels * static_cast<double>(strides.size() == 2 ? strides[0] * strides[1] : 1);
    total += products(pixels, k, channels);
  }
  if (problem.input(kProject) != nullptr) {
    total += products(out_pixels, channels, filters_of(problem));
  }
  return 1 + 0.9 * total;
}

// By rows or by channels, and bands of half the size. By channels only where the inner tensor of a share is not many
// times as large as a cache.
std::vector<Configuration> inverted_residual_configurations(const Problem& problem, double usual) {
  const double pixels = Problem::elements(problem.output()) / static_cast<double>(filters_of(problem));
  const double inner = pixels * static_cast<double>(problem.input(kDepthwise)->constant->shape()[0]);
  if (inner / problem.target.threads > 4.0 * kBandFloats || problem.input(kExpand) == nullptr)
    return named_configurations({"half_blocks", "two_shares"}, problem.target.threads, usual);
  return named_configurations({"by_rows", "by_panels", "half_blocks", "two_shares"}, problem.target.threads, usual);
}

// ---- weights
// ---------------------------------------------------------------------------------------------------------

namespace {

Tensor packed_filter(const Tensor& filter, bool depthwise, DType type) {
  const int64_t filters = filter.shape()[0], channels = filter.shape()[1], taps = filter.shape().elements(2, 4);
  if (type == DType::kBFloat16) {
    const int64_t k = taps * channels;
    Tensor pairs(type, {bfloat_weight_elements(k, filters)});
    pack_bfloat_weights(filter_by_taps<float>(filter).data(), k, filters, 1, k, pairs.data<uint16_t>());
    return pairs;
  }
  Tensor packed(DType::kFloat32, {panel_floats(taps * channels, filters)});
  if (depthwise) {
    pack_panels(filter.data<float>(), taps, filters, 1, taps, packed.data<float>());
  } else {
    pack_conv_filter(filter.data<float>(), 1, filters, channels, taps, packed.data<float>());
  }
  return packed;
}

constexpr size_t kFilters[] = {kDepthwise, kExpand, kProject};

}  // namespace

Status pack_inverted_residual(Packing& packing, DType type) {
  for (size_t i : kFilters) {
    const Value* filter = packing.node.input(i);
    if (filter != nullptr)
      packing.replace(i, packed_filter(*filter->constant, i == kDepthwise, i == kDepthwise ? DType::kFloat32 : type));
  }
  return {};
}

namespace {

// The shape that a filter had before it was packed, as `replace` remembers it. Empty: there is none, or it makes no
// sense.
Shape original_shape(const Attributes& attributes, size_t input) {
  const Ints dims = attributes.get_ints("hussar_packed_" + std::to_string(input));
  constexpr int64_t kMost = int64_t{1} << 30;
  const bool fits =
      dims.size() == 4 && std::all_of(dims.begin(), dims.end(), [](int64_t dim) { return dim >= 1 && dim <= kMost; });
  Shape shape;
  for (size_t i = 0; fits && i < 4; ++i) shape.push_back(dims[i]);
  return shape;
}

// Whether the packed tensor is one of a filter of this shape. `shape`: no extent is less than 1 or more than 2^30.
bool holds_filter(const Tensor& packed, const Shape& shape, DType type) {
  int64_t room = packed.elements() / kPanelColumns;
  for (int axis = 1; axis < 4; ++axis) room /= shape[axis];
  if (packed.dtype() != type || room < panel_count(shape[0])) return false;
  const int64_t k = shape.elements(1, 4);
  return packed.elements() ==
         (type == DType::kBFloat16 ? bfloat_weight_elements(k, shape[0]) : panel_floats(k, shape[0]));
}

}  // namespace

Status unpack_inverted_residual(Packing& packing, DType type) {
  for (size_t i : kFilters) {
    const Value* value = packing.node.input(i);
    const std::string remembered = "hussar_packed_" + std::to_string(i);
    if (value == nullptr || !packing.node.attributes.has(remembered)) continue;
    const Shape shape = original_shape(packing.node.attributes, i);
    const DType of_filter = i == kDepthwise ? DType::kFloat32 : type;
    const bool fits = shape.rank() == 4 && value->is_constant() && holds_filter(*value->constant, shape, of_filter);
    HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: packed weights of the wrong size", describe(packing.node));
    const int64_t channels = shape[1], taps = shape[2] * shape[3], k = channels * taps;
    const Tensor packed = *value->constant;
    Tensor filter(DType::kFloat32, shape);
    for (int64_t m = 0; m < shape[0]; ++m) {
      const int64_t panel = m / kPanelColumns, column = m % kPanelColumns;
      for (int64_t row = 0; row < k; ++row) {
        const int64_t pair = panel * bfloat_panel_elements(k) + row / 2 * 2 * kPanelColumns + 2 * column + row % 2;
        filter.data<float>()[m * k + row % channels * taps + row / channels] =
            of_filter == DType::kBFloat16 ? bfloat16_to_float(packed.data<uint16_t>()[pair])
                                          : packed.data<float>()[(panel * k + row) * kPanelColumns + column];
      }
    }
    packing.replace(i, std::move(filter));
  }
  return {};
}

namespace {

// ---- preparation
// -----------------------------------------------------------------------------------------------------

// One of the convolutions as a Conv step of its own, to be checked like one.
struct Stage {
  PlanStep step;
  std::vector<Operand> inputs, outputs;

  Stage(const Prepare& prepare, size_t filter, const std::string& prefix, const Operand& x, const Operand& y) {
    const Attributes& given = prepare.step.attributes;
    step.name = prepare.step.name;
    inputs = {x, prepare.inputs[filter], filter + 1 < prepare.inputs.size() ? prepare.inputs[filter + 1] : Operand{}};
    outputs = {y};
    const Shape shape = original_shape(given, filter);
    if (shape.rank() != 4) return;
    const bool depthwise = filter == kDepthwise;
    step.attributes.set("kernel_shape", Ints{shape[2], shape[3]});
    step.attributes.set("hussar_channels", shape[1]);
    if (depthwise) step.attributes.set("group", shape[0]);
    for (const char* name : {"strides", "pads", "dilations"}) {
      if (const Ints* list = given.find<Ints>(prefix + name)) step.attributes.set(name, *list);
    }
  }
  Status fill(const Prepare& prepare, bool depthwise, DType type, ConvArgs& args) const {
    Prepare own{step, inputs, outputs, prepare.threads, nullptr};
    if (depthwise || type == DType::kFloat32) return fill_conv_args(own, depthwise, args);
    HUSSAR_TRY(fill_conv_geometry(own, args, type));
    return check_bfloat_weights(own, args);
  }
};

bool has_input(const Prepare& prepare, size_t index) {
  const size_t own = prepare.step.program ? static_cast<size_t>(prepare.step.program_inputs) : prepare.inputs.size();
  return index < own && index < prepare.inputs.size() && prepare.inputs[index].present();
}

// An inner tensor: `channels` at the resolution that the convolution makes of `in`.
Operand inner_operand(const Prepare& prepare, const Operand& in, size_t filter, const std::string& prefix) {
  const Attributes& attributes = prepare.step.attributes;
  const Shape shape = original_shape(attributes, filter);
  const Ints strides = attributes.get_ints(prefix + "strides", {1, 1});
  const Ints dilations = attributes.get_ints(prefix + "dilations", {1, 1});
  const Ints pads = attributes.get_ints(prefix + "pads", {0, 0, 0, 0});
  Operand operand = in;
  const bool fits = shape.rank() == 4 && strides.size() == 2 && dilations.size() == 2 && pads.size() == 4;
  if (!fits) return operand;  // refused by fill_conv_args
  operand.shape[1] = shape[0];
  operand.pitch = inner_pitch(shape[0]);
  for (int axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<size_t>(axis);
    constexpr int64_t kMost = int64_t{1} << 30;
    const bool sane = strides[at] >= 1 && dilations[at] >= 1 && dilations[at] <= kMost && std::abs(pads[at]) <= kMost &&
                      std::abs(pads[at + 2]) <= kMost;
    if (!sane) return operand;
    const int64_t reach = in.shape[2 + axis] + pads[at] + pads[at + 2] - dilations[at] * (shape[2 + axis] - 1) - 1;
    operand.shape[2 + axis] = reach < 0 ? 0 : reach / strides[at] + 1;
  }
  return operand;
}

Status fill_activation(const Prepare& prepare, const std::string& name, Activation& activation) {
  const Floats step = prepare.step.attributes.get_floats(name);
  if (step.empty()) return {};
  bool known = step.size() == 3 && step[0] >= 0 && step[0] < static_cast<float>(kProgramOpCount);
  if (known) {
    const auto op = static_cast<ProgramOp>(static_cast<int>(step[0]));
    activation.program.step_count = 1;
    activation.program.steps[0] = {op, 0, 0, ProgramSource::kConstant, 0, {}, step[1], step[2]};
    activation.runs_program = op != ProgramOp::kRelu && op != ProgramOp::kClip && op != ProgramOp::kHardSwish;
    activation.hard_swish = op == ProgramOp::kHardSwish;
    if (op == ProgramOp::kRelu) activation.low = 0;
    if (op == ProgramOp::kClip) activation.low = step[1], activation.high = step[2];
  }
  HUSSAR_CHECK(known && is_valid(activation.program), ErrorCode::kPlanIncompatible, "step '{}': unknown {}",
               prepare.step.name, name);
  return {};
}

DepthwiseArgs depthwise_of(const ConvArgs& conv) {
  DepthwiseArgs args;
  args.batch = conv.batch;
  args.channels = conv.groups;
  for (int axis = 0; axis < 2; ++axis) {
    args.in[axis] = conv.in[axis + 1];
    args.out[axis] = conv.out[axis + 1];
    args.kernel[axis] = conv.kernel[axis + 1];
    args.stride[axis] = conv.stride[axis + 1];
    args.dilation[axis] = conv.dilation[axis + 1];
    args.pad[axis] = conv.pad[axis + 1];
  }
  args.input_pitch = conv.input_pitch;
  args.output_pitch = conv.output_pitch;
  return args;
}

// The expanded image is written with its padding around it, so that no window leaves it.
void add_padding(State& state) {
  DepthwiseArgs& args = state.depthwise;
  int64_t* const before[] = {&state.top, &state.left};
  for (int axis = 0; axis < 2; ++axis) {
    const int64_t reach = (args.out[axis] - 1) * args.stride[axis] + (args.kernel[axis] - 1) * args.dilation[axis] + 1;
    const int64_t after = reach - args.pad[axis] - args.in[axis];
    *before[axis] = std::max<int64_t>(args.pad[axis], 0);
    args.pad[axis] -= *before[axis];
    args.in[axis] += *before[axis] + std::max<int64_t>(after, 0);
  }
}

bool is_product(const ConvArgs& args) {
  for (int axis = 0; axis < 3; ++axis) {
    if (args.kernel[axis] != 1 || args.stride[axis] != 1 || args.pad[axis] != 0) return false;
    if (args.in[axis] != args.out[axis]) return false;
  }
  return true;
}

// The rows of x that a convolution with `out` rows reads: begin is not negative, end not beyond the image.
Range rows_read(const DepthwiseArgs& args, Range out) {
  const int64_t begin = out.begin * args.stride[0] - args.pad[0];
  const int64_t end = (out.end - 1) * args.stride[0] - args.pad[0] + (args.kernel[0] - 1) * args.dilation[0] + 1;
  const Range rows = {std::clamp<int64_t>(begin, 0, args.in[0]), std::clamp<int64_t>(end, 0, args.in[0])};
  return out.begin < out.end ? rows : Range{rows.begin, rows.begin};
}

// Whether to cut by channels: when the rows that shares expand twice, or the weights that all of them read, are a
// larger part of the work than what passes from share to share between the convolutions.
bool prefers_channels(const State& state, CutAlong along) {
  const DepthwiseArgs& depthwise = state.depthwise;
  if (!state.expands || state.shares <= 1) return false;
  if (along != CutAlong::kAny) return along == CutAlong::kPanels;
  const int64_t expanded = depthwise.in[0] * depthwise.in[1] * depthwise.channels / state.shares;
  if (expanded > kBandFloats) return false;
  const double pixels = static_cast<double>(depthwise.in[0] * depthwise.in[1]);
  const double rows = static_cast<double>(depthwise.out[0]) / state.shares;
  const double repeated =
      static_cast<double>((depthwise.kernel[0] - 1) * depthwise.dilation[0] + 1 - depthwise.stride[0]);
  const double taps = static_cast<double>(state.expand.kernel[1] * state.expand.kernel[2] * state.expand.channels);
  // In multiply-adds per channel and share; moving a float costs as much as kMove of them.
  constexpr double kMove = 12;
  const double by_rows =
      std::max(0.0, repeated) / 2 / (rows * static_cast<double>(depthwise.stride[0])) * pixels * taps + kMove * taps;
  const double by_channels = kMove * static_cast<double>(depthwise.out[0] * depthwise.out[1]);
  return by_rows > by_channels / 2;
}

void plan_memory(State& state) {
  const DepthwiseArgs& depthwise = state.depthwise;
  const int64_t pitch = state.pitch();
  int64_t k = state.expands ? state.expand.kernel[1] * state.expand.kernel[2] * state.expand.channels : 1;
  if (state.projects) k = std::max(k, depthwise.channels);
  const int64_t bytes = state.multiplies_in == DType::kBFloat16 ? half_scratch_bytes(k) : tile_scratch_bytes(k);
  state.tile_floats = (bytes + 63) / 64 * 16;
  if (state.by_channels) {
    const int64_t most =
        inner_pitch((panel_count(depthwise.channels) + state.shares - 1) / state.shares * kPanelColumns);
    state.expanded_floats = depthwise.in[0] * depthwise.in[1] * most;
    state.convolved_floats = 0;
    return;
  }
  const int64_t row_floats = state.expands ? depthwise.in[1] * pitch : 0;
  const int64_t convolved_row = state.projects ? depthwise.out[1] * pitch : 0;
  auto rows_of = [&](int64_t band) {
    const int64_t reach = (depthwise.kernel[0] - 1) * depthwise.dilation[0] + 1;
    return std::min(depthwise.in[0], (band - 1) * depthwise.stride[0] + reach);
  };
  state.band = 1;
  while (state.band < depthwise.out[0] &&
         rows_of(state.band + 1) * row_floats + (state.band + 1) * convolved_row <= state.band_floats) {
    ++state.band;
  }
  state.expanded_floats = rows_of(state.band) * row_floats;
  state.convolved_floats = state.band * convolved_row;
}

}  // namespace

Status prepare_inverted_residual(Prepare& prepare, DType type) {
  HUSSAR_TRY(check_bfloat_machine(prepare, type));
  auto& state = *new (prepare.state) State{};
  state.multiplies_in = type;
  const Operand& x = prepare.inputs[kX];
  const Operand& y = prepare.outputs[0];
  HUSSAR_CHECK(x.shape.rank() == 4 && y.shape.rank() == 4, ErrorCode::kPlanIncompatible,
               "step '{}': operands of the wrong rank", prepare.step.name);
  state.expands = has_input(prepare, kExpand);
  state.projects = has_input(prepare, kProject);
  Operand middle = x, convolved = y;
  if (state.expands) {
    middle = inner_operand(prepare, x, kExpand, "expand_");
    HUSSAR_TRY(Stage(prepare, kExpand, "expand_", x, middle).fill(prepare, false, type, state.expand));
    state.expand_is_product = is_product(state.expand);
    HUSSAR_TRY(fill_activation(prepare, "expand_activation", state.expand_activation));
  }
  if (state.projects) convolved = inner_operand(prepare, middle, kDepthwise, "depthwise_");
  ConvArgs conv;
  HUSSAR_TRY(Stage(prepare, kDepthwise, "depthwise_", middle, convolved).fill(prepare, true, type, conv));
  state.depthwise = depthwise_of(conv);
  if (state.expands) add_padding(state);
  state.filters = y.shape[1];
  state.output_pitch = y.pitch;
  int32_t bias = has_input(prepare, kDepthwiseBias) ? int32_t{kDepthwiseBias} : -1;
  if (state.projects) {
    HUSSAR_TRY(Stage(prepare, kProject, "project_", convolved, y).fill(prepare, false, type, conv));
    HUSSAR_CHECK(is_product(conv), ErrorCode::kPlanIncompatible, "step '{}': the projection is not 1x1",
                 prepare.step.name);
    HUSSAR_TRY(fill_activation(prepare, "depthwise_activation", state.depthwise_activation));
    bias = has_input(prepare, kProjectBias) ? int32_t{kProjectBias} : -1;
  }
  HUSSAR_TRY(prepare_epilogue(prepare, bias, state.epilogue, true));
  const DepthwiseArgs& depthwise = state.depthwise;
  const double out_pixels = static_cast<double>(depthwise.batch * depthwise.out[0] * depthwise.out[1]);
  const double channels = static_cast<double>(depthwise.channels);
  double work = 8 * out_pixels * channels * static_cast<double>(depthwise.kernel[0] * depthwise.kernel[1]);
  if (state.expands) {
    work += 2 * static_cast<double>(depthwise.batch * depthwise.in[0] * depthwise.in[1]) * channels *
            static_cast<double>(state.expand.kernel[1] * state.expand.kernel[2] * state.expand.channels);
  }
  const double project_work = state.projects ? 2 * out_pixels * channels * static_cast<double>(state.filters) : 0;
  WorkCut cut;
  HUSSAR_TRY(read_cut(prepare, cut));
  state.band_floats = kBandFloats / cut.block_divisor;
  state.shares = cut_shares(share_count(work + project_work, prepare.threads), cut);
  state.by_channels = prefers_channels(state, cut.along);
  state.project_shares = cut_shares(share_count(project_work, prepare.threads), cut);
  plan_memory(state);
  int64_t floats = state.share_floats() * std::max(state.shares, state.project_shares);
  if (state.by_channels && state.projects) {
    floats += depthwise.batch * depthwise.out[0] * depthwise.out[1] * state.pitch();
  }
  prepare.scratch_bytes = static_cast<size_t>(floats) * sizeof(float);
  return {};
}

namespace {

// ---- execution
// -------------------------------------------------------------------------------------------------------

// What all shares of one run see.
struct Job {
  const State& state;
  const TileTable& tile;
  const DepthwiseTable& depthwise_table;
  const float* x;
  const std::byte* expand;  // floats or BF16
  const float* expand_bias;
  const float* depthwise;
  const float* depthwise_bias;
  const std::byte* project;
  float* y;
  Epilogue epilogue;  // of the last convolution
};

Epilogue inner_epilogue(const Activation& activation, const float* bias, int64_t first) {
  Epilogue epilogue;
  if (bias != nullptr) epilogue.bias = bias + first;
  epilogue.low = activation.low;
  epilogue.high = activation.high;
  epilogue.hard_swish = activation.hard_swish;
  if (activation.runs_program) epilogue.program = &activation.program;
  return epilogue;
}

// The epilogue of the output from pixel `row` and channel `column` on. `operands`: room for kProgramOperands.
Epilogue shifted(const Epilogue& whole, int64_t row, int64_t column, ProgramOperand* operands) {
  Epilogue epilogue = whole;
  if (epilogue.bias != nullptr) epilogue.bias += column;
  if (epilogue.residual != nullptr) epilogue.residual += row * epilogue.residual_pitch + column;
  if (epilogue.program == nullptr) return epilogue;
  for (int i = 0; i < epilogue.program->operand_count; ++i) {
    operands[i] = whole.operands[i];
    operands[i].data += row * operands[i].row_stride + column * operands[i].column_stride;
  }
  epilogue.operands = operands;
  return epilogue;
}

void zero(float* out, int64_t count) { std::memset(out, 0, static_cast<size_t>(count) * sizeof(float)); }

// A convolution by the weights from panel `panel` of filters on.
void multiply(const Job& job, ConvArgs args, const std::byte* weights, int64_t panel, Share share, float* scratch) {
  const int64_t k = args.kernel[1] * args.kernel[2] * args.channels;
  if (job.state.multiplies_in == DType::kBFloat16) {
    const auto* pairs = reinterpret_cast<const uint16_t*>(weights) + panel * bfloat_panel_elements(k);
    return avx512bf16::run_bfloat_product({args, pairs}, share, scratch);
  }
  args.filter = reinterpret_cast<const float*>(weights) + panel * kPanelColumns * k;
  job.tile.conv(args, share, scratch);
}

// Expands the lines of one image, for the channels from panel `panel` on, into out[lines][padded width][pitch].
void expand_lines(const Job& job, int64_t image, Range lines, int64_t panel, int64_t channels, float* out,
                  int64_t pitch, float* scratch) {
  ConvArgs args = job.state.expand;
  args.input = job.x + image * args.in[1] * args.in[2] * args.input_pitch;
  if (job.state.expand_is_product) {
    // Of these lines alone: then no windows are gathered.
    args.input += lines.begin * args.in[2] * args.input_pitch;
    args.in[1] = lines.end - lines.begin;
  } else {
    args.pad[1] -= lines.begin * args.stride[1];
  }
  args.batch = 1;
  args.filters = channels;
  args.out[1] = lines.end - lines.begin;
  args.output = out;
  args.output_pitch = pitch;
  args.output_line_gap = (job.state.depthwise.in[1] - args.out[2]) * pitch;
  args.epilogue = inner_epilogue(job.state.expand_activation, job.expand_bias, panel * kPanelColumns);
  multiply(job, args, job.expand, panel, {0, 1}, scratch);
}

// The same for lines of the padded image, with zeros in the padding.
void expand_padded(const Job& job, int64_t image, Range lines, int64_t panel, int64_t channels, float* out,
                   int64_t pitch, float* scratch) {
  const State& state = job.state;
  const int64_t width = state.depthwise.in[1], line = width * pitch;
  const int64_t used = state.expand.out[2], right = width - state.left - used;
  const Range real = {std::clamp(lines.begin, state.top, state.top + state.expand.out[1]),
                      std::clamp(lines.end, state.top, state.top + state.expand.out[1])};
  for (int64_t y = lines.begin; y < lines.end; ++y) {
    float* const target = out + (y - lines.begin) * line;
    if (y < real.begin || y >= real.end) {
      zero(target, line);
    } else {
      zero(target, state.left * pitch);
      zero(target + (state.left + used) * pitch, right * pitch);
    }
  }
  if (real.begin >= real.end) return;
  expand_lines(job, image, {real.begin - state.top, real.end - state.top}, panel, channels,
               out + (real.begin - lines.begin) * line + state.left * pitch, pitch, scratch);
}

// The projection of `pixels` convolved pixels.
void project_pixels(const Job& job, int64_t pixels, const float* convolved, float* out, const Epilogue& epilogue,
                    Share share, float* scratch) {
  ConvArgs args;
  args.channels = job.state.depthwise.channels;
  args.filters = job.state.filters;
  args.in[2] = args.out[2] = pixels;
  args.input = convolved;
  args.input_pitch = job.state.pitch();
  args.output = out;
  args.output_pitch = job.state.output_pitch;
  args.epilogue = epilogue;
  multiply(job, args, job.project, 0, share, scratch);
}

// One band of output rows; `middle` holds the rows `have` of the expanded image, or is x itself.
void convolve_band(const Job& job, int64_t image, Range out, const float* middle, Range have, float* convolved,
                   float* scratch) {
  const State& state = job.state;
  DepthwiseArgs args = state.depthwise;
  const int64_t pixel = (image * args.out[0] + out.begin) * args.out[1], pixels = (out.end - out.begin) * args.out[1];
  ProgramOperand operands[kProgramOperands];
  const Epilogue last = shifted(job.epilogue, pixel, 0, operands);
  args.batch = 1;
  args.in[0] = have.end - have.begin;
  args.out[0] = out.end - out.begin;
  args.pad[0] -= out.begin * args.stride[0] - have.begin;
  args.input = middle;
  args.weights = job.depthwise;
  args.output = state.projects ? convolved : job.y + pixel * state.output_pitch;
  args.output_pitch = state.projects ? state.pitch() : state.output_pitch;
  args.epilogue = state.projects ? inner_epilogue(state.depthwise_activation, job.depthwise_bias, 0) : last;
  job.depthwise_table.conv(args, {0, 1});
  if (!state.projects) return;
  project_pixels(job, pixels, convolved, job.y + pixel * state.output_pitch, last, {0, 1}, scratch);
}

void run_rows(const Job& job, Share share, float* memory) {
  const State& state = job.state;
  const DepthwiseArgs& depthwise = state.depthwise;
  float* const expanded = memory + state.tile_floats;
  float* const convolved = expanded + state.expanded_floats;
  const Range mine = range_of(depthwise.batch * depthwise.out[0], share);
  const int64_t row_floats = depthwise.in[1] * depthwise.input_pitch;
  Range have = {0, 0};
  int64_t image = -1;
  for (int64_t row = mine.begin; row < mine.end;) {
    if (row / depthwise.out[0] != image) {
      image = row / depthwise.out[0];
      have = {0, 0};
    }
    Range out = {row % depthwise.out[0], 0};
    out.end = std::min({out.begin + state.band, depthwise.out[0], out.begin + mine.end - row});
    row += out.end - out.begin;
    if (!state.expands) {
      convolve_band(job, image, out, job.x + image * depthwise.in[0] * row_floats, {0, depthwise.in[0]}, convolved,
                    memory);
      continue;
    }
    const Range need = rows_read(depthwise, out);
    const int64_t kept = std::max<int64_t>(have.end - need.begin, 0);
    if (kept > 0 && need.begin > have.begin) {
      std::memmove(expanded, expanded + (need.begin - have.begin) * row_floats,
                   static_cast<size_t>(kept * row_floats) * sizeof(float));
    }
    expand_padded(job, image, {need.begin + kept, need.end}, 0, depthwise.channels, expanded + kept * row_floats,
                  depthwise.input_pitch, memory);
    have = {need.begin, std::max(need.end, need.begin + kept)};
    convolve_band(job, image, out, expanded, have, convolved, memory);
  }
}

// Expansion and depthwise convolution of one share's channels. `convolved`: the whole tensor, if there is a projection.
void run_channels(const Job& job, Share share, float* memory, float* convolved) {
  const State& state = job.state;
  DepthwiseArgs args = state.depthwise;
  const Range panels = range_of(panel_count(args.channels), share);
  const int64_t first = panels.begin * kPanelColumns;
  const int64_t channels = std::min(panels.end * kPanelColumns, args.channels) - first;
  if (channels <= 0) return;
  float* const expanded = memory + state.tile_floats;
  const int64_t pitch = inner_pitch(channels), out_pixels = args.out[0] * args.out[1];
  const int64_t batch = args.batch;
  args.batch = 1;
  args.channels = channels;
  args.input = expanded;
  args.input_pitch = pitch;
  args.weights = job.depthwise + first * args.kernel[0] * args.kernel[1];
  args.output_pitch = state.projects ? state.pitch() : state.output_pitch;
  for (int64_t image = 0; image < batch; ++image) {
    expand_padded(job, image, {0, args.in[0]}, panels.begin, channels, expanded, pitch, memory);
    ProgramOperand operands[kProgramOperands];
    args.output = (state.projects ? convolved : job.y) + image * out_pixels * args.output_pitch + first;
    args.epilogue = state.projects ? inner_epilogue(state.depthwise_activation, job.depthwise_bias, first)
                                   : shifted(job.epilogue, image * out_pixels, first, operands);
    job.depthwise_table.conv(args, {0, 1});
  }
}

}  // namespace

Status run_inverted_residual(const Run& run) {
  const auto& state = run.state_as<State>();
  ProgramOperand operands[kProgramOperands];
  const Isa isa = usable_isa(run.isa);
  auto bytes = [&](size_t i) -> const std::byte* {
    const size_t own = run.step.program ? static_cast<size_t>(run.step.program_inputs) : run.inputs.size();
    return i < own && i < run.inputs.size() && run.inputs[i].present() ? run.inputs[i].data : nullptr;
  };
  auto data = [&](size_t i) { return reinterpret_cast<const float*>(bytes(i)); };
  const Job job = {state,
                   select_tile_table(isa),
                   select_depthwise_table(isa),
                   data(kX),
                   bytes(kExpand),
                   data(kExpandBias),
                   data(kDepthwise),
                   data(kDepthwiseBias),
                   bytes(kProject),
                   run.outputs[0].f32_out(),
                   make_epilogue(run, state.epilogue, operands)};
  auto* const memory = reinterpret_cast<float*>(run.scratch);
  if (!state.by_channels) {
    run.pool.run(state.shares, [&](int share) {
      run_rows(job, {share, state.shares}, memory + share * state.share_floats());
    });
    return {};
  }
  float* const convolved = memory + std::max(state.shares, state.project_shares) * state.share_floats();
  run.pool.run(state.shares, [&](int share) {
    run_channels(job, {share, state.shares}, memory + share * state.share_floats(), convolved);
  });
  if (!state.projects) return {};
  const int64_t pixels = state.depthwise.batch * state.depthwise.out[0] * state.depthwise.out[1];
  run.pool.run(state.project_shares, [&](int share) {
    project_pixels(job, pixels, convolved, job.y, job.epilogue, {share, state.project_shares},
                   memory + share * state.share_floats());
  });
  return {};
}

}  // namespace hussar::cpu
