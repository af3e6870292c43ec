// The size of packed matrices, and products as convolutions.
#include "backends/cpu/matrix_shape.h"

#include "backends/cpu/epilogue.h"
#include "base/error.h"

namespace hussar::cpu {

// More are no matrix's, and would overflow.
static constexpr int64_t kMostColumns = int64_t{1} << 40;

void remember_matrix_shape(Node& node, int64_t k, int64_t n) {
  node.attributes.set("hussar_k", k);
  node.attributes.set("hussar_n", n);
}

std::pair<int64_t, int64_t> recall_matrix_shape(Node& node) {
  const std::pair<int64_t, int64_t> shape{node.attributes.get_int("hussar_k", 0),
                                          node.attributes.get_int("hussar_n", 0)};
  node.attributes.erase("hussar_k");
  node.attributes.erase("hussar_n");
  return shape;
}

Status unpack_matrix(Packing& packing, Status (*pack)(Packing&), Decode decode, int probe_bits) {
  Attributes& attributes = packing.node.attributes;
  if (!attributes.has("hussar_k")) return {};
  const auto [k, n] = recall_matrix_shape(packing.node);
  const bool transposed = attributes.get_int("transB", 0) != 0;
  return unpack_permuted(packing, transposed ? Shape{n, k} : Shape{k, n}, pack, decode, probe_bits);
}

bool is_matrix_product(const Node& node) { return node.op == "MatMul" || node.op == "com.microsoft.FusedMatMul"; }

Refusal check_constant_matrix(const Problem& problem) {
  if (problem.dtype(0) != DType::kFloat32 || problem.dtype(1) != DType::kFloat32) return "dtype";
  if (!problem.is_constant(1) || problem.input(1)->constant->shape().rank() != 2) return "needs a constant matrix";
  if (problem.input(1)->constant->elements() == 0) return "empty";
  const Attributes& attributes = problem.node.attributes;
  for (const char* name : {"transA", "transBatchA", "transBatchB"}) {
    if (attributes.get_int(name, 0) != 0) return name;
  }
  if (attributes.get_float("alpha", 1.0F) != 1.0F) return "alpha";
  for (const Value* value : {problem.input(0), problem.output()}) {
    if (value->layout != Layout::kPlain) return "layout is not plain";
    if (value->rank() < 1) return "unknown rank";
  }
  return std::nullopt;
}

MatrixFacts matrix_facts(const Node& node) {
  const Tensor& b = *node.inputs[1]->constant;
  const bool transposed = node.attributes.get_int("transB", 0) != 0;
  const int64_t k = b.shape()[transposed ? 1 : 0], n = b.shape()[transposed ? 0 : 1];
  return {b.data<float>(), k, n, transposed ? 1 : n, transposed ? k : 1};
}

Status fill_matrix_geometry(const Prepare& prepare, DType weights, ConvArgs& args) {
  const Operand& a = prepare.inputs[0];
  const Operand& out = prepare.outputs[0];
  args.batch = 1;
  args.channels = prepare.step.attributes.get_int("hussar_k", 0);
  args.filters = prepare.step.attributes.get_int("hussar_n", 0);
  const bool typed = fit_product(a, out, weights) && prepare.inputs[1].dtype == weights && a.layout == Layout::kPlain &&
                     out.layout == Layout::kPlain;
  HUSSAR_CHECK(typed && args.channels >= 1 && args.filters >= 1 && args.filters <= kMostColumns && a.shape.rank() >= 1,
               ErrorCode::kPlanIncompatible, "step '{}': operands of the wrong type or layout", prepare.step.name);
  const int64_t rows = a.shape.elements() / args.channels;
  // By division: attributes may say anything.
  const bool fits = a.shape[a.shape.rank() - 1] == args.channels && out.shape.elements() % args.filters == 0 &&
                    out.shape.elements() / args.filters == rows;
  HUSSAR_CHECK(fits, ErrorCode::kUsage, "step '{}': {} cannot be multiplied by a {}x{} matrix", prepare.step.name,
               a.shape.to_string(), args.channels, args.filters);
  args.in[2] = args.out[2] = rows;
  args.input_pitch = args.channels;
  args.output_pitch = args.filters;
  return {};
}

}  // namespace hussar::cpu
