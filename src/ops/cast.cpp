// Cast: every element converted to the dtype `to`.
//
// Floating types round to nearest even; integers that do not fit lose their high bits; float to integer truncates and
// clamps. The 8-bit floats saturate unless saturate=0; float8e8m0, which has powers of two only, rounds by round_mode.
#include <bit>

#include "ops/elementwise.h"
#include "ops/movement.h"

namespace hussar {
namespace {

DType target(const Attributes& attributes) {
  int64_t to = attributes.get_int("to", 0);
  return to > 0 && to < 256 ? static_cast<DType>(to) : DType::kUndefined;
}

Status infer(InferContext& context) {
  DType dtype = target(context.attributes);
  if (dtype_size(dtype) == 0)
    return context.fail("cannot cast to dtype {} ({})", context.attributes.get_int("to", 0), dtype_name(dtype));
  context.outputs[0].dtype = dtype;
  context.outputs[0].dims = context.info(0).dims;
  bool is_wide_integer = dtype == DType::kInt64 || dtype == DType::kInt32;
  if (is_wide_integer && !is_floating(context.dtype(0))) infer_view_elements(context);
  return {};
}

// Double to float so that a second rounding to a narrower type gives what one rounding would: an inexact result gets
// an odd last bit, which is never a tie ("round to odd").
float narrow(double value) {
  auto nearest = static_cast<float>(value);
  if (!std::isfinite(nearest) || static_cast<double>(nearest) == value) return nearest;
  auto bits = std::bit_cast<uint32_t>(nearest);
  if (std::fabs(static_cast<double>(nearest)) > std::fabs(value)) --bits;
  return std::bit_cast<float>(bits | 1);
}

enum class RoundMode { kUp, kDown, kNearest };

// The exponent of a magnitude in the format of float8e8m0. A zero or an overflow is clamped, or NaN without saturation.
uint8_t to_float8e8m0(float value, RoundMode mode, bool saturate) {
  constexpr uint8_t kNan = 0xFF;
  constexpr uint32_t kSmallest = 0x400000;  // 2^-127, a subnormal float
  uint32_t bits = std::bit_cast<uint32_t>(value) & 0x7FFFFFFF;
  if (bits > 0x7F800000) return kNan;
  if (bits < kSmallest) return saturate ? 0 : kNan;
  if (bits == 0x7F800000) return saturate ? 0xFE : kNan;
  uint32_t exponent = bits >> 23;
  uint32_t fraction = bits & 0x7FFFFF;
  uint32_t half = kSmallest;
  if (exponent == 0) {  // in [2^-127, 2^-126): the fraction above 2^-127, in the units of the next binade's half
    fraction = (fraction - kSmallest) * 2;
  }
  bool increment = mode == RoundMode::kUp ? fraction > 0 : mode == RoundMode::kNearest && fraction >= half;
  uint32_t code = exponent + (increment ? 1 : 0);
  if (code >= 0xFF) return saturate ? 0xFE : kNan;
  return static_cast<uint8_t>(code);
}

template <class T>
void cast_to_small(EvalContext& context, const Elements<T>& from, Tensor& out) {
  bool saturate = context.attributes.get_int("saturate", 1) != 0;
  std::string mode_name = context.attributes.get_string("round_mode", "up");
  RoundMode mode = mode_name == "down"      ? RoundMode::kDown
                   : mode_name == "nearest" ? RoundMode::kNearest
                                            : RoundMode::kUp;
  auto* to = out.data<uint8_t>();
  for (int64_t i = 0; i < from.size(); ++i) {
    float value = narrow(static_cast<double>(from[i]));
    bool is_exponent = out.dtype() == DType::kFloat8E8M0;
    to[i] = is_exponent ? to_float8e8m0(value, mode, saturate) : float_to_small_float(value, out.dtype(), saturate);
  }
}

Status evaluate(EvalContext& context) {
  const Tensor& in = context.input(0);
  Tensor& out = context.output();
  if (in.dtype() == out.dtype()) {
    copy_elements(in, out);
    return {};
  }
  return dispatch(in.dtype(), [&](auto tag) -> Status {
    using T = typename decltype(tag)::type;
    auto from = context.read<T>(0);
    if (is_floating(out.dtype()) && dtype_size(out.dtype()) == 1) {
      cast_to_small(context, from, out);
    } else if (is_floating(out.dtype()) && dtype_size(out.dtype()) == 2) {
      auto to = context.write<float>();
      for (int64_t i = 0; i < from.size(); ++i) to[i] = narrow(static_cast<double>(from[i]));
    } else {
      store_elements<T>(out, 0, from.size(), from.data());
    }
    return {};
  });
}

}  // namespace

extern const OpDef cast_op = unary_op("Cast", infer, evaluate);

}  // namespace hussar
