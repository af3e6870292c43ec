// cuda_conv_picture: convolutions of few channels, the first ones of networks, on tensor cores. Blocks of threads read
// the picture as the model has it, make blocks of pixels of it in shared memory, and multiply these
// (device/convolution_patch.cuh). Pictures of floats are read for filters of halves, too.
#include "backends/cuda/patch_product.h"
#include "backends/cuda/picture_blocks.h"
#include "backends/cuda/program_source.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr int64_t kUnitBytes = 32;

PatchWork work_of(const Convolution& conv, DType dtype) {
  const PictureBlocks blocks = blocks_of(conv, dtype, kUnitBytes);
  return {conv.batch,   conv.output[1], conv.output[2],
          conv.filters, blocks.block,   {blocks.taps_down, blocks.taps_across},
          {1, 1}};
}

Refusal check_form(const Convolution& conv, DType dtype) {
  if (Refusal refusal = check_blocks(conv, dtype, kUnitBytes)) return refusal;
  return check_patch_work(work_of(conv, dtype), dtype);
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_first_conv(problem)) return refusal;
  if (Refusal refusal = check_patch_input(problem, 1)) return refusal;
  if (Refusal refusal = check_picture_types(problem, check_ampere_types(problem))) return refusal;
  return check_form(*convolution(problem.node), problem.dtype(1));
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  return conv ? patch_time(work_of(*conv, problem.dtype(1)), problem.dtype(1), problem) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  const DType dtype = problem.dtype(1);
  return conv ? patch_configurations(work_of(*conv, dtype), dtype, problem) : std::vector<Configuration>();
}

Status pack(Packing& packing) {
  const Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  const DType dtype = node.inputs[1]->dtype;
  pack_blocks(packing, blocks_of(conv, dtype, kUnitBytes));
  Defines defines;
  defines.set("PICTURE_CHANNELS", conv.channels).set("PICTURE_STRIDE", conv.strides[1]);
  defines.set("PICTURE_TYPE", type_name(node.inputs[0]->dtype)).set("PATCH_TYPE", type_name(dtype));
  return attach_patches(packing, work_of(conv, dtype), std::move(defines));
}

Status unpack(Packing& packing) {
  forget_ampere(packing.node);
  return unpack_blocks(packing, kUnitBytes);
}

Status prepare(Prepare& prepare) {
  const Convolution conv = HUSSAR_TRY(convolution_of_blocks(prepare, kUnitBytes));
  const DType dtype = prepare.inputs[1].dtype;
  HUSSAR_CHECK(!check_form(conv, dtype), ErrorCode::kPlanIncompatible,
               "step '{}': its code is for other shapes; build the plan again", prepare.step.name);
  return prepare_patches(prepare, work_of(conv, dtype), conv);
}

}  // namespace

extern const Kernel cuda_conv_picture_kernel = {.name = "cuda_conv_picture",
                                                .place = Place::kDevice,
                                                .state_bytes = sizeof(PatchLaunch),
                                                .checks_shapes = true,
                                                .prepare = prepare,
                                                .run = run_patches};
extern const Tactic cuda_conv_picture_tactic = {.kernel = "cuda_conv_picture",
                                                .place = Place::kDevice,
                                                .supports = supports,
                                                .cost = cost,
                                                .configurations = configurations,
                                                .pack = pack,
                                                .unpack = unpack};

}  // namespace hussar
