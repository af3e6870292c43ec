// Unique: the distinct slices along `axis` (elements of the flattened input when absent), ascending or in the order of
// their first occurrence; also their first indices, the index of every slice's twin in the output, and their counts.
#include <cstring>
#include <numeric>

#include "ops/axis.h"
#include "ops/evaluate.h"

namespace hussar {
namespace {

Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  Dim count = context.fresh();
  Dim length = context.fresh();
  if (!context.attributes.has("axis")) {
    context.set(0, context.dtype(0), {count});
    if (dims != nullptr) length = product(*dims);
  } else if (dims != nullptr) {
    if (dims->empty()) return context.fail("a scalar has no axis");
    int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 0), context.rank(0)));
    Dims out = *dims;
    length = out[static_cast<size_t>(axis)];
    out[static_cast<size_t>(axis)] = count;
    context.set(0, context.dtype(0), std::move(out));
  } else {
    context.set_unknown(0, context.dtype(0));
  }
  context.set(1, DType::kInt64, {count});
  context.set(2, DType::kInt64, {length});
  context.set(3, DType::kInt64, {count});
  return {};
}

// The order of two slices: lexicographic, NaN above all numbers and equal to itself.
template <class T>
int compare_slices(const T* data, const AxisSplit& split, int64_t a, int64_t b) {
  for (int64_t outer = 0; outer < split.outer; ++outer) {
    for (int64_t inner = 0; inner < split.inner; ++inner) {
      const T* base = data + outer * split.length * split.inner + inner;
      T x = base[a * split.inner];
      T y = base[b * split.inner];
      bool x_nan = x != x, y_nan = y != y;
      if (x_nan != y_nan) return x_nan ? 1 : -1;
      if (x_nan || x == y) continue;
      return x < y ? -1 : 1;
    }
  }
  return 0;
}

struct Groups {
  std::vector<int64_t> first;    // of every distinct slice, its first occurrence
  std::vector<int64_t> inverse;  // of every slice, its group
  std::vector<int64_t> counts;
};

template <class T>
Groups group_slices(const Tensor& tensor, const AxisSplit& split, bool sorted, Workspace& workspace) {
  Elements<T> x(tensor, workspace);
  std::vector<int64_t> order(static_cast<size_t>(split.length));
  std::iota(order.begin(), order.end(), 0);
  auto compare = [&](int64_t a, int64_t b) { return compare_slices(x.data(), split, a, b); };
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return compare(a, b) < 0; });
  Groups groups;
  groups.inverse.resize(order.size());
  for (size_t i = 0; i < order.size(); ++i) {
    if (i == 0 || compare(order[i - 1], order[i]) != 0) {
      groups.first.push_back(order[i]);
      groups.counts.push_back(0);
    }
    ++groups.counts.back();
    groups.inverse[static_cast<size_t>(order[i])] = static_cast<int64_t>(groups.first.size()) - 1;
  }
  if (sorted) return groups;
  std::vector<size_t> by_occurrence(groups.first.size());
  std::iota(by_occurrence.begin(), by_occurrence.end(), 0);
  std::sort(by_occurrence.begin(), by_occurrence.end(),
            [&](size_t a, size_t b) { return groups.first[a] < groups.first[b]; });
  Groups result;
  std::vector<int64_t> rank(groups.first.size());
  for (size_t i = 0; i < by_occurrence.size(); ++i) {
    rank[by_occurrence[i]] = static_cast<int64_t>(i);
    result.first.push_back(groups.first[by_occurrence[i]]);
    result.counts.push_back(groups.counts[by_occurrence[i]]);
  }
  for (int64_t group : groups.inverse) result.inverse.push_back(rank[static_cast<size_t>(group)]);
  return result;
}

void write_list(EvalContext& context, size_t output, const std::vector<int64_t>& values) {
  if (!context.wants(output)) return;
  Shape shape{static_cast<int64_t>(values.size())};
  std::copy(values.begin(), values.end(), context.allocate(output, DType::kInt64, shape).data<int64_t>());
}

Status evaluate(EvalContext& context) {
  const Tensor& in = context.input(0);
  bool flat = !context.attributes.has("axis");
  AxisSplit split = flat ? AxisSplit{1, in.elements(), 1} : split_at(in.shape(), context.attributes.get_int("axis", 0));
  bool sorted = context.attributes.get_int("sorted", 1) != 0;
  Groups groups = dispatch(in.dtype(), [&](auto tag) {
    return group_slices<typename decltype(tag)::type>(in, split, sorted, context.workspace());
  });
  Shape shape{0};
  int64_t axis = 0;
  if (!flat) {
    shape = in.shape();
    axis = context.attributes.get_int("axis", 0);
    if (axis < 0) axis += shape.rank();
  }
  shape[static_cast<int>(axis)] = static_cast<int64_t>(groups.first.size());
  if (context.wants(0)) {
    std::byte* to = context.allocate(0, in.dtype(), shape).raw();
    size_t unit = static_cast<size_t>(split.inner) * dtype_size(in.dtype());
    for (int64_t outer = 0; outer < split.outer && unit > 0; ++outer) {
      for (int64_t index : groups.first) {
        std::memcpy(to, in.raw() + static_cast<size_t>(outer * split.length + index) * unit, unit);
        to += unit;
      }
    }
  }
  if (context.output_count() > 1) write_list(context, 1, groups.first);
  if (context.output_count() > 2) write_list(context, 2, groups.inverse);
  if (context.output_count() > 3) write_list(context, 3, groups.counts);
  return {};
}

}  // namespace

extern const OpDef unique_op = {.name = "Unique",
                                .min_inputs = 1,
                                .max_inputs = 1,
                                .min_outputs = 1,
                                .max_outputs = 4,
                                .traits = kSizesOutputs,
                                .infer = infer,
                                .evaluate = evaluate};

}  // namespace hussar
