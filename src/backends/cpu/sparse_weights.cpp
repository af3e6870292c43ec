#include "backends/cpu/sparse_weights.h"

#include <algorithm>
#include <cstring>

#include "backends/cpu/half_packing.h"
#include "backends/cpu/int8_packing.h"
#include "backends/cpu/panels.h"
#include "tensor/convert.h"

namespace hussar::cpu {
namespace {

// The k that kept weight `index` (0 or 1) of a group has.
int64_t kept_k(uint8_t places, int64_t group, int index) { return group * kSparseGroup + (places >> (2 * index) & 3); }

// Of kept byte i: its group of four k, and where its place lies in the index.
struct KeptByte {
  int64_t group, at;
};
KeptByte kept_byte(int64_t i, int64_t k) {
  const int64_t paired = int8_sparse_depth(k) - int8_sparse_tail(k) / 2;
  if (i < paired) return {(i / 64 * 2 + i % 16 / 8) * 16 + i % 64 / 16 * 4 + i % 8 / 2, i};
  // The lonely chunk's are the first eight of every 16.
  const int64_t rest = i - paired;
  return {paired / 2 + rest / 2, paired + rest / 8 * 16 + rest % 8};
}

// The same of the first byte of kept element i, where elements have `size` bytes.
KeptByte kept_element(int64_t i, int64_t k, int64_t size) {
  const KeptByte byte = kept_byte(i * size, k * size);
  return {byte.group / size, byte.at};
}

// The k of every kept weight of a block, in the order of the packed form; k itself where there is none.
std::vector<int64_t> chunk_order(const uint8_t* places, int64_t k, int64_t size) {
  std::vector<int64_t> order(static_cast<size_t>(int8_sparse_depth(k * size) / size));
  for (size_t i = 0; i < order.size(); ++i) {
    const int64_t group = kept_element(static_cast<int64_t>(i), k, size).group;
    // The second chunk of the last pair may end within it.
    order[i] = group < k / kSparseGroup ? kept_k(places[group], group, static_cast<int>(i % 2)) : k;
  }
  return order;
}

std::vector<int64_t> float_order(const uint8_t* places, int64_t k) {
  std::vector<int64_t> order(static_cast<size_t>(float_sparse_depth(k)));
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = kept_k(places[i / 2], static_cast<int64_t>(i / 2), static_cast<int>(i % 2));
  }
  return order;
}

// Rows `order` of the columns [first, first + columns); k and more: zeros.
template <class Number>
std::vector<Number> kept_weights(const MatrixView<const Number>& weights, const std::vector<int64_t>& order,
                                 int64_t first, int64_t columns) {
  std::vector<Number> kept(order.size() * static_cast<size_t>(columns));
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] >= weights.k) continue;
    const Number* const row = weights.row(order[i]);
    for (int64_t column = 0; column < columns; ++column) {
      kept[i * static_cast<size_t>(columns) + static_cast<size_t>(column)] =
          row[(first + column) * weights.column_stride];
    }
  }
  return kept;
}

// The inverse, of what kept_weights gives.
template <class Number>
void put_back(const std::vector<Number>& kept, const std::vector<int64_t>& order, int64_t first, int64_t columns,
              const MatrixView<Number>& weights) {
  for (size_t i = 0; i < order.size(); ++i) {
    if (order[i] >= weights.k) continue;
    Number* const row = weights.row(order[i]);
    for (int64_t column = 0; column < columns; ++column) {
      row[(first + column) * weights.column_stride] =
          kept[i * static_cast<size_t>(columns) + static_cast<size_t>(column)];
    }
  }
}

// visit(block, first column, columns)
template <class Visit>
void for_blocks(int64_t n, int64_t panels, Visit visit) {
  const int64_t width = panels * kSparseColumns;
  for (int64_t first = 0; first < n; first += width) visit(first / width, first, std::min(width, n - first));
}

// The places of all groups of a block whose index is packed. An index of a plan may hold anything.
std::vector<uint8_t> read_places(int64_t k, int64_t depth, auto place_at) {
  std::vector<uint8_t> places(static_cast<size_t>(k / kSparseGroup));
  for (int64_t i = 0; i < depth; ++i) {
    const auto [group, place] = place_at(i);
    if (group < k / kSparseGroup) places[static_cast<size_t>(group)] |= static_cast<uint8_t>(place << i % 2 * 2);
  }
  return places;
}

}  // namespace

void pack_int8_sparse(const MatrixView<const int8_t>& weights, const SharedMask& mask, int8_t* out) {
  const int64_t k = weights.k, depth = int8_sparse_depth(k);
  for_blocks(weights.n, mask.panels, [&](int64_t block, int64_t first, int64_t columns) {
    const std::vector<int64_t> order = chunk_order(mask.places.data() + block * k / kSparseGroup, k, 1);
    int8_t* const target = out + block * int8_sparse_block_bytes(k, mask.panels);
    std::memset(target, 0, static_cast<size_t>(int8_sparse_index_bytes(k)));
    for (int64_t i = 0; i < depth; ++i) {
      target[kept_byte(i, k).at] = static_cast<int8_t>(order[static_cast<size_t>(i)] % 16);
    }
    pack_int8_weights(kept_weights(weights, order, first, columns).data(), depth, columns, columns, 1,
                      target + int8_sparse_index_bytes(k));
  });
}

void unpack_int8_sparse(const int8_t* packed, int64_t panels, const MatrixView<int8_t>& weights) {
  const int64_t k = weights.k, depth = int8_sparse_depth(k);
  for_blocks(weights.n, panels, [&](int64_t block, int64_t first, int64_t columns) {
    const int8_t* const source = packed + block * int8_sparse_block_bytes(k, panels);
    const std::vector<uint8_t> places = read_places(k, depth, [&](int64_t i) {
      const KeptByte byte = kept_byte(i, k);
      return std::pair(byte.group, source[byte.at] & 3);
    });
    std::vector<int8_t> kept(static_cast<size_t>(depth * columns));
    unpack_int8_weights(source + int8_sparse_index_bytes(k), depth, columns, columns, 1, kept.data());
    put_back(kept, chunk_order(places.data(), k, 1), first, columns, weights);
  });
}

void pack_float_sparse(const MatrixView<const float>& weights, const SharedMask& mask, float* out) {
  const int64_t k = weights.k, depth = float_sparse_depth(k);
  for_blocks(weights.n, mask.panels, [&](int64_t block, int64_t first, int64_t columns) {
    const std::vector<int64_t> order = float_order(mask.places.data() + block * k / kSparseGroup, k);
    float* const target = out + block * float_sparse_block_floats(k, mask.panels);
    std::vector<uint8_t> index(static_cast<size_t>(float_sparse_index_bytes(k)));
    for (size_t i = 0; i < order.size(); ++i) index[i] = static_cast<uint8_t>(order[i] % 16);
    std::memcpy(target, index.data(), index.size());
    pack_panels(kept_weights(weights, order, first, columns).data(), depth, columns, columns, 1,
                target + index.size() / 4);
  });
}

void unpack_float_sparse(const float* packed, int64_t panels, const MatrixView<float>& weights) {
  const int64_t k = weights.k, depth = float_sparse_depth(k);
  for_blocks(weights.n, panels, [&](int64_t block, int64_t first, int64_t columns) {
    const float* const source = packed + block * float_sparse_block_floats(k, panels);
    const auto* const index = reinterpret_cast<const uint8_t*>(source);
    const std::vector<uint8_t> places =
        read_places(k, depth, [&](int64_t i) { return std::pair(i / 2, index[i] & 3); });
    std::vector<float> kept(static_cast<size_t>(depth * columns));
    for (int64_t i = 0; i < depth * columns; ++i) {
      const int64_t row = i / columns, column = i % columns;
      const int64_t panel = float_sparse_index_bytes(k) / 4 + column / kSparseColumns * depth * kSparseColumns;
      kept[static_cast<size_t>(i)] = source[panel + row * kSparseColumns + column % kSparseColumns];
    }
    put_back(kept, float_order(places.data(), k), first, columns, weights);
  });
}

void pack_half_sparse(const MatrixView<const float>& weights, const SharedMask& mask, uint16_t* out) {
  const int64_t k = weights.k, depth = half_sparse_depth(k);
  for_blocks(weights.n, mask.panels, [&](int64_t block, int64_t first, int64_t columns) {
    const std::vector<int64_t> order = chunk_order(mask.places.data() + block * k / kSparseGroup, k, 2);
    uint16_t* const target = out + block * half_sparse_block_elements(k, mask.panels);
    auto* const index = reinterpret_cast<uint8_t*>(target);
    std::fill_n(target, half_sparse_index_elements(k), uint16_t{0});
    for (int64_t i = 0; i < depth; ++i) {
      uint8_t* const bytes = index + kept_element(i, k, 2).at;
      const int64_t from = order[static_cast<size_t>(i)];
      bytes[0] = from < k ? static_cast<uint8_t>(from % 8 * 2) : kNoByte;
      bytes[1] = from < k ? static_cast<uint8_t>(from % 8 * 2 + 1) : kNoByte;
    }
    pack_half_weights(kept_weights(weights, order, first, columns).data(), depth, columns, columns, 1,
                      target + half_sparse_index_elements(k));
  });
}

void unpack_half_sparse(const uint16_t* packed, int64_t panels, const MatrixView<float>& weights) {
  const int64_t k = weights.k, depth = half_sparse_depth(k);
  for_blocks(weights.n, panels, [&](int64_t block, int64_t first, int64_t columns) {
    const uint16_t* const source = packed + block * half_sparse_block_elements(k, panels);
    const auto* const index = reinterpret_cast<const uint8_t*>(source);
    const std::vector<uint8_t> places = read_places(k, depth, [&](int64_t i) {
      const KeptByte element = kept_element(i, k, 2);
      return std::pair(element.group, index[element.at] / 2 & 3);
    });
    std::vector<float> kept(static_cast<size_t>(depth * columns));
    unpack_half_weights(source + half_sparse_index_elements(k), depth, columns, kept.data());
    put_back(kept, chunk_order(places.data(), k, 2), first, columns, weights);
  });
}

}  // namespace hussar::cpu
