// The sweep of SparseGPT and GPTQ: columns in order; the error that dropping or rounding one makes is passed on to
// those behind it.
#pragma once
#include <cstdint>

#include "sparsify/layer.h"
#include "sparsify/pattern.h"

namespace hussar {

// Changes weights [n][k] so that (weights - old)' H (weights - old) stays small. u: of factor_inverse(), of the damped
// H. Chooses the masks if `choose`, else follows them. scales: null, or of the rows: what is kept becomes a multiple.
void sweep(const Layer& layer, const float* u, bool choose, const float* scales, Masks& masks, float* weights);

// The whole multiple of a scale, at most 127 times it, that is nearest.
float on_grid(float weight, float scale);

}  // namespace hussar
