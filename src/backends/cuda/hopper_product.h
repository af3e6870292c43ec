// What kernels do that run device/product_hopper.cuh: tiles, their predicted times, parameters.
#pragma once
#include "backends/cuda/ampere_product.h"

namespace hussar::cuda {

// Whether the kernels run on this GPU and may compute with these types: halves, bytes, and floats as TF32.
Refusal check_hopper(const Problem& problem);

// What k is multiplied in blocks of.
inline int64_t hopper_block_k(DType dtype) { return 128 / static_cast<int64_t>(dtype_size(dtype)); }

// What is multiplied: elements of a type, by weights of which two of four may be zero.
struct HopperOperands {
  DType dtype;
  bool sparse = false;
};

// Microseconds of a product in its best tile.
double hopper_time(const DenseProduct& product, const HopperOperands& operands);

// The other tiles; `least`: the time that the work takes in any.
std::vector<Configuration> hopper_configurations(const DenseProduct& product, const HopperOperands& operands,
                                                 double least);

// The columns that a warpgroup has of the node's tile for sparse weights: kGroupN of device/product_hopper.cuh.
int64_t hopper_sparse_group(const Node& node, const DenseProduct& product);

// Compiles the kernel in its tile, which the node notes. `defines`: what the texts need beside the product's own;
// `more`: texts in front of it.
Status attach_hopper(Packing& packing, const DenseProduct& product, bool sparse, Defines defines,
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
  uint32_t block_k;  // elements
  int32_t x_rows;    // that one copy of X brings
  int64_t places;    // where they begin behind sparse weights, in bytes; 0: weights are dense
};
Status prepare_hopper(const Prepare& prepare, const DenseProduct& product, bool sparse, HopperLaunch& launch);
// `x`: the map of the left matrix. `windows`: null where its rows lie in memory.
Status launch_hopper(const Run& run, const HopperLaunch& launch, TensorMap& x, WindowSteps* windows);

// The state of kernels whose rows of X lie in memory, and what they do with it.
struct HopperProduct {
  HopperLaunch launch;
  TileMap x;
};
Status prepare_hopper_product(Prepare& prepare, const DenseProduct& product, bool sparse);
Status run_hopper_product(const Run& run);

}  // namespace hussar::cuda
