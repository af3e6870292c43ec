// cuda_product_sparse: products of bytes with weights of which two of four are zero, on Hopper's sparse tensor cores.
#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/sparse_weights.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kMatrix = "hussar.QuantizedMatMul";

Refusal supports(const Problem& problem) {
  if (problem.node.op != kMatrix) return "op";
  if (!problem.target.no_sparsity.empty()) return std::string(problem.target.no_sparsity);
  if (Refusal refusal = check_dense_product(problem)) return refusal;
  if (Refusal refusal = check_hopper(problem)) return refusal;
  if (problem.dtype(1) != DType::kInt8) return "dtype";
  if (problem.input(1)->constant->shape()[0] % 32 != 0) return "k is no multiple of 32";
  return shared_columns(problem.node) > 0 ? Refusal() : Refusal(kNotTwoOfFour);
}

double cost(const Problem& problem) {
  auto product = dense_product(problem.node);
  if (!product) return 1e9;
  return std::max(sparse_memory_cost(problem), hopper_time(*product, {problem.dtype(0), product->k, true}));
}

std::vector<Configuration> configurations(const Problem& problem) {
  auto product = dense_product(problem.node);
  if (!product) return {};
  return hopper_configurations(problem.node, *product, {problem.dtype(0), product->k, true},
                               sparse_memory_cost(problem));
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const DenseProduct product = HUSSAR_TRY(dense_product(node));
  const int64_t group = hopper_sparse_group(node, product);
  node.attributes.set(kSparseGroup, group);
  make_table(packing);
  pack_sparse(packing, hopper_order(group));
  return attach_hopper(packing, product, {node.inputs[0]->dtype, product.k, true}, {});
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  const int64_t group = node.attributes.get_int(kSparseGroup, 0);
  HUSSAR_CHECK(group == 64 || group == 128, ErrorCode::kPlanIncompatible, "{}: its weights are not what they were",
               describe(node));
  forget_hopper(node);
  node.attributes.erase(kSparseGroup);
  HUSSAR_TRY(unpack_sparse(packing, hopper_order(group)));
  return forget_table(packing);
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  const int64_t group = step.attributes.get_int(kSparseGroup, 0);
  Operand w = prepare.inputs[1];
  const auto shape =
      group == 64 || group == 128 ? sparse_shape(step.op, step.attributes, w, hopper_order(group)) : std::nullopt;
  const bool fits = shape && (*shape)[0] % 32 == 0 && w.dtype == DType::kInt8 &&
                    prepare.inputs[0].dtype == DType::kUInt8 && step.op == kMatrix;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': malformed sparse weights", step.name);
  w.shape = *shape;
  const DenseProduct product =
      HUSSAR_TRY(dense_product(step.op, step.attributes, prepare.inputs[0], w, prepare.outputs[0]));
  return prepare_hopper_product(prepare, product, true);
}

}  // namespace

extern const Kernel cuda_product_sparse_kernel = {.name = "cuda_product_sparse",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(HopperProduct),
                                                  .checks_shapes = true,
                                                  .prepare = prepare,
                                                  .run = run_hopper_product};
extern const Tactic cuda_product_sparse_tactic = {.kernel = "cuda_product_sparse",
                                                  .place = Place::kDevice,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .configurations = configurations,
                                                  .pack = pack,
                                                  .unpack = unpack};

}  // namespace hussar
