// Three passes over data that stays in the L1 cache: largest element, exponentials and their sum, scaling.
#include "backends/cpu/kernels/softmax/softmax.h"

#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

float largest_of(const float* x, int64_t length) {
  Vec first = set(-INFINITY), second = first;
  int64_t i = 0;
  // max_second keeps its second argument when the first is NaN; the NaN reaches the sum later.
  for (; i + 2 * kLanes <= length; i += 2 * kLanes) {
    first = max_second(load(x + i), first);
    second = max_second(load(x + i + kLanes), second);
  }
  for (; i + kLanes <= length; i += kLanes) first = max_second(load(x + i), first);
  float largest = max_lanes(max_second(first, second));
  for (; i < length; ++i) largest = x[i] > largest ? x[i] : largest;
  return largest;
}

void one_row(const float* x, float* y, int64_t length, bool log_of_it) {
  const float largest = largest_of(x, length);
  const Vec shift = set(largest);
  Vec sums = set(0.0f);
  int64_t i = 0;
  for (; i + kLanes <= length; i += kLanes) {
    const Vec e = exp(load(x + i) - shift);
    if (!log_of_it) store(y + i, e);
    sums = sums + e;
  }
  const int tail = static_cast<int>(length - i);
  float total = sum_lanes(sums);
  if (tail > 0) {
    alignas(64) float rest[kLanes];
    const Vec e = exp(load_n(x + i, tail) - shift);
    if (!log_of_it) store_n(y + i, e, tail);
    store(rest, e);
    for (int k = 0; k < tail; ++k) total += rest[k];
  }
  if (log_of_it) {
    const Vec less = set(largest + logf(total));
    for (i = 0; i + kLanes <= length; i += kLanes) store(y + i, load(x + i) - less);
    if (tail > 0) store_n(y + i, load_n(x + i, tail) - less, tail);
    return;
  }
  const Vec scale = set(1.0f / total);
  for (i = 0; i + kLanes <= length; i += kLanes) store(y + i, load(y + i) * scale);
  if (tail > 0) store_n(y + i, load_n(y + i, tail) * scale, tail);
}

void rows(const SoftmaxRows& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    one_row(args.input + row * args.input_pitch, args.output + row * args.output_pitch, args.length, args.log);
  }
}

// One vector of columns.
HUSSAR_INLINE void few_columns(const SoftmaxColumns& args, int64_t column, int count) {
  const float* x = args.input + column;
  float* y = args.output + column;
  Vec largest = set(-INFINITY);
  for (int64_t i = 0; i < args.length; ++i) largest = max_second(load_up_to(x + i * args.inner, count), largest);
  Vec sums = set(0.0f);
  for (int64_t i = 0; i < args.length; ++i) {
    const Vec e = exp(load_up_to(x + i * args.inner, count) - largest);
    if (!args.log) store_up_to(y + i * args.inner, e, count);
    sums = sums + e;
  }
  if (args.log) {
    const Vec less = largest + log(sums);
    for (int64_t i = 0; i < args.length; ++i) {
      store_up_to(y + i * args.inner, load_up_to(x + i * args.inner, count) - less, count);
    }
    return;
  }
  const Vec scale = set(1.0f) / sums;
  for (int64_t i = 0; i < args.length; ++i) {
    store_up_to(y + i * args.inner, load_up_to(y + i * args.inner, count) * scale, count);
  }
}

void columns(const SoftmaxColumns& args) {
  int64_t column = args.begin;
  for (; column + kLanes <= args.end; column += kLanes) few_columns(args, column, kLanes);
  if (column < args.end) few_columns(args, column, static_cast<int>(args.end - column));
}

}  // namespace

extern const SoftmaxTable softmax_table = {rows, columns};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
