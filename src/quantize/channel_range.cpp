// Columns of a matrix, some of them in registers while all rows pass.
#include "quantize/channel_range.h"

#include <algorithm>
#include <limits>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace hussar {
namespace {

// Some columns of rows that lie `stride` elements apart.
struct Columns {
  const float* values;
  size_t rows, stride, count;
};

void widen_anywhere(const Columns& columns, float* min, float* max) {
  for (size_t row = 0; row < columns.rows; ++row) {
    const float* values = columns.values + row * columns.stride;
    for (size_t i = 0; i < columns.count; ++i) {
      min[i] = std::min(min[i], values[i]);
      max[i] = std::max(max[i], values[i]);
    }
  }
}

#ifdef __x86_64__
template <int kVectors>
__attribute__((target("avx2"), always_inline)) inline void widen_vectors(const Columns& columns, size_t first,
                                                                         float* min, float* max) {
  __m256 least[kVectors], greatest[kVectors];
  for (int k = 0; k < kVectors; ++k) {
    least[k] = _mm256_loadu_ps(min + first + 8 * k);
    greatest[k] = _mm256_loadu_ps(max + first + 8 * k);
  }
  const float* values = columns.values + first;
  for (size_t row = 0; row < columns.rows; ++row, values += columns.stride) {
    for (int k = 0; k < kVectors; ++k) {
      const __m256 value = _mm256_loadu_ps(values + 8 * k);
      least[k] = _mm256_min_ps(value, least[k]);
      greatest[k] = _mm256_max_ps(value, greatest[k]);
    }
  }
  for (int k = 0; k < kVectors; ++k) {
    _mm256_storeu_ps(min + first + 8 * k, least[k]);
    _mm256_storeu_ps(max + first + 8 * k, greatest[k]);
  }
}

__attribute__((target("avx2"))) void widen_avx2(const Columns& columns, float* min, float* max) {
  size_t at = 0;
  for (; at + 32 <= columns.count; at += 32) widen_vectors<4>(columns, at, min, max);
  for (; at + 16 <= columns.count; at += 16) widen_vectors<2>(columns, at, min, max);
  for (; at + 8 <= columns.count; at += 8) widen_vectors<1>(columns, at, min, max);
  widen_anywhere({columns.values + at, columns.rows, columns.stride, columns.count - at}, min + at, max + at);
}

const auto kWiden = __builtin_cpu_supports("avx2") != 0 ? widen_avx2 : widen_anywhere;
#else
const auto kWiden = widen_anywhere;
#endif

}  // namespace

void ChannelRange::add(std::span<const float> values, int64_t first, int64_t channels) {
  if (min.empty()) {
    min.assign(static_cast<size_t>(channels), std::numeric_limits<float>::infinity());
    max.assign(static_cast<size_t>(channels), -std::numeric_limits<float>::infinity());
  }
  const size_t width = min.size();
  if (width == 0) return;
  auto widen = [&](size_t rows, size_t channel, size_t count) {
    kWiden({values.data(), rows, width, count}, min.data() + channel, max.data() + channel);
    values = values.subspan(rows > 1 ? rows * width : count);
  };
  // The end of a row, whole rows, the beginning of one.
  const size_t channel = static_cast<size_t>(first) % width;
  if (channel > 0) widen(1, channel, std::min(width - channel, values.size()));
  if (values.size() >= width) widen(values.size() / width, 0, width);
  if (!values.empty()) widen(1, 0, values.size());
  // -0 becomes 0.
  for (float& value : min) value += 0.0F;
  for (float& value : max) value += 0.0F;
}

void ChannelRange::merge(const ChannelRange& other) {
  if (min.empty()) *this = other;
  // Those of a model that does not fix the number of channels may differ.
  const size_t count = std::min(min.size(), other.min.size());
  for (size_t i = 0; i < count; ++i) {
    min[i] = std::min(min[i], other.min[i]);
    max[i] = std::max(max[i], other.max[i]);
  }
}

}  // namespace hussar
