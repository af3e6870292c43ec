// LayerNormalization and RMSNormalization of rows.
//
// Defined before: INPUT_TYPE, OUTPUT_TYPE, SCALE_TYPE, BIAS_TYPE; CENTER, 1 where the mean is taken off; for results
// that are written as bytes, too, what `quantized` needs; BYTE_FACTORS, 1 where these are multiplied before; ROWS_OF_BYTES,
// 1 where every row of bytes has a scale of its own (row_bytes.cuh).
#pragma once

struct Normalize {
  long long rows, length;
  const INPUT_TYPE* input;
  OUTPUT_TYPE* output;  // null: not wanted
  const SCALE_TYPE* scale;
  const BIAS_TYPE* bias;            // null: there is none
  const float* factors;             // of bytes, by the place in the row
  float *mean, *inverse_deviation;  // null: not wanted
  void* bytes;
  float* row_scales;
  const int* needed;  // so many rows; null: all
  float epsilon, unused;
  ByteMeaning meaning;
};

extern "C" __global__ void __launch_bounds__(kRowThreads) normalize(const __grid_constant__ Normalize work) {
  begin_kernel();
  const float count = static_cast<float>(work.length);
  const long long step = static_cast<long long>(gridDim.x) * kRowsOfBlock;
  // Few enough to wait in registers are on their way together with the first row.
  constexpr bool kEarly = HOLD > 0 && HOLD * VECTOR <= 8;
  Row<SCALE_TYPE> scale{work.scale, work.length};
  Row<BIAS_TYPE> bias{work.bias, work.bias != nullptr ? work.length : 0};
  Row<float> factors{work.factors, BYTE_FACTORS ? work.length : 0};
  if (kEarly) {
    scale.visit_first([](long long, const float(&)[VECTOR]) {});
    bias.visit_first([](long long, const float(&)[VECTOR]) {});
    factors.visit_first([](long long, const float(&)[VECTOR]) {});
  }
  const long long rows = units_of_rows(work.rows, work.needed, 1);
  for (long long r = static_cast<long long>(blockIdx.x) * kRowsOfBlock + threadIdx.x / GROUP; r < rows; r += step) {
    Row<INPUT_TYPE> row{work.input + r * work.length, work.length};
    float sum = 0.0f, squares = 0.0f;
    row.visit_first([&](long long, const float(&x)[VECTOR]) {
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) sum += CENTER ? x[i] : x[i] * x[i];
    });
    sum = row_sum(sum) / count;
    const float mean = CENTER ? sum : 0.0f;
    // The distances from the mean, so that nothing cancels.
    if (CENTER) {
      row.visit_again([&](long long, const float(&x)[VECTOR]) {
#pragma unroll
        for (int i = 0; i < VECTOR; ++i) squares += (x[i] - mean) * (x[i] - mean);
      });
      squares = row_sum(squares) / count;
    } else {
      squares = sum;
    }
    const float inverse = 1.0f / sqrtf(squares + work.epsilon);
    int held = 0;  // which access, of those that are early
    const auto normalize_held = [&](long long at, float(&x)[VECTOR]) {
      if (!kEarly) load(work.scale + at, scale.held[0]);
      if (!kEarly && work.bias != nullptr) load(work.bias + at, bias.held[0]);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) {
        x[i] = (x[i] - mean) * inverse * scale.held[held][i];
        if (work.bias != nullptr) x[i] += bias.held[held][i];
      }
      if (kEarly) ++held;
    };
    const auto write = [&](long long at, const float(&y)[VECTOR]) {
      if (work.output != nullptr) store<VECTOR>(work.output + r * work.length + at, y);
    };
#if ROWS_OF_BYTES
    unsigned largest = 0;
    row.visit_again([&](long long at, float(&x)[VECTOR]) {
      normalize_held(at, x);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) largest = larger_magnitude(largest, x[i]);
    });
    const RowScale of_row = row_scale(largest);
    row.visit_again([&](long long at, float(&x)[VECTOR]) {
      if (HOLD == 0) normalize_held(at, x);
      write(at, x);
      store_row_bytes(static_cast<signed char*>(work.bytes) + r * work.length + at, x, of_row);
    });
    if (threadIdx.x % GROUP == 0) work.row_scales[r] = of_row.scale;
#else
    const auto multiply = [&](long long at, float(&y)[VECTOR]) {
      if (!kEarly) load(work.factors + at, factors.held[0]);
#pragma unroll
      for (int i = 0; i < VECTOR; ++i) y[i] *= factors.held[held][i];
      if (kEarly) ++held;
    };
    const auto write_bytes = [&](long long at, const float(&y)[VECTOR]) {
#if WRITES_BYTES
      store_results<VECTOR>(static_cast<quantized*>(work.bytes) + r * work.length + at, y, work.meaning);
#endif
    };
    if constexpr (HOLD == 0) {
      row.visit_again([&](long long at, float(&x)[VECTOR]) {
        normalize_held(at, x);
        write(at, x);
        if (BYTE_FACTORS) multiply(at, x);
        write_bytes(at, x);
      });
    } else {
      // One thing at a time for the whole row: what is loaded waits for no store.
      row.visit_again(normalize_held);
      row.visit_again(write);
      held = 0;
      if (BYTE_FACTORS) row.visit_again(multiply);
      row.visit_again(write_bytes);
    }
#endif
    if (threadIdx.x % GROUP != 0) continue;
    if (work.mean != nullptr) work.mean[r] = mean;
    if (work.inverse_deviation != nullptr) work.inverse_deviation[r] = inverse;
  }
}
