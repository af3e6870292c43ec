// round_weights: weights of INT8 products rounded for the outputs on the data, not each for itself.
#pragma once
#include <functional>
#include <vector>

#include "compile/calibration_data.h"
#include "quantize/calibration.h"
#include "runtime/session.h"

namespace hussar {

// Runs that the rows come from: products that read one row of each need many.
inline constexpr int64_t kRoundingSamples = 128;

// Fills ProductCalibration::flips for the ranges and smoothings that were decided. The graph is the one that the
// session's plan was frozen from. The runs are repeated for as many products at a time as have 128 MB of rows.
Status round_weights(const Graph& graph, Session& session, const std::vector<DataRun>& runs, Calibration& calibration,
                     const std::function<void(double fraction)>& progress);

}  // namespace hussar
