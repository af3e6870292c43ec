// Lists, transposition and broadcast batches of matrix products.
#include "backends/cuda/matrix_product.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/epilogue_source.h"

namespace hussar::cuda {

Refusal check_matrix_product(const Problem& problem) {
  const Node& node = problem.node;
  if (Refusal refusal =
          refuse_op(problem, {"MatMul", "com.microsoft.FusedMatMul", "hussar.QuantizedMatMul", kIntegerMatMul}))
    return refusal;
  if (Refusal refusal = check_factors(problem)) return refusal;
  for (const Value* value : {problem.input(0), problem.input(1), problem.output()}) {
    if (value->layout != Layout::kPlain) return "layout is not plain";
  }
  for (const char* name : {"transBatchA", "transBatchB"}) {
    if (node.attributes.get_int(name, 0) != 0) return name;
  }
  if (problem.input(0)->rank() > 2 + kBatchLoops || problem.input(1)->rank() > 2 + kBatchLoops) return "rank";
  if (problem.input(0)->rank() < 1 || problem.input(1)->rank() < 1) return "rank";
  return check_epilogue(problem);
}

Result<MatrixProduct> matrix_product(const Attributes& attributes, const Operand& a, const Operand& b,
                                     const Operand& y) {
  MatrixProduct product;
  const int a_rank = a.shape.rank(), b_rank = b.shape.rank();
  const bool a_list = a_rank == 1, b_list = b_rank == 1;
  const bool a_turned = !a_list && attributes.get_int("transA", 0) != 0;
  const bool b_turned = !b_list && attributes.get_int("transB", 0) != 0;
  const int64_t a_rows = a_list ? 1 : a.shape[a_rank - 2], a_columns = a.shape[a_rank - 1];
  const int64_t b_rows = b_list ? b.shape[0] : b.shape[b_rank - 2], b_columns = b_list ? 1 : b.shape[b_rank - 1];
  product.m = a_turned ? a_columns : a_rows;
  product.k = a_turned ? a_rows : a_columns;
  product.n = b_turned ? b_rows : b_columns;
  product.a_row = a_turned ? 1 : a_columns;
  product.a_depth = a_turned ? a_columns : 1;
  product.b_column = b_turned ? b_columns : 1;
  product.b_depth = b_turned ? 1 : b_columns;
  bool fits = product.k == (b_turned ? b_columns : b_rows);
  const int batch_rank = std::max({a_rank, b_rank, 2}) - 2;
  HUSSAR_CHECK(batch_rank <= kBatchLoops, ErrorCode::kPlanIncompatible, "{} batch dimensions", batch_rank);
  int64_t a_step = a_rows * a_columns, b_step = b_rows * b_columns;
  for (int i = 1; i <= batch_rank; ++i) {
    const int64_t of_a = a_rank - 2 - i >= 0 ? a.shape[a_rank - 2 - i] : 1;
    const int64_t of_b = b_rank - 2 - i >= 0 ? b.shape[b_rank - 2 - i] : 1;
    const int loop = kBatchLoops - i;
    fits = fits && (of_a == of_b || of_a == 1 || of_b == 1);
    product.loops[loop] = of_a == 1 ? of_b : of_a;
    product.a_steps[loop] = of_a == 1 ? 0 : a_step;
    product.b_steps[loop] = of_b == 1 ? 0 : b_step;
    a_step *= of_a;
    b_step *= of_b;
    product.batch *= product.loops[loop];
  }
  // One matrix b for all: the rows of the batch are rows of one product.
  const bool shares_b = std::all_of(product.b_steps, product.b_steps + kBatchLoops, [](int64_t it) { return it == 0; });
  const bool whole_a = a.shape.elements() == product.batch * product.m * product.k;
  if (shares_b && whole_a && !a_turned) {
    product.m *= product.batch;
    product.batch = 1;
    for (int loop = 0; loop < kBatchLoops; ++loop) product.loops[loop] = 1, product.a_steps[loop] = 0;
  }
  fits = fits && y.shape.elements() == product.batch * product.m * product.n;
  HUSSAR_CHECK(fits, ErrorCode::kUsage, "{} cannot be multiplied by {} to give {}", a.shape.to_string(),
               b.shape.to_string(), y.shape.to_string());
  return product;
}

}  // namespace hussar::cuda
