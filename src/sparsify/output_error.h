// How far the outputs of a layer are from what is wanted, by its moments alone.
#pragma once
#include <vector>

#include "sparsify/layer.h"

namespace hussar {

// |X W' - Y|^2 / |Y|^2 for weights [n][k]; 0 where Y is 0.
double output_error(const Layer& layer, const float* weights);

// X' Y - H W', [k][n]: what the outputs of the weights lack.
std::vector<float> lacking(const Layer& layer, const float* weights);

}  // namespace hussar
