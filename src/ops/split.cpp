// Split: parts of a tensor along `axis`. The sizes are the input `split`, or as equal as possible.
#include <algorithm>
#include <cstring>

#include "ops/arguments.h"
#include "ops/axis.h"
#include "ops/evaluate.h"

namespace hussar {
namespace {

constexpr AttributeInput kAttributeInputs[] = {{"split", 1, 13}};

// The length of every part; fresh dimensions where unknown.
Result<Dims> part_lengths(const InferContext& context, const Dim& whole) {
  auto count = static_cast<int64_t>(context.output_count());
  if (context.has(1)) {
    auto given = HUSSAR_TRY(list_argument(context, 1));
    if (!given) {
      given.emplace();
      for (int64_t i = 0; i < count; ++i) given->push_back(context.fresh());
    }
    Dim sum(0);
    for (const Dim& part : *given) {
      HUSSAR_TRY(check_dimension(context, part));
      sum = sum + part;
    }
    bool fits = static_cast<int64_t>(given->size()) == count;
    if (sum.is_constant() && whole.is_constant()) fits = fits && sum == whole;
    if (!fits)
      return context.fail("split {} does not fit {} outputs and {} elements", to_string(*given), count,
                          whole.to_string());
    return *given;
  }
  bool uneven = context.attributes.has("num_outputs");
  if (uneven && context.attributes.get_int("num_outputs", 0) != count) {
    return context.fail("num_outputs is {} but there are {} outputs", context.attributes.get_int("num_outputs", 0),
                        count);
  }
  if (!uneven && whole.is_constant() && whole.value() % count != 0) {
    return context.fail("{} elements cannot be split into {} equal parts", whole.value(), count);
  }
  Dim part = uneven ? ceil_div(whole, count) : floor_div(whole, count);
  Dims parts(static_cast<size_t>(count), part);
  parts.back() = whole - part * (count - 1);
  // Rounding up can use a short axis up early: the parts after that are empty.
  for (int64_t i = 0; i < count && whole.is_constant(); ++i) {
    parts[static_cast<size_t>(i)] = Dim(std::clamp<int64_t>(whole.value() - i * part.value(), 0, part.value()));
  }
  return parts;
}

// Parts of a list of symbolic integers.
void infer_list(InferContext& context, const Dims& parts) {
  auto elements = context.elements(0);
  if (!elements || context.rank(0) != 1) return;
  int64_t begin = 0;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].is_constant()) return;
    int64_t end = begin + parts[i].value();
    if (end > static_cast<int64_t>(elements->size())) return;
    context.set_elements(i, Dims(elements->begin() + begin, elements->begin() + end));
    begin = end;
  }
}

Status infer(InferContext& context) {
  const Dims* dims = context.dims(0);
  for (size_t i = 0; i < context.output_count(); ++i) context.set_unknown(i, context.dtype(0));
  if (dims == nullptr) return {};
  if (dims->empty()) return context.fail("a scalar cannot be split");
  int axis = HUSSAR_TRY(context.normalize_axis(context.attributes.get_int("axis", 0), context.rank(0)));
  Dims parts = HUSSAR_TRY(part_lengths(context, (*dims)[static_cast<size_t>(axis)]));
  for (size_t i = 0; i < context.output_count(); ++i) {
    Dims out = *dims;
    out[static_cast<size_t>(axis)] = parts[i];
    context.set(i, context.dtype(0), std::move(out));
  }
  infer_list(context, parts);
  return {};
}

Status evaluate(EvalContext& context) {
  const Tensor& in = context.input(0);
  int64_t axis = context.attributes.get_int("axis", 0);
  AxisSplit whole = split_at(in.shape(), axis);
  size_t unit = static_cast<size_t>(whole.inner) * dtype_size(in.dtype());
  int64_t begin = 0;
  Ints given = context.integers(1);
  const auto count = static_cast<int64_t>(context.output_count());
  const int64_t part =
      context.attributes.has("num_outputs") ? (whole.length + count - 1) / count : whole.length / count;
  for (size_t i = 0; i < context.output_count(); ++i) {
    // An output that nobody wants still takes its part of the input.
    int64_t length = std::clamp<int64_t>(whole.length - begin, 0, part);
    if (!given.empty()) {
      length = given[i];
    } else if (context.wants(i)) {
      length = split_at(context.output(i).shape(), axis).length;
    }
    const size_t bytes = static_cast<size_t>(length) * unit;
    for (int64_t outer = 0; context.wants(i) && outer < whole.outer && bytes > 0; ++outer) {
      std::memcpy(context.output(i).raw() + static_cast<size_t>(outer) * bytes,
                  in.raw() + static_cast<size_t>(outer * whole.length + begin) * unit, bytes);
    }
    begin += length;
  }
  return {};
}

}  // namespace

extern const OpDef split_op = {.name = "Split",
                               .min_inputs = 1,
                               .max_inputs = 2,
                               .min_outputs = 1,
                               .max_outputs = -1,
                               .attribute_inputs = kAttributeInputs,
                               .infer = infer,
                               .evaluate = evaluate};

}  // namespace hussar
