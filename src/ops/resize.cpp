// Resize: interpolation to another extent of some axes. Inputs: x, roi, scales, sizes.
#include "ops/resize.h"

#include <cstring>
#include <numeric>

#include "ops/axis.h"
#include "ops/elementwise.h"

namespace hussar {

// Opset 10 had scales only, and took the nearest pixel towards 0 (scaling up) or away from it (scaling down). Scales
// that only running the model tells are taken to scale up.
static Status upgrade(UpgradeContext& context) {
  Node& node = context.node;
  if (context.opset >= 11 || node.inputs.size() != 2) return {};
  Value* scales = node.inputs[1];
  context.graph.set_input(&node, 1, nullptr);
  context.graph.append_input(&node, scales);
  bool shrinks = false;
  if (scales != nullptr && scales->is_constant() && is_floating(scales->constant->dtype())) {
    Workspace workspace;
    for (float scale : Elements<float>(*scales->constant, workspace)) shrinks = shrinks || scale < 1;
  }
  node.attributes.set("coordinate_transformation_mode", std::string("asymmetric"));
  node.attributes.set("nearest_mode", std::string(shrinks ? "ceil" : "floor"));
  return {};
}

// floor(dim * scale) as an expression when the scale is a simple fraction.
static Dim scaled(const Dim& dim, float scale, const InferContext& context) {
  for (int64_t divisor = 1; divisor <= 64; ++divisor) {
    double factor = static_cast<double>(scale) * static_cast<double>(divisor);
    if (factor < 1e6 && std::abs(factor - std::round(factor)) < 1e-6 * factor) {
      return floor_div(dim * Dim(static_cast<int64_t>(std::round(factor))), Dim(divisor));
    }
  }
  return context.fresh();
}

// Given `sizes` with keep_aspect_ratio_policy: one scale for all axes; rounds halves up.
static Status keep_aspect_ratio(const InferContext& context, const Dims& input, const Ints& axes, bool larger,
                                Dims& output) {
  double scale = larger ? 0 : std::numeric_limits<double>::infinity();
  for (int64_t axis : axes) {
    if (!output[axis].is_constant() || !input[axis].is_constant()) {
      for (int64_t other : axes) output[other] = context.fresh();
      return {};
    }
    if (input[axis].value() <= 0) return context.fail("an axis of extent 0 cannot be resized");
    double ratio = static_cast<double>(output[axis].value()) / static_cast<double>(input[axis].value());
    scale = larger ? std::max(scale, ratio) : std::min(scale, ratio);
  }
  for (int64_t axis : axes) {
    output[axis] = Dim(static_cast<int64_t>(std::min(scale * static_cast<double>(input[axis].value()) + 0.5, 1e12)));
  }
  return {};
}

static Result<Ints> resized_axes(const InferContext& context) {
  Ints axes = context.attributes.get_ints("axes");
  if (!axes.empty()) return context.normalize_axes(axes, context.rank(0));
  axes.resize(static_cast<size_t>(context.rank(0)));
  std::iota(axes.begin(), axes.end(), 0);
  return axes;
}

static Status infer_from_scales(InferContext& context, const Ints& axes, Dims& output) {
  const Tensor* scales = context.constant(2);
  if (scales == nullptr) {
    for (int64_t axis : axes) output[axis] = context.fresh();
    return {};
  }
  if (scales->elements() != static_cast<int64_t>(axes.size())) {
    return context.fail("{} scales for {} axes", scales->elements(), axes.size());
  }
  Workspace workspace;
  Elements<float> values(*scales, workspace);
  for (size_t i = 0; i < axes.size(); ++i) {
    if (!(values[i] > 0) || !std::isfinite(values[i])) return context.fail("a scale is {}", values[i]);
    Dim& dim = output[axes[i]];
    if (!dim.is_constant())
      dim = scaled(dim, values[i], context);
    else
      dim = Dim(static_cast<int64_t>(std::min(std::floor(static_cast<float>(dim.value()) * values[i]), 1e12F)));
  }
  return {};
}

static Status infer(InferContext& context) {
  HUSSAR_TRY(read_resize_mode(context.node));
  if (context.dims(0) == nullptr) return context.set_unknown(0, context.dtype(0)), Status();
  const Dims& input = *context.dims(0);
  Dims output = input;
  Ints axes = HUSSAR_TRY(resized_axes(context));
  if (context.has(3)) {
    auto sizes = context.elements(3);
    if (sizes && sizes->size() != axes.size()) return context.fail("{} sizes for {} axes", sizes->size(), axes.size());
    for (size_t i = 0; i < axes.size(); ++i) output[axes[i]] = sizes ? (*sizes)[i] : context.fresh();
    std::string policy = context.attributes.get_string("keep_aspect_ratio_policy", "stretch");
    if (policy == "not_larger" || policy == "not_smaller") {
      HUSSAR_TRY(keep_aspect_ratio(context, input, axes, policy == "not_smaller", output));
    } else if (policy != "stretch") {
      return context.fail("unknown keep_aspect_ratio_policy '{}'", policy);
    }
  } else if (context.has(2)) {
    HUSSAR_TRY(infer_from_scales(context, axes, output));
  } else {
    return context.fail("neither scales nor sizes are given");
  }
  for (size_t i = 0; i < output.size(); ++i) {
    bool grows = output[i].is_constant() && output[i].value() > 0 && input[i].is(0);
    if (grows || (output[i].is_constant() && output[i].value() < 0)) {
      return context.fail("extent {} cannot be resized to {}", input[i].to_string(), output[i].value());
    }
  }
  context.set(0, context.dtype(0), std::move(output));
  return {};
}

static Result<std::vector<ResizeAxis>> resize_axes(EvalContext& context) {
  const Shape& input = context.shape(0);
  const Shape& output = context.output().shape();
  std::vector<ResizeAxis> result(static_cast<size_t>(input.rank()));
  for (int i = 0; i < input.rank(); ++i) {
    result[i].input = input[i];
    result[i].output = output[i];
    if (input[i] > 0) result[i].scale = static_cast<double>(output[i]) / static_cast<double>(input[i]);
  }
  Ints axes = context.attributes.get_ints("axes");
  if (axes.empty()) {
    axes.resize(result.size());
    std::iota(axes.begin(), axes.end(), 0);
  }
  std::vector<double> roi(context.has(1) ? static_cast<size_t>(context.input(1).elements()) : 0);
  if (context.has(1)) load_elements<double>(context.input(1), 0, context.input(1).elements(), roi.data());
  bool by_size = context.has(3),
       cropped = context.attributes.get_string("coordinate_transformation_mode", "") == "tf_crop_and_resize";
  if (cropped && roi.size() != 2 * axes.size())
    return context.fail("roi has {} elements for {} axes", roi.size(), axes.size());
  double shared = 0;
  for (size_t i = 0; i < axes.size(); ++i) {
    ResizeAxis& axis = result[axes[i] < 0 ? axes[i] + input.rank() : axes[i]];
    if (!by_size) {
      float scale = 1;
      load_elements<float>(context.input(2), static_cast<int64_t>(i), 1, &scale);
      axis.scale = scale;
    }
    if (cropped) {
      axis.roi_begin = roi[i];
      axis.roi_end = roi[axes.size() + i];
    }
  }
  // One scale for all axes comes from the sizes asked for, not from the rounded extents.
  std::string policy = context.attributes.get_string("keep_aspect_ratio_policy", "stretch");
  if (!by_size || policy == "stretch") return result;
  Ints sizes = context.integers(3);
  for (size_t i = 0; i < axes.size(); ++i) {
    double extent = static_cast<double>(input[static_cast<int>(axes[i] < 0 ? axes[i] + input.rank() : axes[i])]);
    double ratio = static_cast<double>(sizes[i]) / extent;
    shared = i == 0 ? ratio : policy == "not_larger" ? std::min(shared, ratio) : std::max(shared, ratio);
  }
  for (int64_t axis : axes) result[axis < 0 ? axis + input.rank() : axis].scale = shared;
  return result;
}

// Copies elements of any dtype.
static void resize_nearest(EvalContext& context, const std::vector<std::vector<ResizeTaps>>& taps) {
  size_t size = dtype_size(context.output().dtype());
  Shape output = context.output().shape();
  const ElementStrides strides = row_major_strides(context.shape(0));
  std::vector<int64_t> position(static_cast<size_t>(output.rank()), 0);
  for (int64_t i = 0, total = output.elements(); i < total; ++i) {
    int64_t from = 0;
    for (int axis = 0; axis < output.rank(); ++axis) from += taps[axis][position[axis]].index[0] * strides[axis];
    std::memcpy(context.output().raw() + static_cast<size_t>(i) * size,
                context.input(0).raw() + static_cast<size_t>(from) * size, size);
    for (int axis = output.rank() - 1; axis >= 0 && ++position[axis] == output[axis]; --axis) position[axis] = 0;
  }
}

// One axis after the other.
static std::vector<double> interpolate(std::vector<double> values, Shape shape,
                                       const std::vector<std::vector<ResizeTaps>>& taps) {
  for (int axis = 0; axis < shape.rank(); ++axis) {
    auto extent = static_cast<int64_t>(taps[axis].size());
    AxisSplit split = split_at(shape, axis);
    std::vector<double> next(static_cast<size_t>(split.outer * extent * split.inner), 0);
    for (int64_t outer = 0; outer < split.outer; ++outer) {
      for (int64_t k = 0; k < extent; ++k) {
        double* out = next.data() + (outer * extent + k) * split.inner;
        for (size_t t = 0; t < taps[axis][k].index.size(); ++t) {
          const double* in = values.data() + (outer * split.length + taps[axis][k].index[t]) * split.inner;
          for (int64_t i = 0; i < split.inner; ++i) out[i] += taps[axis][k].weight[t] * in[i];
        }
      }
    }
    shape[axis] = extent;
    values = std::move(next);
  }
  return values;
}

static Status evaluate(EvalContext& context) {
  if (!context.output().valid()) return context.fail("scales or sizes are malformed");
  Shape output = context.output().shape();
  if (output.elements() == 0) return {};
  ResizeMode mode = HUSSAR_TRY(read_resize_mode(context.node));
  std::vector<ResizeAxis> axes = HUSSAR_TRY(resize_axes(context));
  std::vector<std::vector<ResizeTaps>> taps(axes.size());
  bool any_outside = false;
  for (size_t axis = 0; axis < axes.size(); ++axis) {
    // Axes that stay as they are read themselves whatever the mode.
    bool same = axes[axis].scale == 1 && axes[axis].input == axes[axis].output && axes[axis].roi_begin == 0 &&
                axes[axis].roi_end == 1;
    for (int64_t k = 0; k < axes[axis].output; ++k) {
      taps[axis].push_back(same ? ResizeTaps{{k}, {1.0}, false} : resize_taps(mode, axes[axis], k));
      any_outside = any_outside || taps[axis].back().outside;
    }
  }
  if (mode.interpolation == ResizeMode::Interpolation::kNearest && !any_outside)
    return resize_nearest(context, taps), Status();
  auto x = context.read<double>(0);
  std::vector<double> values = interpolate(std::vector<double>(x.begin(), x.end()), context.shape(0), taps);
  double extrapolation = context.attributes.get_float("extrapolation_value", 0);
  std::vector<int64_t> position(axes.size(), 0);
  for (double& value : values) {
    for (size_t axis = 0; axis < axes.size(); ++axis) {
      if (taps[axis][position[axis]].outside) value = extrapolation;
    }
    if (!is_floating(context.output().dtype())) value = std::nearbyint(value);
    for (int axis = output.rank() - 1; axis >= 0 && ++position[axis] == output[axis]; --axis) position[axis] = 0;
  }
  store_elements<double>(context.output(), 0, output.elements(), values.data());
  return {};
}

extern const OpDef resize_op = {
    .name = "Resize", .min_inputs = 1, .max_inputs = 4, .upgrade = upgrade, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
