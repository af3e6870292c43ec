// What kernels do that run device/convolution_patch.cuh: tiles, their predicted times, parameters.
#pragma once
#include "backends/cuda/ampere_product.h"
#include "backends/cuda/windows.h"

namespace hussar::cuda {

// A convolution of what patches hold: entries of `channels` elements, pixels or blocks of them.
struct PatchWork {
  int64_t batch, rows, columns, filters;  // of the result
  int64_t channels;
  int64_t kernel[2], strides[2];
  int64_t k() const { return channels * kernel[0] * kernel[1]; }
};

// What of the work is for other kernels.
Refusal check_patch_work(const PatchWork& work, DType dtype);
// Whether there are tensor cores for the factors.
Refusal check_patch_input(const Problem& problem, size_t factors);

// Microseconds in the best tile, and in others. `dtype`: of the factors.
double patch_time(const PatchWork& work, DType dtype, const Problem& problem);
std::vector<Configuration> patch_configurations(const PatchWork& work, DType dtype, const Problem& problem);

// Chooses a tile, or takes that of the node's configuration, notes it in the node, and attaches the code. `defines` has
// what the kernel knows more.
Status attach_patches(Packing& packing, const PatchWork& work, Defines defines);

// Patches of device/convolution_patch.cuh.
struct Patches {
  PictureSteps steps;
  int32_t height, width, rows, columns, row_pad, column_pad, tiles, tiles_down, tiles_across;
};
// The state of these kernels.
struct PatchLaunch {
  Launch launch;
  ProductSizes sizes;
  Patches patches;
  EpilogueState epilogue;
};
// `conv`: the convolution that the work is.
Status prepare_patches(Prepare& prepare, const PatchWork& work, const Convolution& conv);
Status run_patches(const Run& run);

}  // namespace hussar::cuda
