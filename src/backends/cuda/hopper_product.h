// What kernels do that run device/product_hopper.cuh: tiles, their predicted times, parameters.
#pragma once
#include "backends/cuda/ampere_product.h"

namespace hussar::cuda {

// Whether the kernels run on this GPU and may compute with these types: halves, BF16, bytes, and floats as TF32.
Refusal check_hopper(const Problem& problem);

// What is multiplied: elements of a type, `depth` of which lie behind each other in rows of X and W (all of k, or the
// channels of a tap), by weights of which two of four may be zero.
struct HopperOperands {
  DType dtype;
  int64_t depth;
  bool sparse = false;
  int64_t second_depth = 0;     // of a second product that is added; 0: there is none
  bool second_windows = false;  // whose rows of X are windows

  // Of what is multiplied at a time: PRODUCT_ROW_BYTES of device/product_hopper.cuh.
  int64_t row_bytes() const {
    return !sparse && std::max(depth, second_depth) * static_cast<int64_t>(dtype_size(dtype)) <= 64 ? 64 : 128;
  }
  int64_t block_k() const { return row_bytes() / static_cast<int64_t>(dtype_size(dtype)); }
  // k as it is multiplied, for rows of `parts` times the depth.
  int64_t whole_k(int64_t parts) const { return whole(depth) * parts; }
  int64_t whole_second_k() const { return whole(second_depth); }
  // Scales of the second product's bytes are others: its sums are kept apart.
  bool has_sums_apart() const { return second_depth > 0 && dtype_size(dtype) == 1; }

 private:
  int64_t whole(int64_t k) const { return (k + block_k() - 1) / block_k() * block_k(); }
};

// That the copy engine of a multiprocessor takes for one block of k of a window. Of an H200: 64 channels of halves and
// of bytes, 3 x 3, took that long for a pixel and tap; fewer no less.
inline constexpr double kWindowMicroseconds = 3.1e-3;

// Microseconds of a product in its best tile.
double hopper_time(const DenseProduct& product, const HopperOperands& operands);

// Microseconds of the sums of one tile of these sides, which is among those of products.
double hopper_sums(int64_t rows, int64_t columns, int64_t k, const HopperOperands& operands);

// The other tiles; `least`: the time that the work takes in any.
std::vector<Configuration> hopper_configurations(const Node& node, const DenseProduct& product,
                                                 const HopperOperands& operands, double least);

// Compiles the kernel in its tile, which the node notes. `defines`: what the texts need beside the product's own;
// `more`: texts in front of it.
Status attach_hopper(Packing& packing, const DenseProduct& product, const HopperOperands& operands, Defines defines,
                     std::initializer_list<std::string_view> more = {});
void forget_hopper(Node& node);

// `pack` and `unpack` of sparse products, and the weights of a step with the shape that they had.
Status pack_hopper_sparse(Packing& packing, const DenseProduct& product, Defines defines);
Status unpack_hopper_sparse(Packing& packing);
Result<Operand> hopper_sparse_weights(const Prepare& prepare);

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
  int row_bytes;
  int32_t x_rows;      // that one copy of X brings
  int64_t places;      // where they begin behind sparse weights, in bytes; 0: weights are dense
  int32_t near_input;  // of the step, that is brought near; 0: none
  TileMap near;
  int32_t second_input;  // of the step, the filters of the second product; 0: there is none
  TileMap second_w;
};
Status prepare_hopper(const Prepare& prepare, const DenseProduct& product, const HopperOperands& operands,
                      HopperLaunch& launch);
// The map of dense weights, n rows of k elements one behind the other, for copies of `rows` of them. Of block_k
// elements.
TileMap hopper_weights(DType dtype, int64_t n, int64_t k, int64_t rows, int64_t block_k);
// The map of a left matrix whose rows lie in memory.
TileMap hopper_rows(const DenseProduct& product, DType dtype, const HopperLaunch& launch);
// `x`: the map of the left matrix, `second_x`: of that of a second product. `windows`: null where rows of both lie in
// memory.
Status launch_hopper(const Run& run, const HopperLaunch& launch, TensorMap& x, WindowSteps* windows,
                     TensorMap* second_x = nullptr);

// The state of kernels whose rows of X lie in memory, and what they do with it.
struct HopperProduct {
  HopperLaunch launch;
  TileMap x;
};
Status prepare_hopper_product(Prepare& prepare, const DenseProduct& product, bool sparse);
Status run_hopper_product(const Run& run);

}  // namespace hussar::cuda
