// cuda_matmul_simple: matrix products whose operands lie in any way, without tensor cores.
#include "backends/cuda/byte_product.h"
#include "backends/cuda/matrix_product.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/simple_product.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr const char* kOperands = R"(
struct Operands {
  const X_TYPE* x;
  const W_TYPE* w;
  long long x_row, x_depth, w_column, w_depth;
  long long loops[4], x_steps[4], w_steps[4];
  long long rows, y_pitch;
  const X_TYPE* x_zero;  // null: 0
  const W_TYPE* w_zero;
};
template <class T>
__device__ __forceinline__ SUM_TYPE less_zero_point(SUM_TYPE x, const T* zero) {
#if HAS_ZERO_POINTS
  return zero == nullptr ? x : x - read<SUM_TYPE>(*zero);
#else
  return x;
#endif
}
__device__ __forceinline__ long long batch_offset(const Operands& operands, const long long (&steps)[4], int z) {
  long long offset = 0, rest = z;
#pragma unroll
  for (int loop = 3; loop >= 0; --loop) {
    offset += rest % operands.loops[loop] * steps[loop];
    rest /= operands.loops[loop];
  }
  return offset;
}
__device__ __forceinline__ SUM_TYPE x_at(const Operands& operands, int z, long long row, long long i) {
  const SUM_TYPE x = read<SUM_TYPE>(operands.x[batch_offset(operands, operands.x_steps, z) + row * operands.x_row +
                                               i * operands.x_depth]);
  return ALPHA * less_zero_point(x, operands.x_zero);
}
__device__ __forceinline__ SUM_TYPE w_at(const Operands& operands, int z, long long column, long long i) {
  const SUM_TYPE w = read<SUM_TYPE>(operands.w[batch_offset(operands, operands.w_steps, z) +
                                               column * operands.w_column + i * operands.w_depth]);
  return less_zero_point(w, operands.w_zero);
}
__device__ __forceinline__ long long y_row(const Operands& operands, int z, long long row) {
  return z * operands.rows + row;
}
__device__ __forceinline__ long long y_column(const Operands&, int, long long column) { return column; }
)";

Refusal supports(const Problem& problem) { return check_matrix_product(problem); }

double cost(const Problem& problem) {
  auto product = matrix_product(problem.node.attributes, operand_of(*problem.input(0)), operand_of(*problem.input(1)),
                                operand_of(*problem.output()));
  if (!product) return 1e9;
  return memory_cost(problem) + simple_time(product->m, product->n, product->k, product->batch);
}

Status pack(Packing& packing) {
  Defines defines;
  const Node& node = packing.node;
  defines.set("HAS_ZERO_POINTS", node.op == kIntegerMatMul);
  if (is_byte_product(node.op) || node.op == kIntegerMatMul)
    defines.set("ALPHA", 1);
  else
    defines.set("ALPHA", literal(node.attributes.get_float("alpha", 1)));
  return attach_simple(packing, defines, kOperands);
}

struct State {
  SimpleLaunch launch;
  MatrixProduct product;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  state.product =
      HUSSAR_TRY(matrix_product(prepare.step.attributes, prepare.inputs[0], prepare.inputs[1], prepare.outputs[0]));
  const MatrixProduct& product = state.product;
  return prepare_simple(prepare, product.m, product.n, product.k, product.batch, state.launch);
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const MatrixProduct& product = state.product;
  Words operands;
  operands.put(run.inputs[0].data);
  operands.put(run.inputs[1].data);
  for (int64_t stride : {product.a_row, product.a_depth, product.b_column, product.b_depth}) operands.put(stride);
  for (const auto* list : {product.loops, product.a_steps, product.b_steps}) {
    for (int loop = 0; loop < kBatchLoops; ++loop) operands.put(list[loop]);
  }
  operands.put(product.m);
  operands.put(product.n);
  const bool has_zero_points = run.step.op == kIntegerMatMul;
  for (size_t i : {size_t{2}, size_t{3}})
    operands.put(has_zero_points && i < run.inputs.size() ? run.inputs[i].data : nullptr);
  return launch_simple(run, state.launch, operands);
}

}  // namespace

extern const Kernel cuda_matmul_simple_kernel = {.name = "cuda_matmul_simple",
                                                 .place = Place::kDevice,
                                                 .state_bytes = sizeof(State),
                                                 .prepare = prepare,
                                                 .run = run};
extern const Tactic cuda_matmul_simple_tactic = {.kernel = "cuda_matmul_simple",
                                                 .place = Place::kDevice,
                                                 .supports = supports,
                                                 .cost = cost,
                                                 .pack = pack,
                                                 .unpack = forget_simple};

}  // namespace hussar
