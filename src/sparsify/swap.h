// Masks that are better than those of one pass over the columns.
#pragma once
#include <cstdint>

#include "sparsify/layer.h"
#include "sparsify/pattern.h"

namespace hussar {

// Kept columns change places with dropped ones of their group as long as that lowers the objective, for one block; its
// masks are replaced if it is found lower in the end. Gives the number of changes.
int64_t swap_columns(const Layer& layer, double damping, int64_t block, Masks& masks);
double swap_cost(const Masks& masks);
constexpr int kMostSwapPasses = 4;

}  // namespace hussar
