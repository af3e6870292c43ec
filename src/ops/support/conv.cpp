// The direct convolution.
#include "ops/conv.h"

namespace hussar {

Status infer_conv(InferContext& context, size_t x, size_t w, size_t bias, DType dtype) {
  const Dims* input = context.dims(x);
  const Dims* weights = context.dims(w);
  int64_t group = context.attributes.get_int("group", 1);
  if (group < 1 || group >= (int64_t{1} << 31)) return context.fail("group is {}", group);
  for (const Dims* dims : {input, weights}) {
    if (dims != nullptr && dims->size() < 3)
      return context.fail("an operand has rank {}, at least 3 is needed", dims->size());
  }
  if (input != nullptr && weights != nullptr && input->size() != weights->size()) {
    return context.fail("input rank {} and weight rank {} differ", input->size(), weights->size());
  }
  if (input == nullptr && weights == nullptr) return context.set_unknown(0, dtype), Status();
  size_t rank = input != nullptr ? input->size() : weights->size();
  Dims output;
  output.push_back(input != nullptr ? (*input)[0] : context.fresh());
  output.push_back(weights != nullptr ? (*weights)[0] : context.fresh());
  const Dim& outputs = output[1];
  if (outputs.is_constant() && outputs.value() % group != 0) {
    return context.fail("{} output channels cannot be split into {} groups", outputs.value(), group);
  }
  if (input != nullptr && weights != nullptr) {
    const Dim& channels = (*input)[1];
    Dim wanted = (*weights)[1] * Dim(group);
    if (channels.is_constant() && wanted.is_constant() && !(channels == wanted)) {
      return context.fail("the input has {} channels, the weights are for {}", channels.value(), wanted.value());
    }
  }
  if (context.dims(bias) != nullptr) {
    const Dims& dims = *context.dims(bias);
    bool fits = dims.size() == 1 && (!dims[0].is_constant() || !outputs.is_constant() || dims[0] == outputs);
    if (!fits) return context.fail("a bias of shape {} for {} output channels", to_string(dims), outputs.to_string());
  }
  Ints kernel;
  for (size_t axis = 2; weights != nullptr && axis < rank; ++axis) {
    if ((*weights)[axis].is_constant()) kernel.push_back((*weights)[axis].value());
  }
  Ints declared = context.attributes.get_ints("kernel_shape");
  if (kernel.size() != rank - 2) kernel = declared;
  if (!declared.empty() && declared != kernel) return context.fail("kernel_shape differs from the weights");
  if (kernel.size() != rank - 2 || input == nullptr) {
    while (output.size() < rank) output.push_back(context.fresh());
  } else {
    Window window = HUSSAR_TRY(read_window(context.node, kernel));
    for (size_t axis = 2; axis < rank; ++axis) {
      output.push_back(HUSSAR_TRY(window_output(context.node, window, static_cast<int>(axis) - 2, (*input)[axis])));
    }
  }
  context.set(0, dtype, std::move(output));
  return {};
}

double conv_flops(const Node& node, size_t w) {
  auto output = node.output() != nullptr ? node.output()->static_shape() : std::nullopt;
  auto weights = node.input(w) != nullptr ? node.input(w)->static_shape() : std::nullopt;
  if (!output || !weights || weights->rank() < 1 || (*weights)[0] == 0) return 0;
  return 2.0 * static_cast<double>(output->elements()) * static_cast<double>(weights->elements() / (*weights)[0]);
}

Result<ConvShape> conv_shape(const Node& node, const Shape& x, const Shape& w, const Shape& y) {
  ConvShape shape;
  Shape kernel = spatial_shape(w);
  shape.window = HUSSAR_TRY(read_window(node, kernel.dims()));
  resolve_padding(shape.window, x);
  shape.batch = x[0];
  shape.groups = node.attributes.get_int("group", 1);
  shape.inputs = w[1];
  shape.outputs = w[0] / shape.groups;
  shape.input = spatial_shape(x);
  shape.output = spatial_shape(y);
  return shape;
}

namespace {

// The outputs along one axis whose input at a tap lies inside: [begin, end), reading input o * stride + offset.
struct TapRange {
  int64_t begin, end, offset;
};

TapRange tap_range(const ConvShape& shape, int axis, int64_t tap) {
  const Window& window = shape.window;
  int64_t stride = window.strides[axis], size = shape.input[axis];
  int64_t offset = tap * window.dilations[axis] - window.pads_begin[axis];
  int64_t begin = offset >= 0 ? 0 : (-offset + stride - 1) / stride;
  int64_t last = size - 1 - offset;
  int64_t end = last < 0 ? 0 : std::min(shape.output[axis], last / stride + 1);
  return {begin, end, offset};
}

// Adds weight * (the input plane seen through the tap) to the output plane.
template <class T>
void add_tap(const ConvShape& shape, const TapRange* ranges, int axis, T weight, const T* x, T* y) {
  auto [begin, end, offset] = ranges[axis];
  int64_t stride = shape.window.strides[axis];
  if (axis + 1 == shape.window.rank()) {
    for (int64_t o = begin; o < end; ++o) y[o] += weight * x[o * stride + offset];
    return;
  }
  int64_t x_step = shape.input.elements(axis + 1, shape.input.rank());
  int64_t y_step = shape.output.elements(axis + 1, shape.output.rank());
  for (int64_t o = begin; o < end; ++o) {
    add_tap(shape, ranges, axis + 1, weight, x + (o * stride + offset) * x_step, y + o * y_step);
  }
}

}  // namespace

template <class T>
void convolve(const ConvShape& shape, const T* x, const T* w, Workspace& workspace,
              const std::function<void(int64_t n, int64_t m, const T* plane)>& finish) {
  int64_t x_plane = shape.input.elements(), y_plane = shape.output.elements();
  // Without input channels there are no weights, however large the kernel claims to be.
  int64_t taps = shape.inputs == 0 ? 0 : 1;
  for (int axis = 0; taps != 0 && axis < shape.window.rank(); ++axis) taps *= shape.window.kernel[axis];
  TapRange ranges[kMaxRank];
  Scratch<T> sums(workspace, y_plane);
  for (int64_t n = 0; n < shape.batch; ++n) {
    for (int64_t m = 0; m < shape.groups * shape.outputs; ++m) {
      std::fill_n(sums.data(), y_plane, T(0));
      int64_t first = n * shape.groups * shape.inputs + m / shape.outputs * shape.inputs;
      for (int64_t tap = 0; tap < taps; ++tap) {
        int64_t rest = tap;
        for (int axis = shape.window.rank(); axis-- > 0;) {
          ranges[axis] = tap_range(shape, axis, rest % shape.window.kernel[axis]);
          rest /= shape.window.kernel[axis];
        }
        for (int64_t c = 0; c < shape.inputs; ++c) {
          T weight = w[(m * shape.inputs + c) * taps + tap];
          add_tap(shape, ranges, 0, weight, x + (first + c) * x_plane, sums.data());
        }
      }
      finish(n, m, sums.data());
    }
  }
}

template void convolve<double>(const ConvShape&, const double*, const double*, Workspace&,
                               const std::function<void(int64_t, int64_t, const double*)>&);
template void convolve<int64_t>(const ConvShape&, const int64_t*, const int64_t*, Workspace&,
                                const std::function<void(int64_t, int64_t, const int64_t*)>&);

}  // namespace hussar
