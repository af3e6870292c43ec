// Concat: the inputs one after the other along `axis`. Lists of symbolic integers stay symbolic.
#include <cstring>

#include "ops/arguments.h"
#include "ops/axis.h"
#include "ops/evaluate.h"

namespace hussar {
namespace {

// Joins the elements of lists. An unknown element becomes a fresh symbol, so that the others are not lost.
void infer_list(InferContext& context) {
  Dims joined;
  bool any_known = false;
  for (size_t i = 0; i < context.input_count(); ++i) {
    if (context.rank(i) != 1 || !is_signed_integer(context.dtype(i))) return;
    if (auto elements = context.elements(i)) {
      joined.insert(joined.end(), elements->begin(), elements->end());
      any_known = true;
      continue;
    }
    auto length = list_length(context, i);
    if (!length) return;
    for (int k = 0; k < *length; ++k) joined.push_back(context.fresh());
  }
  if (any_known) context.set_elements(0, std::move(joined));
}

Status infer(InferContext& context) {
  if (!context.attributes.has("axis")) return context.fail("has no axis");
  context.set_unknown(0, context.dtype(0));
  int rank = -1;
  for (size_t i = 0; i < context.input_count(); ++i) {
    if (context.node.input(i) == nullptr) return context.fail("input {} is missing", i);
    if (context.dtype(i) != context.dtype(0)) return context.fail("inputs have different dtypes");
    if (context.rank(i) < 0) continue;
    if (rank >= 0 && context.rank(i) != rank) return context.fail("inputs have ranks {} and {}", rank, context.rank(i));
    rank = context.rank(i);
  }
  if (rank < 0) return {};
  if (rank == 0) return context.fail("scalars cannot be concatenated");
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 0), rank));
  Dims out;
  for (int k = 0; k < rank; ++k) out.push_back(k == axis ? Dim(0) : context.fresh());
  bool complete = true;
  for (size_t i = 0; i < context.input_count(); ++i) {
    const Dims* dims = context.dims(i);
    complete = complete && dims != nullptr;
    for (int k = 0; k < rank && dims != nullptr; ++k) {
      if (k == axis)
        out[k] = out[k] + (*dims)[k];
      else
        out[k] = i == 0 ? (*dims)[k] : HUSSAR_TRY(same_dim(context, out[k], (*dims)[k]));
    }
  }
  if (!complete) out[axis] = context.fresh();
  context.set(0, context.dtype(0), std::move(out));
  if (rank == 1) infer_list(context);
  return {};
}

Status evaluate(EvalContext& context) {
  Tensor& out = context.output();
  AxisSplit split = split_at(out.shape(), context.attributes.get_int("axis", 0));
  auto row = static_cast<size_t>(split.length * split.inner) * dtype_size(out.dtype());
  size_t begin = 0;
  for (size_t i = 0; i < context.input_count(); ++i) {
    const Tensor& in = context.input(i);
    if (in.bytes() == 0) continue;
    size_t part = in.bytes() / static_cast<size_t>(split.outer);
    for (int64_t outer = 0; outer < split.outer; ++outer) {
      std::memcpy(out.raw() + static_cast<size_t>(outer) * row + begin, in.raw() + static_cast<size_t>(outer) * part,
                  part);
    }
    begin += part;
  }
  return {};
}

}  // namespace

extern const OpDef concat_op = {
    .name = "Concat", .min_inputs = 1, .max_inputs = -1, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
