// Arithmetic of the four compute types that never is undefined: integers wrap as two's complement does.
#pragma once
#include <cstdint>
#include <type_traits>

#include "ops/evaluate.h"

namespace hussar {

// The type to do integer arithmetic in so that overflow wraps; T itself otherwise.
template <class T>
using Wrapping = std::conditional_t<std::is_same_v<T, int64_t>, uint64_t, T>;

template <class T>
constexpr T wrapping_add(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) + static_cast<Wrapping<T>>(b));
}

template <class T>
constexpr T wrapping_subtract(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) - static_cast<Wrapping<T>>(b));
}

template <class T>
constexpr T wrapping_multiply(T a, T b) {
  return static_cast<T>(static_cast<Wrapping<T>>(a) * static_cast<Wrapping<T>>(b));
}

template <class T>
constexpr T absolute(T value) {
  if constexpr (std::is_floating_point_v<T>)
    return std::fabs(value);
  else if constexpr (std::is_same_v<T, int64_t>)
    return value < 0 ? wrapping_subtract<T>(0, value) : value;
  else
    return value;
}

// The type that sums of T are accumulated in: wide enough that the reference is more exact than any kernel.
template <class T>
using Accumulator = std::conditional_t<std::is_same_v<T, float>, double, Wrapping<T>>;

// Fails when an integer divisor is zero.
template <class T>
Status check_divisor(const EvalContext& context, const Elements<T>& divisor) {
  if constexpr (std::is_integral_v<T>) {
    for (T value : divisor) {
      if (value == 0) return context.fail("integer division by zero");
    }
  }
  return {};
}

}  // namespace hussar
