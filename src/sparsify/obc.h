// The masks of Optimal Brain Compression: always the weight goes whose loss costs least, those left making good what
// they can.
#pragma once
#include <vector>

#include "sparsify/layer.h"
#include "sparsify/pattern.h"

namespace hussar {

// inverse [k][k]: of H with the damping on its diagonal. weights [n][k]: those that would be best if none had to go.
Masks obc_masks(const Layer& layer, const SparsityPattern& pattern, double damping, const float* inverse,
                const float* weights);

}  // namespace hussar
