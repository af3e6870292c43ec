// Products of a row-major matrix with one vector, and the cells.
#include "backends/cpu/kernels/recurrent/recurrent.h"

#include "backends/cpu/simd/math.h"

namespace hussar::cpu::HUSSAR_ISA_NAMESPACE {
namespace {

constexpr int kRows = 8;

int lanes_left(int64_t i, int64_t count) { return count - i < kLanes ? static_cast<int>(count - i) : kLanes; }

// kCount rows together, so that x is loaded once for all and their sums do not wait for one another.
template <int kCount>
HUSSAR_INLINE void few_rows(const float* matrix, const float* x, const float* start, float* out, int64_t length) {
  Vec sums[kCount];
  for (int r = 0; r < kCount; ++r) sums[r] = set(0.0f);
  int64_t k = 0;
  for (; k + kLanes <= length; k += kLanes) {
    const Vec value = load(x + k);
    for (int r = 0; r < kCount; ++r) sums[r] = fma(load(matrix + r * length + k), value, sums[r]);
  }
  if (k < length) {
    const int n = static_cast<int>(length - k);
    const Vec value = load_n(x + k, n);
    for (int r = 0; r < kCount; ++r) sums[r] = fma(load_n(matrix + r * length + k, n), value, sums[r]);
  }
  for (int r = 0; r < kCount; ++r) out[r] = start[r] + sum_lanes(sums[r]);
}

void multiply(const float* matrix, const float* x, const float* start, float* out, int64_t rows, int64_t length) {
  int64_t row = 0;
  for (; row + kRows <= rows; row += kRows) {
    few_rows<kRows>(matrix + row * length, x, start + row, out + row, length);
  }
  for (; row < rows; ++row) few_rows<1>(matrix + row * length, x, start + row, out + row, length);
}

void lstm_cell(const float* gates, float* c, float* h, int64_t hidden) {
  for (int64_t j = 0; j < hidden; j += kLanes) {
    const int n = lanes_left(j, hidden);
    const Vec input = sigmoid(load_up_to(gates + j, n));
    const Vec output = sigmoid(load_up_to(gates + hidden + j, n));
    const Vec forget = sigmoid(load_up_to(gates + 2 * hidden + j, n));
    const Vec candidate = tanh(load_up_to(gates + 3 * hidden + j, n));
    const Vec next = fma(forget, load_up_to(c + j, n), input * candidate);
    store_up_to(c + j, next, n);
    store_up_to(h + j, output * tanh(next), n);
  }
}

void gru_gates(float* gates, const float* h, float* reset_h, int64_t hidden) {
  for (int64_t j = 0; j < hidden; j += kLanes) {
    const int n = lanes_left(j, hidden);
    const Vec reset = sigmoid(load_up_to(gates + hidden + j, n));
    store_up_to(gates + j, sigmoid(load_up_to(gates + j, n)), n);
    store_up_to(gates + hidden + j, reset, n);
    store_up_to(reset_h + j, reset * load_up_to(h + j, n), n);
  }
}

void gru_cell(const float* update, const float* input, const float* scale, const float* recurrent, float* h,
              int64_t hidden) {
  for (int64_t j = 0; j < hidden; j += kLanes) {
    const int n = lanes_left(j, hidden);
    Vec own = load_up_to(recurrent + j, n);
    if (scale != nullptr) own = own * load_up_to(scale + j, n);
    const Vec candidate = tanh(load_up_to(input + j, n) + own);
    const Vec keep = load_up_to(update + j, n);
    store_up_to(h + j, fma(keep, load_up_to(h + j, n) - candidate, candidate), n);
  }
}

}  // namespace

extern const RecurrentTable recurrent_table = {multiply, lstm_cell, gru_gates, gru_cell};

}  // namespace hussar::cpu::HUSSAR_ISA_NAMESPACE
