// The order in which the sparse tensor cores read weights.
#include "backends/cuda/sparse_weights.h"

namespace hussar::cuda {
namespace {

constexpr int64_t kWordDepth = 32, kLoadDepth = 256;  // of k, in a word and in the words of one load

// Where a column of the product lies among the packed rows.
int64_t row_of(int64_t column, int64_t group) {
  const int64_t width = group / 32;  // neighbours of a thread
  const int64_t within = column % group, thread = within / width, neighbour = within % width;
  return column - within + neighbour / 2 * 64 + thread / 8 * 16 + neighbour % 2 * 8 + thread % 8;
}

// The word for `row` and k from `depth` on: among the blocks of 64 rows, loads of 256 of k, threads, words of a load.
int64_t word_of(const SparseSizes& sizes, int64_t row, int64_t depth) {
  const int64_t loads = sizes.words * kWordDepth / kLoadDepth;
  const int64_t place = row % 64;
  const int64_t thread = place / 16 * 32 + place % 8 * 4 + depth / kWordDepth % 2 * 2 + place % 16 / 8;
  return ((row / 64 * loads + depth / kLoadDepth) * 128 + thread) * 4 + depth % kLoadDepth / 64;
}

}  // namespace

SparseSizes sparse_sizes(int64_t n, int64_t k, int64_t group) {
  if (group <= 0) return {};
  return {(n + group - 1) / group * group, k / 2, (k + kLoadDepth - 1) / kLoadDepth * kLoadDepth / kWordDepth};
}

Tensor pack_sparse(const Tensor& weights, int64_t group) {
  const int64_t k = weights.shape()[0], n = weights.shape()[1];
  const SparseSizes sizes = sparse_sizes(n, k, group);
  Tensor packed(DType::kInt8, {sizes.bytes()});
  std::memset(packed.raw(), 0, packed.bytes());
  const auto* from = weights.data<int8_t>();
  auto* values = packed.data<int8_t>();
  auto* words = reinterpret_cast<uint32_t*>(packed.raw() + sizes.value_bytes());
  // Two places must differ where there is nothing, too.
  std::fill_n(words, sizes.rows * sizes.words, 0x44444444U);
  for (int64_t column = 0; column < n; ++column) {
    const int64_t row = row_of(column, group);
    for (int64_t depth = 0; depth < k; depth += 4) {
      int places[2] = {0, 1}, count = 0;
      for (int i = 0; i < 4 && count < 2; ++i) {
        if (from[(depth + i) * n + column] != 0) places[count++] = i;
      }
      if (count == 1) places[1] = places[0] < 3 ? 3 : 2;
      if (count == 1 && places[0] == 3) std::swap(places[0], places[1]);
      const uint32_t bits = static_cast<uint32_t>(places[0] | places[1] << 2);
      uint32_t& word = words[word_of(sizes, row, depth)];
      const auto shift = static_cast<uint32_t>(depth % kWordDepth);
      word = (word & ~(0xFU << shift)) | bits << shift;
      for (int i = 0; i < 2; ++i) {
        values[row * sizes.row_bytes + depth / 2 + i] = from[(depth + places[i]) * n + column];
      }
    }
  }
  return packed;
}

Tensor unpack_sparse(const Tensor& packed, int64_t k, int64_t n, int64_t group) {
  const SparseSizes sizes = sparse_sizes(n, k, group);
  Tensor weights(DType::kInt8, {k, n});
  std::memset(weights.raw(), 0, weights.bytes());
  const auto* values = packed.data<int8_t>();
  const auto* words = reinterpret_cast<const uint32_t*>(packed.raw() + sizes.value_bytes());
  for (int64_t column = 0; column < n; ++column) {
    const int64_t row = row_of(column, group);
    for (int64_t depth = 0; depth < k; depth += 4) {
      const uint32_t bits = words[word_of(sizes, row, depth)] >> (depth % kWordDepth);
      for (int i = 0; i < 2; ++i) {
        const int8_t value = values[row * sizes.row_bytes + depth / 2 + i];
        if (value != 0) weights.data<int8_t>()[(depth + (bits >> (2 * i) & 3U)) * n + column] = value;
      }
    }
  }
  return weights;
}

}  // namespace hussar::cuda
