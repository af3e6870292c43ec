// What kernels do that run device/product_ampere.cuh: tiles, their predicted times, parameters.
#pragma once
#include "backends/cuda/dense_product.h"

namespace hussar::cuda {

struct AmpereTile {
  std::string_view name;  // as a configuration
  int rows, columns, warps_m, warps_n, stages;
  double rate;  // the share of the peak that a full wave of them reaches, about
};

// What the products of operands of this type are made of. In the order of device/product_contract.cuh.
enum class ProductInput { kFp16, kTf32, kFp32, kInt8, kFp8, kBf16 };
ProductInput product_input(DType dtype, const Target& target);
// What mma.sync (FP32: multiply-adds) does of them in a microsecond on one of the largest GPUs, at most, about.
double peak_flops(ProductInput input);
// Of these GPUs; what is more or less shifts the best tile a little.
inline constexpr int kUsualMultiprocessors = 132;
// Defines it and the type of the results for the text.
void define_types(const Node& node, ProductInput input, Defines& defines);
// The same, with what the code needs to know of results, and notes TF32 in the node.
void define_input(Node& node, ProductInput input, Defines& defines);

// Microseconds of the product that the problem is, in its best tile. `sparse`, here and below: two of four weights are
// zero, and lie in ampere_order of sparse_weights.h.
double ampere_time(const DenseProduct& product, const Problem& problem, bool sparse = false);

// The other tiles for sparse weights. A product that is not multiplied takes `least`, and `factor` times what the tile
// takes comes on top.
std::vector<Configuration> ampere_configurations(const DenseProduct& product, const Problem& problem, double least,
                                                 double factor = 1);

// Chooses a tile, or takes that of the node's configuration, notes it in the node, and defines what the text needs but
// for the epilogue.
void define_ampere(Node& node, const DenseProduct& product, const Target& target, Defines& defines,
                   bool sparse = false);
void forget_ampere(Node& node);

// ProductProblem of device/product_contract.cuh.
struct ProductSizes {
  int64_t x_pitch, w_pitch, y_pitch, x_stride, w_stride, y_stride;
  int32_t m, n, k, batch;
};
ProductSizes sizes_of(const DenseProduct& product);

struct AmpereLaunch {
  Launch launch;
  ProductSizes sizes;
  EpilogueState epilogue;
};
// What `supports` asked of sparse weights that it can no longer see.
Status check_alignment(const PlanStep& step, const DenseProduct& product);
Status prepare_ampere(const Prepare& prepare, const DenseProduct& product, AmpereLaunch& launch, bool sparse = false);
// `x`: the left matrix. `windows`: the Windows of device/convolution_rows.cuh, or null.
Status launch_ampere(const Run& run, const AmpereLaunch& launch, const std::byte* x, void* windows);

// Offsets of results in a tile of up to 256 rows have 31 bits.
inline constexpr int64_t kMostPitch = int64_t{1} << 23;

// Whether the kernels compute with these types.
Refusal check_ampere_types(const Problem& problem);
// Whether they compute with these types and weights of which two of four are zero, and the weights are so: what they
// are not comes before `of_shapes`, which the shapes are refused with.
Refusal check_sparse(const Problem& problem, const Refusal& of_shapes);
// The same for the kernels of device/product_ampere.cuh.
Refusal check_ampere_sparse(const Problem& problem, const Refusal& of_shapes);

}  // namespace hussar::cuda
