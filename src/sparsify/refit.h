// The weights of given masks that make a layer's outputs what is wanted, as far as such weights can.
#pragma once
#include <cstdint>
#include <vector>

#include "sparsify/layer.h"
#include "sparsify/pattern.h"

namespace hussar {

// What solving one system of every block takes, in multiply-adds.
double refit_cost(const Masks& masks);

// Solves the equations of one block exactly. values: the weights of its rows, [row][kept column]. `gain`: by how much
// they lower the objective from that of no weights at all. Gives false where the equations are singular.
bool solve_block(const Layer& layer, const Masks& masks, int64_t block, double damping, std::vector<double>& values,
                 double& gain);

// All blocks; weights [n][k] are replaced.
bool refit_exactly(const Layer& layer, const Masks& masks, double damping, float* weights);

// Conjugate gradients, all rows at a time, from the weights given on. They end when they lower the objective by no more
// than a small part of it, or after kMostSteps; every step lowers it.
void refit_by_gradients(const Layer& layer, const Masks& masks, double damping, float* weights);
constexpr int kMostSteps = 40;

}  // namespace hussar
