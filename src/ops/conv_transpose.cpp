// ConvTranspose: the gradient of a convolution with respect to its input, as a layer.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "ops/window.h"

namespace hussar {
namespace {

// x: [N][C][D1]..[Dk], w: [C][M/group][K1]..[Kk]. Input i adds to output i * stride + tap * dilation - pads_begin.
struct Geometry {
  Window window;
  Ints output_padding, output_shape;  // output_shape: empty or one size per spatial axis
};

Result<Geometry> read_geometry(const Node& node, const Ints& kernel) {
  Geometry geometry;
  geometry.window = HUSSAR_TRY(read_window(node, kernel));
  geometry.output_padding = node.attributes.get_ints("output_padding");
  geometry.output_shape = node.attributes.get_ints("output_shape");
  if (geometry.output_padding.empty()) geometry.output_padding.assign(kernel.size(), 0);
  // Some files give the whole shape, batch and channels included.
  if (geometry.output_shape.size() == kernel.size() + 2) {
    geometry.output_shape.erase(geometry.output_shape.begin(), geometry.output_shape.begin() + 2);
  }
  bool fits = geometry.output_padding.size() == kernel.size() &&
              (geometry.output_shape.empty() || geometry.output_shape.size() == kernel.size());
  for (int64_t value : geometry.output_padding) fits = fits && value >= 0 && value < (int64_t{1} << 31);
  for (int64_t value : geometry.output_shape) fits = fits && value >= 0 && value < (int64_t{1} << 31);
  HUSSAR_CHECK(fits, ErrorCode::kInvalidModel, "{}: output_padding or output_shape do not fit {} spatial axes",
               describe(node), kernel.size());
  return geometry;
}

// The extent before any padding is cut off.
Dim full_extent(const Geometry& geometry, int axis, const Dim& input) {
  Dim steps = (input - Dim(1)) * Dim(geometry.window.strides[axis]);
  return steps + Dim(geometry.output_padding[static_cast<size_t>(axis)] + geometry.window.extent(axis));
}

bool is_same(const Window& window) {
  return window.auto_pad == Window::AutoPad::kSameUpper || window.auto_pad == Window::AutoPad::kSameLower;
}

Dim output_extent(const Geometry& geometry, int axis, const Dim& input) {
  const Window& window = geometry.window;
  if (!geometry.output_shape.empty()) return Dim(geometry.output_shape[static_cast<size_t>(axis)]);
  if (is_same(window)) return input * Dim(window.strides[axis]);
  return full_extent(geometry, axis, input) - Dim(window.pads_begin[axis] + window.pads_end[axis]);
}

// The padding that makes `output` of `input` when the node gives the output's extent or SAME.
void resolve(Geometry& geometry, const Shape& input, const Shape& output) {
  Window& window = geometry.window;
  if (geometry.output_shape.empty() && !is_same(window)) return;
  for (int axis = 0; axis < window.rank(); ++axis) {
    int64_t total = std::max<int64_t>(full_extent(geometry, axis, Dim(input[axis])).value() - output[axis], 0);
    bool more_at_end = window.auto_pad == Window::AutoPad::kSameUpper;
    window.pads_begin[axis] = more_at_end ? total / 2 : total - total / 2;
  }
}

// Adds every x times the weight of one tap to its output; axes are walked recursively.
void add_tap(const Geometry& geometry, const Shape& input, const Shape& output, const Shape& tap, int axis,
             double weight, const double* x, double* y) {
  bool last = axis + 1 == geometry.window.rank();
  int64_t x_step = input.elements(axis + 1, input.rank()), y_step = output.elements(axis + 1, output.rank());
  int64_t offset = tap[axis] * geometry.window.dilations[axis] - geometry.window.pads_begin[axis];
  for (int64_t i = 0; i < input[axis]; ++i) {
    int64_t o = i * geometry.window.strides[axis] + offset;
    if (o < 0 || o >= output[axis]) continue;
    if (last)
      y[o] += weight * x[i];
    else
      add_tap(geometry, input, output, tap, axis + 1, weight, x + i * x_step, y + o * y_step);
  }
}

}  // namespace

static Status infer(InferContext& context) {
  const Dims* x = context.dims(0);
  const Dims* w = context.dims(1);
  int64_t group = context.attributes.get_int("group", 1);
  if (group < 1 || group >= (int64_t{1} << 31)) return context.fail("group is {}", group);
  if (x == nullptr || w == nullptr) return context.set_unknown(0, context.dtype(0)), Status();
  if (x->size() < 3 || w->size() != x->size()) return context.fail("ranks are {} and {}", x->size(), w->size());
  const Dim& channels = (*x)[1];
  if (channels.is_constant() && (*w)[0].is_constant() && !(channels == (*w)[0])) {
    return context.fail("the input has {} channels, the weights are for {}", channels.value(), (*w)[0].value());
  }
  if ((*w)[0].is_constant() && (*w)[0].value() % group != 0)
    return context.fail("{} channels in {} groups", (*w)[0].value(), group);
  Dim outputs = (*w)[1] * Dim(group);
  if (const Dims* bias = context.dims(2)) {
    bool fits = bias->size() == 1 && (!(*bias)[0].is_constant() || !outputs.is_constant() || (*bias)[0] == outputs);
    if (!fits) return context.fail("a bias of shape {} for {} output channels", to_string(*bias), outputs.to_string());
  }
  Dims output = {(*x)[0], outputs};
  Ints kernel;
  for (size_t axis = 2; axis < w->size(); ++axis) {
    if ((*w)[axis].is_constant()) kernel.push_back((*w)[axis].value());
  }
  if (kernel.size() + 2 != w->size()) return context.set_rank(0, context.dtype(0), context.rank(0)), Status();
  Geometry geometry = HUSSAR_TRY(read_geometry(context.node, kernel));
  for (size_t axis = 0; axis < kernel.size(); ++axis) {
    output.push_back(output_extent(geometry, static_cast<int>(axis), (*x)[axis + 2]));
    if (output.back().is_constant() && output.back().value() < 0) return context.fail("the padding exceeds the output");
  }
  context.set(0, context.dtype(0), std::move(output));
  return {};
}

static Status evaluate(EvalContext& context) {
  const Shape& x_shape = context.shape(0);
  const Shape& w_shape = context.shape(1);
  Shape kernel = spatial_shape(w_shape), input = spatial_shape(x_shape);
  Shape output = spatial_shape(context.output().shape());
  Geometry geometry = HUSSAR_TRY(read_geometry(context.node, Ints(kernel.begin(), kernel.end())));
  resolve(geometry, input, output);
  auto x = context.read<double>(0), w = context.read<double>(1);
  auto y = context.write<double>();
  int64_t groups = context.attributes.get_int("group", 1), x_plane = input.elements(), y_plane = output.elements();
  int64_t inputs = x_shape[1] / groups, outputs = w_shape[1], taps = w.size() == 0 ? 0 : kernel.elements();
  std::vector<double> bias(static_cast<size_t>(groups * outputs), 0);
  if (context.has(2)) load_elements<double>(context.input(2), 0, context.input(2).elements(), bias.data());
  Shape tap = kernel;
  for (int64_t plane = 0; plane < x_shape[0] * groups * outputs; ++plane) {
    int64_t n = plane / (groups * outputs), m = plane % (groups * outputs), group = m / outputs;
    double* out = y.data() + plane * y_plane;
    std::fill_n(out, y_plane, bias[m]);
    for (int64_t t = 0; t < taps; ++t) {
      int64_t rest = t;
      for (int axis = kernel.rank() - 1; axis >= 0; --axis) {
        tap[axis] = rest % kernel[axis];
        rest /= kernel[axis];
      }
      for (int64_t c = group * inputs; c < (group + 1) * inputs; ++c) {
        double weight = w[(c * outputs + m % outputs) * taps + t];
        add_tap(geometry, input, output, tap, 0, weight, x.data() + (n * x_shape[1] + c) * x_plane, out);
      }
    }
  }
  return {};
}

static double flops(const Node& node) {
  auto x = node.input(0) != nullptr ? node.input(0)->static_shape() : std::nullopt;
  auto w = node.input(1) != nullptr ? node.input(1)->static_shape() : std::nullopt;
  if (!x || !w || w->rank() < 1 || (*w)[0] == 0) return 0;
  return 2.0 * static_cast<double>(x->elements()) * static_cast<double>(w->elements() / (*w)[0]);
}

extern const OpDef conv_transpose_op = {
    .name = "ConvTranspose", .min_inputs = 2, .max_inputs = 3, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
