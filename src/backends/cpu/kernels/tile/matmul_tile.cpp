// matmul_tile: FP32 MatMul (and com.microsoft.FusedMatMul). A constant 2-D right side is packed when the plan is built;
// any other right side is packed at run time, or read where it lies when the left side has few rows.
#include <cmath>

#include "backends/cpu/epilogue.h"
#include "backends/cpu/kernels/tile/tile.h"
#include "backends/cpu/kernels/tile/tile_limits.h"
#include "backends/cpu/matrix_shape.h"
#include "backends/cpu/work_cuts.h"
#include "base/error.h"

namespace hussar {
namespace {

using namespace cpu;

constexpr int kMaxBatchDims = kMaxRank - 2;

// One side of the product as matrices: element (row, column) of matrix i is at offset(i) + row * row_stride + ...
struct Side {
  int64_t rows, columns, row_stride, column_stride;
  int64_t batch_strides[kMaxBatchDims];  // over the batch dims of the output; 0 where broadcast
};

struct State {
  int64_t m, n, k, batch;
  int batch_dims;
  int64_t batch_shape[kMaxBatchDims];
  Side a, b;
  bool b_is_packed;
  bool few_rows;  // B stays as it is
  bool uniform;   // consecutive matrices of the batch lie at one stride on both sides
  float alpha;
  EpilogueState epilogue;
  WorkCut cut;
  int shares;
  int64_t scratch_per_share, packed_floats;
};

constexpr int64_t kMostColumns = int64_t{1} << 40;

bool is_matmul(const Node& node) { return node.op == "MatMul" || node.op == "com.microsoft.FusedMatMul"; }

Refusal supports(const Problem& problem) {
  if (!is_matmul(problem.node)) return "op";
  if (problem.dtype(0) != DType::kFloat32 || problem.dtype(1) != DType::kFloat32) return "dtype";
  const Attributes& attributes = problem.node.attributes;
  if (attributes.get_int("transBatchA", 0) != 0 || attributes.get_int("transBatchB", 0) != 0) return "transBatch";
  if (attributes.get_float("alpha", 1.0F) != 1.0F && problem.node.program) return "alpha under a fused program";
  for (const Value* value : {problem.input(0), problem.input(1), problem.output()}) {
    if (value->layout != Layout::kPlain) return "layout is not plain";
  }
  if (problem.input(0)->rank() < 1 || problem.input(1)->rank() < 1) return "unknown rank";
  return check_epilogue(problem);
}

double cost(const Problem& problem) {
  double k = 64;
  const Value* a = problem.input(0);
  if (a->dims && !a->dims->empty() && a->dims->back().is_constant()) k = static_cast<double>(a->dims->back().value());
  double flops = 2 * Problem::elements(problem.output()) * k;
  double bytes = 4 * (Problem::elements(problem.input(0)) + Problem::elements(problem.input(1)));
  return std::max(flops / 8e4, bytes / 1e4) / problem.target.threads + 1;
}

// Symbolic dimensions count as 64.
std::vector<Configuration> configurations(const Problem& problem) {
  auto size_of = [](const Value* value, int from_the_end) {
    const int rank = value->rank();
    if (rank < from_the_end) return int64_t{1};
    const Dim& dim = (*value->dims)[static_cast<size_t>(rank - from_the_end)];
    return dim.is_constant() ? std::max<int64_t>(dim.value(), 1) : int64_t{64};
  };
  const Attributes& attributes = problem.node.attributes;
  const int64_t k = size_of(problem.input(0), attributes.get_int("transA", 0) != 0 ? 2 : 1);
  const bool shared = problem.input(1)->rank() == 2;
  const int64_t n =
      shared ? size_of(problem.input(1), attributes.get_int("transB", 0) != 0 ? 2 : 1) : size_of(problem.output(), 1);
  const auto total = static_cast<int64_t>(Problem::elements(problem.output()));
  const int64_t rows = shared ? std::max<int64_t>(total / n, 1) : size_of(problem.output(), 2);
  const ProductSize size = {std::max<int64_t>(total / (rows * n), 1), rows,        panel_count(n), k,
                            float_tile_rows(problem.target.isa),      kBlockFloats};
  const double flops = 2.0 * static_cast<double>(total) * static_cast<double>(k);
  return cut_configurations(size, share_count(flops, problem.target.threads), cost(problem));
}

bool packs_at_build(const Node& node) {
  const Value* b = node.input(1);
  return b->is_constant() && b->constant->shape().rank() == 2;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  if (!packs_at_build(node)) return {};
  const Tensor& b = *node.inputs[1]->constant;
  bool transposed = node.attributes.get_int("transB", 0) != 0;
  int64_t k = b.shape()[transposed ? 1 : 0], n = b.shape()[transposed ? 0 : 1];
  Tensor packed(DType::kFloat32, {panel_floats(k, n)});
  pack_panels(b.data<float>(), k, n, transposed ? 1 : n, transposed ? k : 1, packed.data<float>());
  remember_matrix_shape(node, k, n);
  packing.replace(1, std::move(packed));
  return {};
}

Status unpack(Packing& packing) { return unpack_matrix(packing, pack); }

Side side_of(const Shape& shape, bool transposed, bool is_left) {
  Side side{};
  int rank = shape.rank();
  // A vector on the left is a row, on the right a column.
  side.rows = rank == 1 ? (is_left ? 1 : shape[0]) : shape[rank - 2];
  side.columns = rank == 1 ? (is_left ? shape[0] : 1) : shape[rank - 1];
  side.row_stride = rank == 1 && !is_left ? 1 : side.columns;
  side.column_stride = 1;
  if (transposed && rank >= 2) {
    std::swap(side.rows, side.columns);
    std::swap(side.row_stride, side.column_stride);
  }
  return side;
}

void set_batch_strides(const Shape& shape, State& state, Side& side) {
  int own = std::max(shape.rank() - 2, 0);
  int64_t stride = shape.rank() >= 2 ? side.rows * side.columns : 0;
  for (int axis = own - 1; axis >= 0; --axis) {
    side.batch_strides[state.batch_dims - own + axis] = shape[axis] == 1 ? 0 : stride;
    stride *= shape[axis];
  }
}

bool is_uniform(const State& state, const Side& side) {
  // Strides that shrink as in a dense array, or are all zero, let one number describe the batch.
  int64_t expected = -1;
  for (int axis = state.batch_dims - 1; axis >= 0; --axis) {
    if (state.batch_shape[axis] == 1) continue;
    if (expected >= 0 && side.batch_strides[axis] != expected) return false;
    expected = side.batch_strides[axis] * state.batch_shape[axis];
  }
  return true;
}

int64_t uniform_stride(const State& state, const Side& side) {
  for (int axis = state.batch_dims - 1; axis >= 0; --axis) {
    if (state.batch_shape[axis] != 1) return side.batch_strides[axis];
  }
  return 0;
}

Status prepare(Prepare& prepare) {
  auto& state = prepare.state_as<State>();
  state = State{};
  const Attributes& attributes = prepare.step.attributes;
  const Shape& a = prepare.inputs[0].shape;
  state.a = side_of(a, attributes.get_int("transA", 0) != 0, true);
  state.b_is_packed = attributes.has("hussar_k");
  state.alpha = attributes.get_float("alpha", 1.0F);
  const Shape& out = prepare.outputs[0].shape;
  int vectors = (a.rank() == 1 ? 1 : 0) + (!state.b_is_packed && prepare.inputs[1].shape.rank() == 1 ? 1 : 0);
  state.batch_dims = std::max(out.rank() - 2 + vectors, 0);
  for (int axis = 0; axis < state.batch_dims; ++axis) state.batch_shape[axis] = out[axis];
  set_batch_strides(a, state, state.a);
  if (state.b_is_packed) {
    state.b.rows = attributes.get_int("hussar_k", 0);
    state.b.columns = attributes.get_int("hussar_n", 0);
  } else {
    state.b = side_of(prepare.inputs[1].shape, attributes.get_int("transB", 0) != 0, false);
    set_batch_strides(prepare.inputs[1].shape, state, state.b);
  }
  state.m = state.a.rows;
  state.k = state.a.columns;
  state.n = state.b.columns;
  state.batch = 1;
  for (int axis = 0; axis < state.batch_dims; ++axis) state.batch *= state.batch_shape[axis];
  // Attributes may say anything: nothing is multiplied by them before this.
  int64_t total = state.batch, packed = state.k;
  bool is_sane = state.b.rows == state.k && state.n >= 0 && state.n <= kMostColumns &&
                 !__builtin_mul_overflow(total, state.m, &total) && !__builtin_mul_overflow(total, state.n, &total) &&
                 !__builtin_mul_overflow(packed, panel_floats(1, state.n), &packed);
  bool is_float = prepare.inputs[0].dtype == DType::kFloat32 && prepare.inputs[1].dtype == DType::kFloat32 &&
                  prepare.outputs[0].dtype == DType::kFloat32 && prepare.inputs[0].layout == Layout::kPlain &&
                  prepare.outputs[0].layout == Layout::kPlain;
  HUSSAR_CHECK(is_float, ErrorCode::kPlanIncompatible, "step '{}': operands of the wrong type or layout",
               prepare.step.name);
  bool fits =
      is_sane && out.elements() == total && (!state.b_is_packed || prepare.inputs[1].shape.elements() >= packed);
  HUSSAR_CHECK(fits, ErrorCode::kUsage, "step '{}': a {}x{} matrix cannot be multiplied by a {}x{} one",
               prepare.step.name, state.m, state.k, state.b.rows, state.n);
  state.uniform = is_uniform(state, state.a) && is_uniform(state, state.b);
  // One shared right side: the whole batch is one tall matrix.
  bool tall = state.uniform && uniform_stride(state, state.b) == 0 && state.batch > 1 &&
              (state.m == 1 || state.a.row_stride * state.m == uniform_stride(state, state.a));
  if (tall) {
    if (state.m == 1) state.a.row_stride = uniform_stride(state, state.a);
    state.m *= state.batch;
    state.batch = 1;
    state.batch_dims = 0;
  }
  HUSSAR_TRY(prepare_epilogue(prepare, -1, state.epilogue, true));
  HUSSAR_TRY(read_cut(prepare, state.cut));
  double flops = 2.0 * static_cast<double>(state.batch * state.m * state.n) * static_cast<double>(state.k);
  state.shares = cut_shares(share_count(flops, prepare.threads), state.cut);
  state.scratch_per_share = tile_scratch_bytes(state.k);
  state.few_rows = !state.b_is_packed && state.m >= 1 && state.m <= kFewRows;
  int64_t b_matrices = state.b_is_packed || state.few_rows                    ? 0
                       : uniform_stride(state, state.b) == 0 && state.uniform ? 1
                                                                              : state.batch;
  state.packed_floats = panel_floats(state.k, state.n);
  prepare.scratch_bytes = static_cast<size_t>(state.scratch_per_share * state.shares +
                                              b_matrices * state.packed_floats * static_cast<int64_t>(sizeof(float)));
  return {};
}

int64_t offset_of(const State& state, const Side& side, int64_t index) {
  int64_t offset = 0;
  for (int axis = state.batch_dims - 1; axis >= 0; --axis) {
    offset += index % state.batch_shape[axis] * side.batch_strides[axis];
    index /= state.batch_shape[axis];
  }
  return offset;
}

void scale(const State& state, float* c) {
  if (state.alpha == 1.0F) return;
  for (int64_t i = 0; i < state.batch * state.m * state.n; ++i) c[i] *= state.alpha;
}

// The epilogue from row `row` of the output on.
void move_rows(const Run& run, int64_t row, Epilogue& epilogue, ProgramOperand* operands) {
  if (epilogue.residual != nullptr) epilogue.residual += row * epilogue.residual_pitch;
  if (epilogue.program == nullptr) return;
  for (int i = 0; i < run.step.program->operand_count; ++i) operands[i].data += row * operands[i].row_stride;
}

Status run(const Run& run) {
  const auto& state = run.state_as<State>();
  const TileTable& table = select_tile_table(usable_isa(run.isa));
  ProgramOperand operands[kProgramOperands];
  GemmArgs gemm;
  gemm.batch = state.uniform ? state.batch : 1;
  gemm.m = state.m;
  gemm.n = state.n;
  gemm.k = state.k;
  gemm.a = run.inputs[0].f32();
  gemm.a_batch_stride = uniform_stride(state, state.a);
  gemm.a_row_stride = state.a.row_stride;
  gemm.a_column_stride = state.a.column_stride;
  gemm.c = run.outputs[0].f32_out();
  gemm.c_batch_stride = state.m * state.n;
  gemm.c_row_stride = state.n;
  gemm.b = run.inputs[1].f32();
  gemm.cut = state.cut;
  gemm.epilogue = make_epilogue(run, state.epilogue, operands);
  auto* packed = reinterpret_cast<float*>(run.scratch + state.scratch_per_share * state.shares);
  const int64_t b_stride = uniform_stride(state, state.b);
  auto multiply = [&](int64_t b_matrices) {
    gemm.b_batch_stride = b_stride;
    if (state.few_rows) {
      const FewRowsArgs few{gemm, state.b.row_stride, state.b.column_stride};
      return run.pool.run(state.shares, [&](int share) {
        table.few_rows(few, {share, state.shares}, run.scratch + share * state.scratch_per_share);
      });
    }
    if (!state.b_is_packed) {
      const PackArgs pack_args{
          b_matrices, state.k, state.n, gemm.b, b_stride, state.b.row_stride, state.b.column_stride, packed};
      run.pool.run(state.shares, [&](int share) { table.pack(pack_args, {share, state.shares}); });
      gemm.b = packed;
      gemm.b_batch_stride = b_stride == 0 ? 0 : state.packed_floats;
    }
    run.pool.run(state.shares, [&](int share) {
      table.gemm(gemm, {share, state.shares}, run.scratch + share * state.scratch_per_share);
    });
  };
  if (state.uniform) {
    multiply(b_stride == 0 ? 1 : state.batch);
  } else {
    for (int64_t index = 0; index < state.batch; ++index) {
      gemm.a = run.inputs[0].f32() + offset_of(state, state.a, index);
      gemm.c = run.outputs[0].f32_out() + index * state.m * state.n;
      gemm.epilogue = make_epilogue(run, state.epilogue, operands);
      move_rows(run, index * state.m, gemm.epilogue, operands);
      if (!state.b_is_packed) gemm.b = run.inputs[1].f32() + offset_of(state, state.b, index);
      multiply(1);
    }
  }
  scale(state, run.outputs[0].f32_out());
  return {};
}

}  // namespace

extern const Kernel matmul_tile_kernel = {
    .name = "matmul_tile", .state_bytes = sizeof(State), .checks_shapes = true, .prepare = prepare, .run = run};
extern const Tactic matmul_tile_tactic = {.kernel = "matmul_tile",
                                          .supports = supports,
                                          .cost = cost,
                                          .configurations = configurations,
                                          .pack = pack,
                                          .unpack = unpack};

}  // namespace hussar
