// What kernels do that run device/product_hopper.cuh: tiles, their predicted times, parameters.
#pragma once
#include "backends/cuda/ampere_product.h"

namespace hussar::cuda {

// Whether the kernels run on this GPU and compute with these types.
Refusal check_hopper(const Problem& problem);

// Microseconds of a product of halves in its best tile.
double hopper_time(const DenseProduct& product);

// Compiles the kernel in its best tile, which the node notes. `defines`: what the text needs beside the product's own.
Status attach_hopper(Packing& packing, const DenseProduct& product, Defines defines);
void forget_hopper(Node& node);

struct HopperLaunch {
  Launch launch;
  ProductSizes sizes;
  EpilogueState epilogue;
  TileMap w;
  int32_t x_rows;  // that one copy of X brings
};
Status prepare_hopper(const Prepare& prepare, const DenseProduct& product, HopperLaunch& launch);
// `x`: the map of the left matrix. `windows`: WindowSteps of the device text, or null.
Status launch_hopper(const Run& run, const HopperLaunch& launch, TensorMap& x, void* windows);

}  // namespace hussar::cuda
