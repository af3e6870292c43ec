// Loops for the compiler's vectorizer: one per operator, type and pair of moving or resting operands.
#include "backends/cpu/kernels/elementwise/elementwise.h"

#include "backends/cpu/simd/vec.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

template <class T>
struct Unsigned {
  using Type = T;
};
template <>
struct Unsigned<int32_t> {
  using Type = uint32_t;
};
template <>
struct Unsigned<int64_t> {
  using Type = uint64_t;
};

template <class T>
constexpr bool kIsSigned = static_cast<T>(-1) < static_cast<T>(0);
template <class T>
constexpr bool kIsFloat = __is_same(T, float);

template <BinaryOp kOp>
constexpr bool kGivesBool = kOp >= BinaryOp::kEqual;

template <BinaryOp kOp, class T>
HUSSAR_INLINE T arithmetic(T a, T b) {
  using U = typename Unsigned<T>::Type;
  if constexpr (kOp == BinaryOp::kAdd) return static_cast<T>(static_cast<U>(a) + static_cast<U>(b));
  if constexpr (kOp == BinaryOp::kSub) return static_cast<T>(static_cast<U>(a) - static_cast<U>(b));
  if constexpr (kOp == BinaryOp::kMul) return static_cast<T>(static_cast<U>(a) * static_cast<U>(b));
  if constexpr (kOp == BinaryOp::kMin) return b < a ? b : a;
  if constexpr (kOp == BinaryOp::kMax) return a < b ? b : a;
  return a / b;  // floats
}

template <BinaryOp kOp, class T>
HUSSAR_INLINE bool predicate(T a, T b) {
  if constexpr (kOp == BinaryOp::kEqual) return a == b;
  if constexpr (kOp == BinaryOp::kLess) return a < b;
  if constexpr (kOp == BinaryOp::kLessOrEqual) return a <= b;
  if constexpr (kOp == BinaryOp::kGreater) return a > b;
  if constexpr (kOp == BinaryOp::kGreaterOrEqual) return a >= b;
  const bool x = a != 0, y = b != 0;
  if constexpr (kOp == BinaryOp::kAnd) return x & y;
  if constexpr (kOp == BinaryOp::kOr) return x | y;
  return x != y;
}

template <BinaryOp kOp, class T>
HUSSAR_INLINE auto compute(T a, T b) {
  if constexpr (kGivesBool<kOp>) {
    return static_cast<uint8_t>(predicate<kOp>(a, b) ? 1 : 0);
  } else {
    return arithmetic<kOp>(a, b);
  }
}

template <BinaryOp kOp, class T>
int32_t binary(const void* left, const void* right, void* result, int64_t count, bool a_moves, bool b_moves) {
  const T* __restrict a = static_cast<const T*>(left);
  const T* __restrict b = static_cast<const T*>(right);
  auto* __restrict y = static_cast<decltype(compute<kOp>(T{}, T{}))*>(result);
  if (a_moves && b_moves) {
    for (int64_t i = 0; i < count; ++i) y[i] = compute<kOp>(a[i], b[i]);
  } else if (a_moves) {
    const T value = *b;
    for (int64_t i = 0; i < count; ++i) y[i] = compute<kOp>(a[i], value);
  } else if (b_moves) {
    const T value = *a;
    for (int64_t i = 0; i < count; ++i) y[i] = compute<kOp>(value, b[i]);
  } else {
    const auto value = compute<kOp>(*a, *b);
    for (int64_t i = 0; i < count; ++i) y[i] = value;
  }
  return kNoFault;
}

// Integer division and remainder.
template <BinaryOp kOp, class T>
int32_t divide(const void* left, const void* right, void* result, int64_t count, bool a_moves, bool b_moves) {
  const T* a = static_cast<const T*>(left);
  const T* b = static_cast<const T*>(right);
  T* y = static_cast<T*>(result);
  int32_t fault = kNoFault;
  for (int64_t i = 0; i < count; ++i) {
    const T x = a[a_moves ? i : 0], divisor = b[b_moves ? i : 0];
    if (divisor == 0) {
      fault = kDivisionByZero;
      y[i] = 0;
    } else if (kIsSigned<T> && divisor == static_cast<T>(-1)) {
      // The machine's division traps on the most negative dividend.
      const T negated = arithmetic<BinaryOp::kSub>(T{0}, x);
      const bool overflows = x != 0 && negated == x;
      if (kOp == BinaryOp::kDiv && overflows && fault == kNoFault) fault = kDivisionOverflow;
      y[i] = kOp == BinaryOp::kMod || overflows ? T{0} : negated;
    } else if constexpr (kOp == BinaryOp::kDiv) {
      y[i] = static_cast<T>(x / divisor);
    } else {
      const T rest = static_cast<T>(x % divisor);
      y[i] = rest != 0 && (rest < 0) != (divisor < 0) ? static_cast<T>(rest + divisor) : rest;
    }
  }
  return fault;
}

void logical_not(const uint8_t* __restrict x, uint8_t* __restrict y, int64_t count) {
  for (int64_t i = 0; i < count; ++i) y[i] = x[i] == 0 ? 1 : 0;
}

template <class T>
void select(const uint8_t* __restrict condition, const void* yes, const void* no, void* result, int64_t count,
            bool a_moves, bool b_moves) {
  const T* __restrict a = static_cast<const T*>(yes);
  const T* __restrict b = static_cast<const T*>(no);
  T* __restrict y = static_cast<T*>(result);
  if (a_moves && b_moves) {
    for (int64_t i = 0; i < count; ++i) {
      const T x = a[i], z = b[i];
      y[i] = condition[i] != 0 ? x : z;
    }
  } else if (a_moves) {
    const T z = *b;
    for (int64_t i = 0; i < count; ++i) {
      const T x = a[i];
      y[i] = condition[i] != 0 ? x : z;
    }
  } else if (b_moves) {
    const T x = *a;
    for (int64_t i = 0; i < count; ++i) {
      const T z = b[i];
      y[i] = condition[i] != 0 ? x : z;
    }
  } else {
    const T x = *a, z = *b;
    for (int64_t i = 0; i < count; ++i) y[i] = condition[i] != 0 ? x : z;
  }
}

#define HUSSAR_ALL_TYPES(op)                                                                   \
  {                                                                                            \
    binary<BinaryOp::op, float>, binary<BinaryOp::op, int32_t>, binary<BinaryOp::op, int64_t>, \
        binary<BinaryOp::op, uint8_t>                                                          \
  }
#define HUSSAR_DIVISION(op, floats) \
  { floats, divide<BinaryOp::op, int32_t>, divide<BinaryOp::op, int64_t>, divide<BinaryOp::op, uint8_t> }
#define HUSSAR_INTEGERS(op) \
  { nullptr, binary<BinaryOp::op, int32_t>, binary<BinaryOp::op, int64_t>, binary<BinaryOp::op, uint8_t> }
#define HUSSAR_LOGIC(op) \
  { nullptr, nullptr, nullptr, binary<BinaryOp::op, uint8_t> }

}  // namespace

extern const ElementwiseTable elementwise_table = {
    {HUSSAR_ALL_TYPES(kAdd), HUSSAR_ALL_TYPES(kSub), HUSSAR_ALL_TYPES(kMul),
     HUSSAR_DIVISION(kDiv, (binary<BinaryOp::kDiv, float>)), HUSSAR_DIVISION(kMod, nullptr), HUSSAR_INTEGERS(kMin),
     HUSSAR_INTEGERS(kMax), HUSSAR_ALL_TYPES(kEqual), HUSSAR_ALL_TYPES(kLess), HUSSAR_ALL_TYPES(kLessOrEqual),
     HUSSAR_ALL_TYPES(kGreater), HUSSAR_ALL_TYPES(kGreaterOrEqual), HUSSAR_LOGIC(kAnd), HUSSAR_LOGIC(kOr),
     HUSSAR_LOGIC(kXor)},
    logical_not,
    {select<uint8_t>, select<uint16_t>, select<uint32_t>, select<uint64_t>}};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
