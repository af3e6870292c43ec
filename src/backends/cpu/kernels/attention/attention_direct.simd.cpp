// A few queries: keys and values are read once, as they are.
#include "backends/cpu/kernels/attention/attention_parts.h"
#include "backends/cpu/kernels/attention/attention_rows.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

int lanes_left(int64_t i, int64_t count) { return count - i < kLanes ? static_cast<int>(count - i) : kLanes; }

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

// y[j] = row j . x of contiguous rows.
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

// y[c] = factor * sum of weights[j] * matrix[j][c].
void sum_rows(const float* matrix, int64_t pitch, const float* weights, float factor, float* y, int64_t rows,
              int64_t columns) {
  int64_t c = 0;
  for (; c + 4 * kLanes <= columns; c += 4 * kLanes)
    sum_block<4>(matrix + c, pitch, weights, factor, y + c, rows, kLanes);
  for (; c < columns; c += kLanes)
    sum_block<1>(matrix + c, pitch, weights, factor, y + c, rows, lanes_left(c, columns));
}

}  // namespace

void attend_directly(const AttendArgs& args, float* scratch) {
  float* const scores = scratch;
  float* const query = scratch + round_to_panel(args.key_count);
  const ScoreRules& rules = args.rules;
  for (int64_t row = 0; row < args.rows; ++row) {
    const int64_t limit = rules.first_limit + row;
    const int64_t visible = limit < 0 ? 0 : limit < args.key_count ? limit : args.key_count;
    for (int64_t i = 0; i < args.dim; ++i) query[i] = args.query[row * args.query_stride + i] * args.scale;
    if (args.key_column_stride == 1) {
      dot_rows(args.keys, args.key_stride, query, scores, visible, args.dim);
    } else {
      sum_rows(args.keys, args.key_column_stride, query, 1.0f, scores, args.dim, visible);
    }
    const float* mask = rules.mask == nullptr ? nullptr : rules.mask + row * rules.mask_row_stride;
    const float largest = prepare_row(rules, mask, scores, visible);
    const float shift = largest == -INFINITY ? 0.0f : largest;
    const float total = exponentials_of_row(scores, shift, round_to_panel(visible), scores, 16);
    sum_rows(args.values, args.value_stride, scores, total == 0.0f ? 0.0f : 1.0f / total,
             args.output + row * args.output_stride, visible, args.value_dim);
  }
}

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
