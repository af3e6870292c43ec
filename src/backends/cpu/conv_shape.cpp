// Reading convolution geometry from attributes and shapes.
#include "backends/cpu/conv_shape.h"

#include <algorithm>

#include "backends/cpu/epilogue.h"
#include "base/error.h"

namespace hussar::cpu {

// Sizes, strides and dilations beyond this are no convolution's, and their products could overflow.
static constexpr int64_t kMostPerAxis = int64_t{1} << 30;
// More positions within the stride than that, over all axes, are no transposed convolution's.
static constexpr int64_t kMostPhases = int64_t{1} << 24;

Refusal check_conv(const Problem& problem, DType type) {
  const Value* x = problem.input(0);
  const Value* w = problem.input(1);
  const Value* y = problem.output();
  if (x->dtype != type) return "dtype";
  if (!problem.is_constant(1)) return "needs constant weights";
  if (x->rank() < 3 || x->rank() > 5 || w->rank() != x->rank()) return "rank";
  if (x->layout != Layout::kChannelsLast || y->layout != Layout::kChannelsLast) return "layout is not channels-last";
  int64_t group = problem.node.attributes.get_int("group", 1);
  if (group < 1 || w->constant->shape()[0] % group != 0 || w->constant->elements() == 0) return "group";
  return std::nullopt;
}

Refusal check_conv_transpose(const Problem& problem) {
  if (problem.node.op != "ConvTranspose") return "op";
  if (Refusal refusal = check_conv(problem)) return refusal;
  const Attributes& attributes = problem.node.attributes;
  const bool automatic = attributes.get_string("auto_pad", "NOTSET") != "NOTSET" || attributes.has("output_shape");
  return automatic ? Refusal("automatic pads") : std::nullopt;
}

double conv_flops(const Problem& problem) {
  const Shape& filter = problem.input(1)->constant->shape();
  return 2.0 * Problem::elements(problem.output()) * static_cast<double>(filter.elements(1, filter.rank()));
}

// Measured in whole models: what one thread multiplies and adds in a microsecond, and how many bytes of weights take
// one more microsecond than the work hides. Threads share the memory; the narrower tiles of AVX2 wait more often.
struct ConvRates {
  double flops;
  double filter_bytes;
};
static ConvRates conv_rates(const Target& target) {
  switch (static_cast<Isa>(target.isa)) {
    case Isa::kAmx:
    case Isa::kAvx512Fp16:
    case Isa::kAvx512: return {1.1e5, 3e4};
    case Isa::kAvx2: return {1.1e5, 7e3};
    default: return {2.8e4, 2e4};
  }
}

double conv_cost(const Target& target, double flops, double serial, int64_t filter_floats) {
  const ConvRates rates = conv_rates(target);
  return (flops / rates.flops + serial) / share_count(flops, target.threads) +
         static_cast<double>(filter_floats) * sizeof(float) / rates.filter_bytes;
}

double tile_conv_cost(const Target& target, double flops, int64_t group, int64_t filters, int64_t k) {
  const double panels = static_cast<double>(panel_count(filters));
  // A group smaller than a panel wastes the rest of it.
  const double waste = panels * kPanelColumns / static_cast<double>(filters);
  // The windows are gathered in the time of a third of a panel; a register tile starts and ends in that of 12 k.
  const double extra = (1 + 0.35 / panels) * (1 + 12 / static_cast<double>(k));
  return conv_cost(target, flops * waste * extra, 0, group * panel_floats(k, filters));
}

double depthwise_cost(const Target& target, double flops) {
  return flops / (conv_rates(target).flops * 0.5) / share_count(4 * flops, target.threads);
}

void remember_kernel_shape(Node& node, const Shape& filter) {
  node.attributes.set("kernel_shape", Ints(filter.begin() + 2, filter.end()));
  node.attributes.set("hussar_channels", filter[1]);
}

Result<Shape> recall_filter_shape(Packing& packing) {
  Node& node = packing.node;
  const Value* y = node.output();
  const Ints kernel = node.attributes.get_ints("kernel_shape");
  const int64_t group = node.attributes.get_int("group", 1);
  const int64_t channels = node.attributes.get_int("hussar_channels", 0);
  bool fits = y != nullptr && y->rank() >= 3 && y->rank() <= 5 && (*y->dims)[1].is_constant() && group >= 1 &&
              channels >= 1 && static_cast<int>(kernel.size()) == y->rank() - 2;
  const int64_t filters = fits ? (*y->dims)[1].value() : 0;
  fits = fits && filters % group == 0 && channels <= kMostPerAxis && group <= kMostPerAxis;
  int64_t phases = 1;
  for (const char* name : {"dilations", "strides"}) {
    const Ints list = node.attributes.get_ints(name, Ints(kernel.size(), 1));
    fits = fits && list.size() == kernel.size();
    for (int64_t number : list) {
      fits = fits && number >= 1 && number <= kMostPerAxis;
      if (fits && name[0] == 's') phases = std::min(phases * number, kMostPhases + 1);
    }
  }
  // A transposed convolution is packed phase by phase of the stride.
  fits = fits && (node.op != "ConvTranspose" || phases <= kMostPhases);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "{}: malformed convolution attributes", describe(node));
  Shape shape = {filters, channels};
  if (node.op == "ConvTranspose") shape = {channels * group, filters / group};
  for (int64_t size : kernel) shape.push_back(size);
  node.attributes.erase("hussar_channels");
  return shape;
}

Status unpack_filter(Packing& packing, Status (*pack)(Packing&), Decode decode, int probe_bits) {
  return unpack_permuted(packing, HUSSAR_TRY(recall_filter_shape(packing)), pack, decode, probe_bits);
}

// visit(place in ONNX's order, place by taps) for every element of a filter.
template <class Visit>
static void for_filter_places(const Shape& shape, Visit visit) {
  const int64_t channels = shape[1], taps = shape.elements(2, shape.rank());
  for (int64_t f = 0; f < shape[0]; ++f) {
    for (int64_t c = 0; c < channels; ++c) {
      for (int64_t t = 0; t < taps; ++t) visit((f * channels + c) * taps + t, (f * taps + t) * channels + c);
    }
  }
}

template <class Number>
std::vector<Number> filter_by_taps(const Tensor& filter) {
  std::vector<Number> sorted(static_cast<size_t>(filter.elements()));
  const Number* const from = filter.data<Number>();
  for_filter_places(filter.shape(),
                    [&](int64_t onnx, int64_t by_taps) { sorted[static_cast<size_t>(by_taps)] = from[onnx]; });
  return sorted;
}
template std::vector<float> filter_by_taps(const Tensor& filter);
template std::vector<int8_t> filter_by_taps(const Tensor& filter);

template <class Number>
Tensor filter_from_taps(const std::vector<Number>& sorted, DType dtype, const Shape& shape) {
  Tensor filter(dtype, shape);
  auto* const to = filter.data<Number>();
  for_filter_places(shape, [&](int64_t onnx, int64_t by_taps) { to[onnx] = sorted[static_cast<size_t>(by_taps)]; });
  return filter;
}
template Tensor filter_from_taps(const std::vector<float>& sorted, DType dtype, const Shape& shape);
template Tensor filter_from_taps(const std::vector<int8_t>& sorted, DType dtype, const Shape& shape);

int32_t bias_input(const Prepare& prepare) {
  bool own = prepare.inputs.size() > 2 && (!prepare.step.program || prepare.step.program_inputs > 2);
  return own && prepare.inputs[2].present() ? 2 : -1;
}

Status fill_conv_geometry(const Prepare& prepare, ConvArgs& args, DType weights) {
  const Attributes& attributes = prepare.step.attributes;
  const Operand& x = prepare.inputs[0];
  const Operand& y = prepare.outputs[0];
  int spatial = x.shape.rank() - 2;
  Ints kernel = attributes.get_ints("kernel_shape");
  Ints strides = attributes.get_ints("strides", Ints(static_cast<size_t>(spatial), 1));
  Ints dilations = attributes.get_ints("dilations", Ints(static_cast<size_t>(spatial), 1));
  Ints pads = attributes.get_ints("pads", Ints(static_cast<size_t>(spatial) * 2, 0));
  std::string auto_pad = attributes.get_string("auto_pad", "NOTSET");
  auto want = static_cast<size_t>(spatial);
  bool typed = fit_product(x, y, weights) && prepare.inputs[1].dtype == weights && x.layout == Layout::kChannelsLast &&
               y.layout == Layout::kChannelsLast;
  int32_t bias = bias_input(prepare);
  if (bias >= 0) {
    const Operand& operand = prepare.inputs[static_cast<size_t>(bias)];
    typed = typed && operand.dtype == DType::kFloat32 && operand.shape.elements() == y.shape[1];
  }
  HUSSAR_CHECK(typed, ErrorCode::kPlanIncompatible, "step '{}': convolution operands of the wrong type or layout",
               prepare.step.name);
  HUSSAR_CHECK(spatial >= 1 && spatial <= 3 && y.shape.rank() == x.shape.rank() && kernel.size() == want &&
                   strides.size() == want && dilations.size() == want && pads.size() == 2 * want,
               ErrorCode::kPlanIncompatible, "step '{}': malformed convolution attributes", prepare.step.name);
  args.batch = x.shape[0];
  args.groups = attributes.get_int("group", 1);
  args.channels = attributes.get_int("hussar_channels", 0);
  HUSSAR_CHECK(args.groups >= 1 && args.channels >= 1 && x.shape[1] % args.groups == 0 &&
                   x.shape[1] / args.groups == args.channels && y.shape[1] % args.groups == 0 &&
                   y.shape[0] == x.shape[0],
               ErrorCode::kUsage, "step '{}': input has {} channels, the weights take {}", prepare.step.name,
               x.shape[1], static_cast<double>(args.channels) * static_cast<double>(args.groups));
  args.filters = y.shape[1] / args.groups;
  for (int axis = 0; axis < spatial; ++axis) {
    int at = 3 - spatial + axis;
    bool fits = true;
    for (int64_t factor : {kernel[axis], strides[axis], dilations[axis]}) fits &= factor >= 1 && factor <= kMostPerAxis;
    for (int64_t size : {x.shape[2 + axis], y.shape[2 + axis]}) fits &= size <= kMostPerAxis;
    fits &= pads[axis] >= -kMostPerAxis && pads[axis] <= kMostPerAxis;
    HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed convolution attributes", prepare.step.name);
    args.in[at] = x.shape[2 + axis];
    args.out[at] = y.shape[2 + axis];
    args.kernel[at] = kernel[axis];
    args.stride[at] = strides[axis];
    args.dilation[at] = dilations[axis];
    args.pad[at] = pads[axis];
    if (auto_pad == "SAME_UPPER" || auto_pad == "SAME_LOWER") {
      int64_t total =
          (args.out[at] - 1) * args.stride[at] + (args.kernel[at] - 1) * args.dilation[at] + 1 - args.in[at];
      total = std::max<int64_t>(total, 0);
      args.pad[at] = auto_pad == "SAME_UPPER" ? total / 2 : (total + 1) / 2;
    } else if (auto_pad == "VALID") {
      args.pad[at] = 0;
    }
  }
  args.input_pitch = x.pitch;
  args.output_pitch = y.pitch;
  return {};
}

Status check_packed_weights(const Prepare& prepare, std::initializer_list<int64_t> factors) {
  int64_t elements = prepare.inputs[1].shape.elements();
  bool fits = true;
  for (int64_t factor : factors) {
    fits = fits && factor >= 1 && elements % factor == 0;
    if (fits) elements /= factor;
  }
  HUSSAR_CHECK(fits && elements == 1, ErrorCode::kPlanIncompatible, "step '{}': packed weights of the wrong size",
               prepare.step.name);
  return {};
}

Status fill_conv_args(const Prepare& prepare, bool depthwise, ConvArgs& args) {
  HUSSAR_TRY(fill_conv_geometry(prepare, args));
  HUSSAR_CHECK(!depthwise || (args.filters == 1 && args.channels == 1), ErrorCode::kPlanIncompatible,
               "step '{}': not a depthwise convolution", prepare.step.name);
  const int64_t columns = panel_count(depthwise ? args.groups : args.filters) * kPanelColumns;
  return check_packed_weights(
      prepare, {args.kernel[0], args.kernel[1], args.kernel[2], args.channels, depthwise ? 1 : args.groups, columns});
}

ConvArgs bind_conv_args(const Run& run, const ConvArgs& args, const EpilogueState& epilogue, ProgramOperand* operands) {
  ConvArgs bound = args;
  bound.input = run.inputs[0].f32();
  bound.filter = run.inputs[1].f32();
  bound.output = run.outputs[0].f32_out();
  bound.epilogue = make_epilogue(run, epilogue, operands);
  return bound;
}

}  // namespace hussar::cpu
