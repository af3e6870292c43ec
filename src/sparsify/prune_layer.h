// prune_layer: the weights of one layer under a pattern, so that its outputs change little.
#pragma once
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "hussar/status.h"
#include "sparsify/moments.h"
#include "sparsify/pattern.h"

namespace hussar {

// How masks are chosen. All but magnitude need data.
enum class PruneMethod {
  kMagnitude,  // large weights stay
  kWanda,      // large |weight| times the norm of its input (Sun et al., 2023)
  kSparseGpt,  // column by column; what a weight did, the columns behind it take over (Frantar and Alistarh, 2023)
  kObc,        // the weight that costs least next, wherever it is (Frantar et al., 2022); for small k
};
Result<PruneMethod> parse_prune_method(std::string_view text);  // magnitude, wanda, sparsegpt, obc
std::string_view spell(PruneMethod method);

struct PruneOptions {
  SparsityPattern pattern;
  PruneMethod method = PruneMethod::kSparseGpt;
  // Kept weights become those whose outputs are nearest to the wanted ones. Without it those of magnitude and wanda
  // stay as they were.
  bool refit = true;
  // With refit: as long as it lowers the error, kept columns change places with dropped ones of their group. For k of
  // at most kMostSwapColumns, and where it does not take too long.
  bool swaps = false;
  // Kept weights are multiples of one scale per row, at most 127 times it.
  bool int8_grid = false;
  // Parts of the mean diagonal element of X' X: every input counts as if it had an independent part of this power, when
  // masks are chosen and when weights are refitted. Weights are drawn to the dense ones by it.
  double mask_damping = 0.01;
  double refit_damping = 0.001;
  // Results do not depend on it. 0: all that the process's pool has.
  int threads = 0;
  MatrixProduct product = plain_product();
};
constexpr int64_t kMostObcColumns = 1024;
constexpr int64_t kMostSwapColumns = 1024;

struct PrunedLayer {
  std::vector<float> weights;  // [n][k]; what is not kept is +0.0
  Masks masks;
  std::vector<float> scales;  // of the rows, with int8_grid: weights are whole multiples
  double kept_energy = 1;     // of the squares of the dense weights, in parts of all
  // Squared error of the outputs in parts of the squares of the wanted ones: as the method left the weights, and in the
  // end. Negative where no data were given.
  double error_before_refit = -1;
  double error = -1;
  // What to add to the layer's bias, for the means of its outputs to be those wanted. Empty without data.
  std::vector<float> bias_change;
  // What the caller may want to tell: "12 of 576 inputs are always 0", "damping raised to 0.1".
  std::vector<std::string> notes;
};

// `moments` may be null for magnitude, whose weights then stay as they were. Weights that are not finite, and k that is
// no multiple of 4, are refused.
Result<PrunedLayer> prune_layer(const float* weights, int64_t n, int64_t k, const LayerMoments* moments,
                                const PruneOptions& options);

// How much each weight matters by itself, beside the others: its square, times the mean square of its input where there
// are moments.
std::vector<float> importance(const float* weights, int64_t n, int64_t k, const LayerMoments* moments);

}  // namespace hussar
