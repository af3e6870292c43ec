// order_channels: puts the channels between products into orders under which a pattern keeps more.
#pragma once
#include <vector>

#include "compile/prunable.h"
#include "compile/prune_walk.h"

namespace hussar {

// `layers`: those that will be pruned. Without data weights alone tell what is important. Gives how many chains were
// reordered; the model computes the same as before.
Result<int64_t> order_channels(PrunableModel& model, const std::vector<size_t>& layers, const PruneData* data,
                               const PruneOptions& options);

}  // namespace hussar
