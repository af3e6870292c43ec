// Orders of output and input channels under which a pattern keeps more. The caller folds them into the layers around.
//
// An order says which old row or column comes to each place: new[i] = old[order[i]]. Results are the same every time.
#pragma once
#include <cstdint>
#include <vector>

#include "sparsify/pattern.h"

namespace hussar {

// Output channels that want the same columns come into one block. `scores` [n][k] as of importance() in prune_layer.h.
std::vector<int32_t> cluster_rows(const float* scores, int64_t n, int64_t k, const SparsityPattern& pattern);

// Input channels, k / taps of them: columns are (tap, channel), and every tap has the same order. k / taps must be a
// multiple of 4. within: channels stay in their block of so many consecutive ones, a multiple of 4; 0: they may go
// anywhere. Where the channels are clustered rows of the layer before, its blocks stay what they are.
std::vector<int32_t> permute_channels(const float* scores, int64_t n, int64_t k, int64_t taps,
                                      const SparsityPattern& pattern, int64_t within = 0);

// The order that a second one makes of a first.
std::vector<int32_t> compose(const std::vector<int32_t>& first, const std::vector<int32_t>& second);

// The order of k columns that an order of channels means.
std::vector<int32_t> column_order(const std::vector<int32_t>& channels, int64_t taps);

// matrix [n][k] with rows and columns in another order; an empty order leaves them.
std::vector<float> reorder(const float* matrix, int64_t n, int64_t k, const std::vector<int32_t>& columns,
                           const std::vector<int32_t>& rows);
// The other way: result[order[i]] = i.
std::vector<int32_t> inverse_order(const std::vector<int32_t>& order);

}  // namespace hussar
