// What kernels do that run device/product_hopper.cuh: tiles, their predicted times, parameters.
#pragma once
#include "backends/cuda/ampere_product.h"

namespace hussar::cuda {

// Whether the kernels run on this GPU and compute with these types.
Refusal check_hopper(const Problem& problem);

// What k is multiplied in blocks of.
inline constexpr int64_t kHopperBlockK = 64;

// Microseconds of a product of halves in its best tile.
double hopper_time(const DenseProduct& product);

// The other tiles; `least`: the time that the work takes in any.
std::vector<Configuration> hopper_configurations(const DenseProduct& product, double least);

// Compiles the kernel in its tile, which the node notes. `defines`: what the texts need beside the product's own;
// `more`: texts in front of it.
Status attach_hopper(Packing& packing, const DenseProduct& product, Defines defines,
                     std::initializer_list<std::string_view> more = {});
void forget_hopper(Node& node);

// WindowSteps of the device text, for rows of X that are windows.
struct WindowSteps {
  int32_t output[2], strides[2], pads[2], dilations[2];  // down, across
};

struct HopperLaunch {
  Launch launch;
  ProductSizes sizes;
  EpilogueState epilogue;
  TileMap w;
  int32_t x_rows;  // that one copy of X brings
};
Status prepare_hopper(const Prepare& prepare, const DenseProduct& product, HopperLaunch& launch);
// `x`: the map of the left matrix. `windows`: null where its rows lie in memory.
Status launch_hopper(const Run& run, const HopperLaunch& launch, TensorMap& x, WindowSteps* windows);

}  // namespace hussar::cuda
