// cuda_conv_patch: convolutions of few channels and filters on tensor cores. Blocks keep all weights, and bring what
// the windows of a tile share once (device/convolution_patch.cuh).
#include "backends/cuda/byte_product.h"
#include "backends/cuda/patch_product.h"

namespace hussar {
namespace {

using namespace cuda;

PatchWork work_of(const Convolution& conv) {
  return {conv.batch,
          conv.output[1],
          conv.output[2],
          conv.filters,
          conv.channels,
          {conv.kernel[1], conv.kernel[2]},
          {conv.strides[1], conv.strides[2]}};
}

Refusal check_form(const Convolution& conv, DType dtype) {
  if (conv.input[0] != 1 || conv.kernel[0] != 1) return "three dimensions";
  if (conv.dilations[1] != 1 || conv.dilations[2] != 1) return "dilation";
  return check_patch_work(work_of(conv), dtype);
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_window_product(problem)) return refusal;
  if (Refusal refusal = check_ampere_types(problem)) return refusal;
  if (Refusal refusal = check_patch_input(problem, 0)) return refusal;
  auto conv = convolution(problem.node);
  return conv ? check_form(*conv, problem.dtype(0)) : Refusal("shapes");
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  return conv ? patch_time(work_of(*conv), problem.dtype(0), problem) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto conv = convolution(problem.node);
  return conv ? patch_configurations(work_of(*conv), problem.dtype(0), problem) : std::vector<Configuration>();
}

Status pack(Packing& packing) {
  const Convolution conv = HUSSAR_TRY(convolution(packing.node));
  make_table(packing);
  HUSSAR_TRY(turn_filter(packing));
  return attach_patches(packing, work_of(conv), {});
}

Status unpack(Packing& packing) {
  forget_ampere(packing.node);
  return turn_filter_back(packing);
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1].shape, prepare.outputs[0]));
  HUSSAR_CHECK(!check_form(conv, prepare.inputs[0].dtype), ErrorCode::kPlanIncompatible,
               "step '{}': its code is for other shapes; build the plan again", step.name);
  return prepare_patches(prepare, work_of(conv), conv);
}

}  // namespace

extern const Kernel cuda_conv_patch_kernel = {.name = "cuda_conv_patch",
                                              .place = Place::kDevice,
                                              .state_bytes = sizeof(PatchLaunch),
                                              .prepare = prepare,
                                              .run = run_patches};
extern const Tactic cuda_conv_patch_tactic = {.kernel = "cuda_conv_patch",
                                              .place = Place::kDevice,
                                              .supports = supports,
                                              .cost = cost,
                                              .configurations = configurations,
                                              .pack = pack,
                                              .unpack = unpack};

}  // namespace hussar
