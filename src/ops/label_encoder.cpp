// ai.onnx.ml.LabelEncoder: looks every element up in a table of keys and gives the value beside it, or the default.
// Tables of numbers only: Hussar does not compute with strings. NaN is found by NaN; of equal keys the first counts.
#include <cstring>
#include <unordered_map>

#include "ops/elementwise.h"

namespace hussar {
namespace {

Status upgrade(UpgradeContext& context) {
  HUSSAR_CHECK(context.opset >= 2, ErrorCode::kInvalidModel,
               "{}: LabelEncoder of ai.onnx.ml 1 maps strings; export with ai.onnx.ml 2 or newer and numbers",
               describe(context.node));
  return {};
}

// The list `<side>_int64s`, `<side>_floats` or `<side>_tensor`; nullopt when none is given.
std::optional<Tensor> table(const Attributes& attributes, const std::string& side) {
  if (const Tensor* tensor = attributes.get_tensor(side + "_tensor")) return *tensor;
  if (const auto* ints = attributes.find<Ints>(side + "_int64s"))
    return Tensor::from<int64_t>(DType::kInt64, {static_cast<int64_t>(ints->size())}, *ints);
  if (const auto* floats = attributes.find<Floats>(side + "_floats"))
    return Tensor::from<float>(DType::kFloat32, {static_cast<int64_t>(floats->size())}, *floats);
  return std::nullopt;
}

// One element of the dtype of the values.
Tensor default_value(const Attributes& attributes, DType dtype) {
  if (const Tensor* tensor = attributes.get_tensor("default_tensor")) return *tensor;
  Tensor value(dtype, {1});
  double real = attributes.get_float("default_float", -0.0F);
  int64_t integer = attributes.get_int("default_int64", -1);
  if (is_floating(dtype))
    store_elements<double>(value, 0, 1, &real);
  else
    store_elements<int64_t>(value, 0, 1, &integer);
  return value;
}

Status infer(InferContext& context) {
  const Attributes& attributes = context.attributes;
  auto keys = table(attributes, "keys"), values = table(attributes, "values");
  if (!keys || !values) return context.fail("has no table of numbers; tables of strings are not supported");
  if (keys->elements() != values->elements())
    return context.fail("{} keys and {} values", keys->elements(), values->elements());
  if (is_floating(keys->dtype()) != is_floating(context.dtype(0)))
    return context.fail("{} keys for {} input", dtype_name(keys->dtype()), dtype_name(context.dtype(0)));
  Tensor otherwise = default_value(attributes, values->dtype());
  if (otherwise.dtype() != values->dtype() || otherwise.elements() != 1)
    return context.fail("default_tensor must be one {}", dtype_name(values->dtype()));
  context.outputs[0].dtype = values->dtype();
  context.outputs[0].dims = context.info(0).dims;
  return {};
}

Status evaluate(EvalContext& context) {
  auto keys = table(context.attributes, "keys"), values = table(context.attributes, "values");
  if (!keys || !values) return context.fail("has no table of numbers");
  Tensor otherwise = default_value(context.attributes, values->dtype());
  size_t width = dtype_size(values->dtype());
  return dispatch(context.input(0).dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    Elements<T> table_keys(*keys, context.workspace());
    std::unordered_map<T, int64_t> rows;
    int64_t nan_row = -1;
    for (int64_t row = 0; row < table_keys.size(); ++row) {
      if (table_keys[row] == table_keys[row])
        rows.emplace(table_keys[row], row);
      else if (nan_row < 0)
        nan_row = row;
    }
    auto x = context.read<T>(0);
    for (int64_t i = 0; i < x.size(); ++i) {
      auto found = rows.find(x[i]);
      int64_t row = x[i] != x[i] ? nan_row : found == rows.end() ? -1 : found->second;
      const std::byte* from = row < 0 ? otherwise.raw() : values->raw() + static_cast<size_t>(row) * width;
      std::memcpy(context.output().raw() + static_cast<size_t>(i) * width, from, width);
    }
    return {};
  });
}

}  // namespace

extern const OpDef label_encoder_op = {.name = "ai.onnx.ml.LabelEncoder",
                                       .min_inputs = 1,
                                       .max_inputs = 1,
                                       .upgrade = upgrade,
                                       .infer = infer,
                                       .evaluate = evaluate};

}  // namespace hussar
