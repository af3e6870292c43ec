// The threshold of least Kullback-Leibler divergence.
#pragma once
#include <span>

namespace hussar {

// magnitudes[i] counts elements whose magnitude lies in [i, i + 1); zeros are not among them. Gives the threshold in
// bins, the middle of one; 0 when there is nothing to choose from: fewer bins in use than levels, or fewer than two
// that are not empty.
//
// For every bin B, the elements beyond it count as in B, and the histogram up to B is compared with what 127 levels
// leave of it: of bins that share a level each non-empty one gets the same share of their count. The first bin is left
// out: what is nearly zero would decide alone. Levels are made of the elements that are not clipped, so that clipping
// shows as divergence.
double entropy_threshold(std::span<const double> magnitudes);

}  // namespace hussar
