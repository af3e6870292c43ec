// Products of any operands in tiles of 64 x 64.
#include "backends/cuda/simple_product.h"

#include "backends/cuda/byte_product.h"
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/results.h"

namespace hussar::cuda {

double simple_time(int64_t m, int64_t n, int64_t k, int64_t batch) {
  constexpr double kBlocksAtOnce = 4 * 132, kStep = 1;
  const auto blocks = static_cast<double>((m + 63) / 64 * ((n + 63) / 64) * batch);
  return std::ceil(blocks / kBlocksAtOnce) * kStep * static_cast<double>((k + 15) / 16);
}

Status attach_simple(Packing& packing, Defines& defines, std::string_view operands) {
  const Node& node = packing.node;
  make_table(packing);
  defines.set("X_TYPE", number_type(node.inputs[0]->dtype)).set("W_TYPE", number_type(node.inputs[1]->dtype));
  const bool of_bytes = is_byte_product(node.op) || node.op == kIntegerMatMul;
  const bool sums_integers = of_bytes && node.inputs[0]->dtype != kFp8;
  defines.set("Y_TYPE", result_type(node)).set("SUM_TYPE", sums_integers ? "int" : "float");
  define_results(node, false, defines);
  std::string source = epilogue_source(node);
  source += operands;
  return attach_code(
      packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, source) + assemble({}, {"simple_product.cuh"}));
}

Status forget_simple(Packing& packing) { return is_byte_product(packing.node.op) ? forget_table(packing) : Status(); }

Status prepare_simple(const Prepare& prepare, int64_t m, int64_t n, int64_t k, int64_t batch, SimpleLaunch& launch) {
  constexpr int64_t kMost = int64_t{1} << 31, kMostBlocks = 65535;
  HUSSAR_CHECK(m < kMost && n <= 64 * kMostBlocks && k < kMost && batch <= kMostBlocks, ErrorCode::kUsage,
               "step '{}': the product is too large", prepare.step.name);
  HUSSAR_TRY(launch.epilogue.prepare(prepare));
  launch.m = m;
  launch.n = n;
  launch.k = k;
  launch.launch = Launch{};
  launch.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "simple_product"));
  launch.launch.threads = 256;
  launch.launch.grid[0] = static_cast<unsigned>((m + 63) / 64);
  launch.launch.grid[1] = static_cast<unsigned>((n + 63) / 64);
  launch.launch.grid[2] = static_cast<unsigned>(batch);
  return {};
}

Status launch_simple(const Run& run, const SimpleLaunch& launch, Words& operands) {
  Words sizes, fused;
  for (int64_t size : {launch.m, launch.n, launch.k}) sizes.put(size);
  launch.epilogue.put(run, fused);
  std::byte* y = run.outputs[0].data;
  void* const arguments[] = {&y, sizes.data(), operands.data(), fused.data()};
  return queue_of(run.device).launch(launch.launch, arguments);
}

}  // namespace hussar::cuda
