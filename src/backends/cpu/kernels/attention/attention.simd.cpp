// Softmax without its division: the rows of the output are scaled instead, which are shorter than those of the scores.
#include "backends/cpu/kernels/attention/attention.h"

#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

int lanes_left(int64_t i, int64_t count) { return count - i < kLanes ? static_cast<int>(count - i) : kLanes; }

// Scales and masks one row in place; gives its largest element.
float prepare_row(const AttentionScores& args, float* x, int64_t row, int64_t count) {
  const Vec scale = set(args.scale);
  Vec largest = set(-INFINITY);
  const float* mask = args.mask == nullptr ? nullptr : args.mask + row * args.mask_row_stride;
  const Vec one_mask = set(mask != nullptr && args.mask_column_stride == 0 ? *mask : 0.0f);
  const bool reads_mask = mask != nullptr && args.mask_column_stride != 0;
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    const Vec value = fma(load(x + i), scale, reads_mask ? load(mask + i) : one_mask);
    store(x + i, value);
    largest = max_second(value, largest);
  }
  float result = max_lanes(largest);
  if (i < count) {
    const int n = static_cast<int>(count - i);
    store_n(x + i, fma(load_n(x + i, n), scale, reads_mask ? load_n(mask + i, n) : one_mask), n);
    for (; i < count; ++i) result = x[i] > result ? x[i] : result;
  }
  return result;
}

void exponentials(const AttentionScores& args) {
  for (int64_t row = 0; row < args.rows; ++row) {
    float* x = args.scores + row * args.pitch;
    int64_t count = args.first_limit + row;
    count = count < 0 ? 0 : count > args.columns ? args.columns : count;
    const float largest = prepare_row(args, x, row, count);
    // A query whose keys are all hidden gives zeros, not 0 / 0.
    const Vec shift = set(largest == -INFINITY ? 0.0f : largest);
    Vec sums = set(0.0f);
    int64_t i = 0;
    for (; i + kLanes <= count; i += kLanes) {
      const Vec e = exp(load(x + i) - shift);
      store(x + i, e);
      sums = sums + e;
    }
    float total = sum_lanes(sums);
    if (i < count) {
      const int n = static_cast<int>(count - i);
      store_n(x + i, exp(load_n(x + i, n) - shift), n);
      for (; i < count; ++i) total += x[i];
    }
    for (; i < args.columns; ++i) x[i] = 0.0f;
    args.inverse_sums[row] = total == 0.0f ? 0.0f : 1.0f / total;
  }
}

void scale_rows(float* y, int64_t pitch, int64_t rows, int64_t columns, const float* factors) {
  for (int64_t row = 0; row < rows; ++row, y += pitch) {
    const Vec factor = set(factors[row]);
    for (int64_t c = 0; c < columns; c += kLanes) {
      const int n = lanes_left(c, columns);
      store_up_to(y + c, load_up_to(y + c, n) * factor, n);
    }
  }
}

template <int kCount>
HUSSAR_INLINE void few_dots(const float* matrix, int64_t pitch, const float* x, float* y, int64_t length) {
  Vec sums[kCount];
  for (int r = 0; r < kCount; ++r) sums[r] = set(0.0f);
  for (int64_t k = 0; k < length; k += kLanes) {
    const int n = lanes_left(k, length);
    const Vec value = load_up_to(x + k, n);
    for (int r = 0; r < kCount; ++r) sums[r] = fma(load_up_to(matrix + r * pitch + k, n), value, sums[r]);
  }
  for (int r = 0; r < kCount; ++r) y[r] = sum_lanes(sums[r]);
}

void dot_rows(const float* matrix, int64_t pitch, const float* x, float* y, int64_t rows, int64_t length) {
  int64_t row = 0;
  for (; row + 8 <= rows; row += 8) few_dots<8>(matrix + row * pitch, pitch, x, y + row, length);
  for (; row < rows; ++row) few_dots<1>(matrix + row * pitch, pitch, x, y + row, length);
}

// kVectors vectors of columns, over all rows; the last vector has `last` lanes.
template <int kVectors>
HUSSAR_INLINE void sum_block(const float* matrix, int64_t pitch, const float* weights, float factor, float* y,
                             int64_t rows, int last) {
  Vec even[kVectors], odd[kVectors];
  for (int v = 0; v < kVectors; ++v) even[v] = odd[v] = set(0.0f);
  auto add = [&](Vec(&sums)[kVectors], int64_t row) {
    const Vec weight = set(weights[row]);
    const float* from = matrix + row * pitch;
    for (int v = 0; v < kVectors; ++v) {
      const Vec value = v + 1 < kVectors ? load(from + v * kLanes) : load_up_to(from + v * kLanes, last);
      sums[v] = fma(value, weight, sums[v]);
    }
  };
  int64_t row = 0;
  for (; row + 2 <= rows; row += 2) {
    add(even, row);
    add(odd, row + 1);
  }
  if (row < rows) add(even, row);
  const Vec scale = set(factor);
  for (int v = 0; v < kVectors; ++v) {
    const Vec total = (even[v] + odd[v]) * scale;
    if (v + 1 < kVectors) {
      store(y + v * kLanes, total);
    } else {
      store_up_to(y + v * kLanes, total, last);
    }
  }
}

void sum_rows(const float* matrix, int64_t pitch, const float* weights, float factor, float* y, int64_t rows,
              int64_t columns) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= columns; c += 4 * kLanes)
    sum_block<4>(matrix + c, pitch, weights, factor, y + c, rows, kLanes);
  for (; c < columns; c += kLanes)
    sum_block<1>(matrix + c, pitch, weights, factor, y + c, rows, lanes_left(c, columns));
}

}  // namespace

extern const AttentionTable attention_table = {exponentials, scale_rows, dot_rows, sum_rows};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
