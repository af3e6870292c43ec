// Slice: every `steps`-th element from `starts` up to `ends` along `axes`. Negative positions count from the end and
// all positions are clamped to the tensor, as in Python.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

constexpr AttributeInput kAttributeInputs[] = {{"axes", 3, 10}, {"ends", 2, 10}, {"starts", 1, 10}};

// Exporters write "to the end" as one of the largest integers; no dimension comes near it.
constexpr int64_t kEndless = std::numeric_limits<int32_t>::max();

// A position as one in [low, high]; nullopt when its sign is unknown.
std::optional<Dim> clamp_position(const Dim& position, const Dim& length, const Dim& low, const Dim& high) {
  if (position.is_constant()) {
    int64_t value = position.value();
    if (value >= kEndless && (!length.is_constant() || value >= length.value())) return high;
    if (value <= -kEndless && (!length.is_constant() || value <= -length.value())) return low;
  }
  if (known_at_least(position, 0)) return max(low, min(position, high));
  if (known_at_least(Dim(0) - position, 1)) return max(low, min(length + position, high));
  // length - 1 counts from the front unless the length is zero, where both readings give an empty slice.
  if (position - length == Dim(-1)) return max(low, min(position, high));
  return std::nullopt;
}

// How many elements [start, end) takes in steps of `step`; nullopt when unknown.
std::optional<Dim> slice_length(const Dim& start, const Dim& end, int64_t step, const Dim& length) {
  bool forward = step > 0;
  Dim low = forward ? Dim(0) : Dim(-1);
  Dim high = forward ? length : length - 1;
  auto first = clamp_position(start, length, low, high);
  auto last = clamp_position(end, length, low, high);
  if (!first || !last) return std::nullopt;
  Dim distance = forward ? *last - *first : *first - *last;
  return max(Dim(0), ceil_div(distance, Dim(forward ? step : -step)));
}

// Cuts a list of symbolic integers.
void infer_list(InferContext& context, int64_t start, int64_t step) {
  auto elements = context.elements(0);
  const auto& dims = context.outputs[0].dims;
  if (!elements || context.rank(0) != 1 || !dims || !dims->front().is_constant()) return;
  auto length = static_cast<int64_t>(elements->size());
  int64_t first =
      std::clamp<int64_t>(start < 0 ? start + length : start, step > 0 ? 0 : -1, step > 0 ? length : length - 1);
  Dims cut;
  for (int64_t i = 0; i < dims->front().value(); ++i) {
    int64_t at = first + i * step;
    if (at < 0 || at >= length) return;
    cut.push_back((*elements)[static_cast<size_t>(at)]);
  }
  context.set_elements(0, std::move(cut));
}

Result<std::optional<Ints>> sliced_axes(const InferContext& context, size_t count, int rank) {
  if (context.has(3)) return axes_argument(context, 3, rank);
  Ints axes;
  for (size_t i = 0; i < count; ++i) axes.push_back(static_cast<int64_t>(i));
  if (axes.size() > static_cast<size_t>(rank)) return context.fail("{} axes are sliced, the input has {}", count, rank);
  return std::optional<Ints>(std::move(axes));
}

Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  auto starts = HUSSAR_TRY(list_argument(context, 1));
  auto ends = HUSSAR_TRY(list_argument(context, 2));
  auto steps = HUSSAR_TRY(integers_argument(context, 4));
  if (dims == nullptr) {
    context.set_unknown(0, context.dtype(0));
    return {};
  }
  context.set_rank(0, context.dtype(0), static_cast<int>(dims->size()));
  auto count = starts ? std::optional<int>(static_cast<int>(starts->size())) : list_length(context, 1);
  if (!count) return {};
  auto axes = HUSSAR_TRY(sliced_axes(context, static_cast<size_t>(*count), context.rank(0)));
  if (!axes) return {};
  Dims out = *dims;
  bool lengths_agree = axes->size() == static_cast<size_t>(*count) && (!ends || ends->size() == axes->size()) &&
                       (!steps || steps->size() == axes->size());
  if (!lengths_agree) return context.fail("starts, ends, axes and steps have different lengths");
  for (size_t i = 0; i < axes->size(); ++i) {
    Dim& dim = out[static_cast<size_t>((*axes)[i])];
    std::optional<Dim> length;
    if (starts && ends && (steps || !context.has(4))) {
      int64_t step = steps ? (*steps)[i] : 1;
      if (step == 0) return context.fail("a step is 0");
      step = std::clamp<int64_t>(step, -kEndless, kEndless);
      length = slice_length((*starts)[i], (*ends)[i], step, dim);
    }
    dim = length ? *length : context.fresh();
  }
  context.set(0, context.dtype(0), std::move(out));
  if (starts && axes->size() == 1 && starts->front().is_constant() && (steps || !context.has(4))) {
    infer_list(context, starts->front().value(), steps ? steps->front() : 1);
  }
  return {};
}

Status evaluate(EvalContext& context) {
  const Shape& shape = context.shape(0);
  Ints starts = context.integers(1);
  Ints axes = context.integers(3);
  Ints steps = context.integers(4);
  ElementStrides strides = row_major_strides(shape);
  int64_t base = 0;
  for (size_t i = 0; i < starts.size(); ++i) {
    auto axis = static_cast<int>(axes.empty() ? static_cast<int64_t>(i) : axes[i]);
    if (axis < 0) axis += shape.rank();
    // A step beyond the dimension takes one element, as one equal to it does.
    int64_t step = std::clamp<int64_t>(steps.empty() ? 1 : steps[i], -shape[axis], shape[axis]);
    int64_t first = starts[i] < 0 ? starts[i] + shape[axis] : starts[i];
    base += std::clamp<int64_t>(first, 0, std::max<int64_t>(shape[axis] - 1, 0)) * strides[axis];
    strides[axis] *= step;
  }
  if (context.output().elements() == 0) return {};
  copy_strided(context.input(0), base, context.output().shape(), strides, context.output());
  return {};
}

}  // namespace

extern const OpDef slice_op = {.name = "Slice",
                               .min_inputs = 3,
                               .max_inputs = 5,
                               .attribute_inputs = kAttributeInputs,
                               .infer = infer,
                               .evaluate = evaluate};

}  // namespace hussar
