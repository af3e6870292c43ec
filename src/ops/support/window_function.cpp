// Cosine-sum windows.
#include "ops/window_function.h"

namespace hussar {

Status infer_window_function(InferContext& context) {
  auto dtype = static_cast<DType>(context.attributes.get_int("output_datatype", 1));
  if (context.attributes.get_int("output_datatype", 1) > 255 || dtype_size(dtype) == 0)
    return context.fail("output_datatype is unknown");
  auto size = context.elements(0);
  if (!size) return context.set_rank(0, dtype, 1), Status();
  if (size->size() != 1) return context.fail("size must be one number");
  if ((*size)[0].is_constant() && (*size)[0].value() < 0) return context.fail("size is {}", (*size)[0].value());
  context.set(0, dtype, {(*size)[0]});
  return {};
}

Status evaluate_window_function(EvalContext& context, double a0, double a1, double a2) {
  if (!context.output().valid()) return context.fail("size is malformed");
  auto y = context.write<double>();
  bool periodic = context.attributes.get_int("periodic", 1) != 0;
  auto points = static_cast<double>(std::max<int64_t>(periodic ? y.size() : y.size() - 1, 1));
  for (int64_t n = 0; n < y.size(); ++n) {
    double angle = 2 * M_PI * static_cast<double>(n) / points;
    y[n] = a0 - a1 * std::cos(angle) + a2 * std::cos(2 * angle);
  }
  return {};
}

}  // namespace hussar
