// matmul_amx: FP32 MatMul with a constant right side on the matrix unit, from split bfloat16.
#include "backends/cpu/conv_shape.h"
#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/amx/matrix_product.h"
#include "backends/cpu/matrix_packing.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/matrix_steps.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  if (node.op != "MatMul" && node.op != "com.microsoft.FusedMatMul") return "op";
  if (auto refusal = check_matrix_unit(problem)) return refusal;
  if (problem.dtype(0) != DType::kFloat32 || problem.dtype(1) != DType::kFloat32) return "dtype";
  if (!problem.is_constant(1) || problem.input(1)->constant->shape().rank() != 2) return "needs a constant matrix";
  if (problem.input(1)->constant->elements() == 0) return "empty";
  const Attributes& attributes = node.attributes;
  for (const char* name : {"transA", "transBatchA", "transBatchB"}) {
    if (attributes.get_int(name, 0) != 0) return name;
  }
  if (attributes.get_float("alpha", 1.0F) != 1.0F) return "alpha";
  for (const Value* value : {problem.input(0), problem.output()}) {
    if (value->layout != Layout::kPlain) return "layout is not plain";
    if (value->rank() < 1) return "unknown rank";
  }
  return check_epilogue(problem);
}

bool is_transposed(const Node& node) { return node.attributes.get_int("transB", 0) != 0; }

double cost(const Problem& problem) {
  const Shape& b = problem.input(1)->constant->shape();
  const int64_t k = b[is_transposed(problem.node) ? 1 : 0], n = b[is_transposed(problem.node) ? 0 : 1];
  const double rows = Problem::elements(problem.output()) / static_cast<double>(n);
  return matrix_microseconds(problem, rows, static_cast<double>(matrix_channels(k)),
                             static_cast<double>(panel_count(n) * 16));
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Tensor& b = *node.inputs[1]->constant;
  const bool transposed = is_transposed(node);
  const int64_t k = b.shape()[transposed ? 1 : 0], n = b.shape()[transposed ? 0 : 1];
  Tensor packed(DType::kBFloat16, {matrix_weight_elements(1, k, n)});
  pack_matrix_weights(b.data<float>(), 1, k, n, transposed ? 1 : n, transposed ? k : 1, packed.data<uint16_t>());
  remember_matrix_shape(node, k, n);
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_matrix(packing, pack, decode_matrix_weights); }

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<MatrixState>();
  state = MatrixState{};
  ConvArgs& conv = state.args.conv;
  const Operand& a = prepare.inputs[0];
  const Operand& out = prepare.outputs[0];
  conv.batch = 1;
  conv.channels = prepare.step.attributes.get_int("hussar_k", 0);
  conv.filters = prepare.step.attributes.get_int("hussar_n", 0);
  const bool typed = a.dtype == DType::kFloat32 && prepare.inputs[1].dtype == DType::kBFloat16 &&
                     out.dtype == DType::kFloat32 && a.layout == Layout::kPlain && out.layout == Layout::kPlain;
  HUSSAR_CHECK(typed && conv.channels >= 1 && conv.filters >= 1 && a.shape.rank() >= 1, ErrorCode::kPlanIncompatible,
               "step '{}': operands of the wrong type or layout", prepare.step.name);
  HUSSAR_TRY(
      check_packed_weights(prepare, {matrix_channels(conv.channels), panel_count(conv.filters) * kPanelColumns, 2}));
  const int64_t rows = a.shape.elements() / conv.channels;
  HUSSAR_CHECK(a.shape[a.shape.rank() - 1] == conv.channels && out.shape.elements() == rows * conv.filters,
               ErrorCode::kUsage, "step '{}': {} cannot be multiplied by a {}x{} matrix", prepare.step.name,
               a.shape.to_string(), conv.channels, conv.filters);
  conv.in[2] = conv.out[2] = rows;
  conv.input_pitch = conv.channels;
  conv.output_pitch = conv.filters;
  return prepare_matrix_product(prepare, -1, state);
}

}  // namespace

extern const Kernel matmul_amx_kernel = {.name = "matmul_amx",
                                         .state_bytes = sizeof(MatrixState),
                                         .checks_shapes = true,
                                         .prepare = prepare,
                                         .run = run_matrix_step};
extern const Tactic matmul_amx_tactic = {
    .kernel = "matmul_amx", .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
