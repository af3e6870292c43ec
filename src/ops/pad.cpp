// Pad: elements added (or, where negative, removed) at the begin and end of axes. Mode constant fills with a value,
// reflect mirrors about the first and last element, edge repeats them, wrap continues from the other end.
#include "ops/arguments.h"
#include "ops/movement.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

constexpr AttributeInput kAttributeInputs[] = {{"pads", 1, 11}, {"value", 2, 11}};

Status infer(InferContext& context) {
  std::string mode = context.attributes.get_string("mode", "constant");
  if (mode != "constant" && mode != "reflect" && mode != "edge" && mode != "wrap") {
    return context.fail("unknown mode '{}'", mode);
  }
  auto pads = HUSSAR_TRY(list_argument(context, 1));
  const Dims* dims = context.dims(0);
  if (dims == nullptr) {
    context.set_unknown(0, context.dtype(0));
    return {};
  }
  context.set_rank(0, context.dtype(0), context.rank(0));
  auto axes = HUSSAR_TRY(axes_argument(context, 3, context.rank(0)));
  if (!axes || !pads) return {};
  if (pads->size() != 2 * axes->size()) return context.fail("{} pads for {} axes", pads->size(), axes->size());
  Dims out = *dims;
  for (size_t i = 0; i < axes->size(); ++i) {
    Dim& dim = out[static_cast<size_t>((*axes)[i])];
    for (const Dim& amount : {(*pads)[i], (*pads)[i + axes->size()]}) {
      if (amount.is_constant())
        HUSSAR_TRY(check_dimension(context, amount.value() < 0 ? Dim(-(amount.value() + 1)) : amount));
      dim = dim + amount;
    }
    HUSSAR_TRY(check_dimension(context, dim));
  }
  context.set(0, context.dtype(0), std::move(out));
  return {};
}

// The position in [0, length) that a padded position shows; -1 for the fill value. Requires length > 0 unless constant.
int64_t source(int64_t position, int64_t length, const std::string& mode) {
  if (position >= 0 && position < length) return position;
  if (mode == "constant") return -1;
  if (mode == "edge") return std::clamp<int64_t>(position, 0, length - 1);
  int64_t period = mode == "wrap" ? length : std::max<int64_t>(2 * (length - 1), 1);
  int64_t phase = (position % period + period) % period;
  return phase < length ? phase : period - phase;
}

Status evaluate(EvalContext& context) {
  const Tensor& in = context.input(0);
  Tensor& out = context.output();
  std::string mode = context.attributes.get_string("mode", "constant");
  Ints pads = context.integers(1);
  Ints axes = context.integers(3);
  int rank = in.shape().rank();
  Ints begin(static_cast<size_t>(rank), 0);
  for (size_t i = 0; i < pads.size() / 2; ++i) {
    int64_t axis = context.has(3) ? axes[i] : static_cast<int64_t>(i);
    begin[static_cast<size_t>(axis < 0 ? axis + rank : axis)] = pads[i];
  }
  if (out.elements() == 0) return {};
  if (mode != "constant" && in.elements() == 0) return context.fail("mode {} needs something to repeat", mode);
  const ElementStrides strides = row_major_strides(in.shape());
  std::vector<Ints> maps;
  for (int axis = 0; axis < rank; ++axis) {
    Ints& map = maps.emplace_back();
    for (int64_t i = 0; i < out.shape()[axis]; ++i) {
      int64_t from = source(i - begin[static_cast<size_t>(axis)], in.shape()[axis], mode);
      map.push_back(from < 0 ? -1 : from * strides[axis]);
    }
  }
  // The fill value may have another dtype, since import does not know that of the data.
  Tensor fill(in.dtype(), {});
  if (context.has(2)) {
    if (context.input(2).elements() != 1) return context.fail("constant_value must be a scalar");
    dispatch(in.dtype(), [&](auto tag) {
      using T = typename decltype(tag)::type;
      store_elements<T>(fill, 0, 1, context.read<T>(2).data());
    });
  }
  copy_mapped(in, maps, fill.raw(), out);
  return {};
}

}  // namespace

extern const OpDef pad_op = {.name = "Pad",
                             .min_inputs = 2,
                             .max_inputs = 4,
                             .attribute_inputs = kAttributeInputs,
                             .infer = infer,
                             .evaluate = evaluate};

}  // namespace hussar
