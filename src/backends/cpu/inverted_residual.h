// Inverted residuals: an expansion, a depthwise convolution and a projection (each but the second optional) in one
// step, channels-last, with FP32 between them. What lies between them never leaves the caches of the thread that
// computes it. The expansion and the projection multiply in FP32 or in BF16 (kernels/bfloat), as their weights say.
#pragma once
#include <cmath>

#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/depthwise/depthwise.h"
#include "tactics/tactic.h"

namespace hussar::cpu {

// Floats from pixel to pixel of an inner tensor: whole cache lines, and an odd number of them, so that neighbouring
// pixels lie in different sets of the L1 cache.
inline int64_t inner_pitch(int64_t channels) { return (panel_count(channels) | 1) * kPanelColumns; }

// What is applied to the sums of an inner convolution.
struct InnerActivation {
  float low = -INFINITY, high = INFINITY;
  bool hard_swish = false;
  bool runs_program = false;
  Program program = {};
};

struct InvertedResidualState {
  DType multiplies_in;  // kFloat32 or kBFloat16: the expansion and the projection
  bool expands, projects, by_channels, expand_is_product;
  ConvArgs expand;
  DepthwiseArgs depthwise;  // behind an expansion: of the expanded image with its padding around it
  int64_t top, left;        // padding of the expanded image in memory
  int64_t filters;          // of the projection
  int64_t output_pitch;
  InnerActivation expand_activation, depthwise_activation;
  EpilogueState epilogue;  // of the last convolution
  int64_t band_floats;     // kBandFloats, or what the plan names
  int64_t band;            // output rows
  int shares, project_shares;
  // In floats: of the expanded rows, the convolved rows, and the tile kernels' scratch.
  int64_t expanded_floats, convolved_floats, tile_floats;

  int64_t share_floats() const { return expanded_floats + convolved_floats + tile_floats; }
  int64_t pitch() const { return inner_pitch(depthwise.channels); }
};

// `type`: kFloat32 or kBFloat16.
Refusal check_inverted_residual(const Problem& problem);
double inverted_residual_cost(const Problem& problem, DType type);
std::vector<Configuration> inverted_residual_configurations(const Problem& problem, double usual);
Status pack_inverted_residual(Packing& packing, DType type);
Status unpack_inverted_residual(Packing& packing, DType type);
Status prepare_inverted_residual(Prepare& prepare, DType type);
Status run_inverted_residual(const Run& run);

}  // namespace hussar::cpu
