// TopK: the k largest (smallest with largest=0) elements along `axis` in descending (ascending) order, and their
// indices. Equal elements come in the order of their indices; NaN counts as the largest.
#include <numeric>

#include "ops/arguments.h"
#include "ops/axis.h"
#include "ops/evaluate.h"

namespace hussar {
namespace {

constexpr AttributeInput kAttributeInputs[] = {{"k", 1, 10}};

Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  auto k = HUSSAR_TRY(list_argument(context, 1));
  if (k && k->size() != 1) return context.fail("k must be one number");
  if (dims == nullptr) {
    context.set_unknown(0, context.dtype(0));
    context.set_unknown(1, DType::kInt64);
    return {};
  }
  if (dims->empty()) return context.fail("a scalar has no axis");
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", -1), context.rank(0)));
  Dims out = *dims;
  Dim& dim = out[static_cast<size_t>(axis)];
  if (k) {
    HUSSAR_TRY(check_dimension(context, k->front()));
    if (known_at_least(k->front() - dim, 1))
      return context.fail("k is {}, the axis has {} elements", k->front().to_string(), dim.to_string());
  }
  dim = k ? k->front() : context.fresh();
  context.set(0, context.dtype(0), out);
  context.set(1, DType::kInt64, std::move(out));
  return {};
}

template <class T>
bool is_better(T a, T b, bool largest) {
  bool a_nan = a != a, b_nan = b != b;
  if (a_nan || b_nan) return largest ? a_nan && !b_nan : b_nan && !a_nan;
  return largest ? a > b : a < b;
}

Status evaluate(EvalContext& context) {
  int64_t axis = context.attributes.get_int("axis", -1);
  bool largest = context.attributes.get_int("largest", 1) != 0;
  AxisSplit split = split_at(context.shape(0), axis);
  auto k = static_cast<int64_t>(context.number(1, 0));
  if (k < 0 || k > split.length) return context.fail("k is {}, the axis has {} elements", k, split.length);
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto x = context.read<T>(0);
    std::vector<T> values(static_cast<size_t>(split.outer * k * split.inner));
    std::vector<int64_t> indices(values.size());
    std::vector<int64_t> order(static_cast<size_t>(split.length));
    for (int64_t line = 0; line < split.outer * split.inner; ++line) {
      const T* data = x.data() + line / split.inner * split.length * split.inner + line % split.inner;
      std::iota(order.begin(), order.end(), 0);
      std::partial_sort(order.begin(), order.begin() + k, order.end(), [&](int64_t a, int64_t b) {
        T left = data[a * split.inner], right = data[b * split.inner];
        if (is_better(left, right, largest)) return true;
        return !is_better(right, left, largest) && a < b;
      });
      for (int64_t i = 0; i < k; ++i) {
        auto at = static_cast<size_t>((line / split.inner * k + i) * split.inner + line % split.inner);
        values[at] = data[order[static_cast<size_t>(i)] * split.inner];
        indices[at] = order[static_cast<size_t>(i)];
      }
    }
    if (context.wants(0)) store_elements<T>(context.output(0), 0, static_cast<int64_t>(values.size()), values.data());
    if (context.output_count() > 1 && context.wants(1)) {
      std::copy(indices.begin(), indices.end(), context.output(1).data<int64_t>());
    }
    return {};
  });
}

}  // namespace

extern const OpDef top_k_op = {.name = "TopK",
                               .min_inputs = 2,
                               .max_inputs = 2,
                               .min_outputs = 1,
                               .max_outputs = 2,
                               .attribute_inputs = kAttributeInputs,
                               .infer = infer,
                               .evaluate = evaluate};

}  // namespace hussar
