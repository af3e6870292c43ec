// Tables of embeddings are most of a small language model, and of each run they see a few rows only:
//   Gather(table, indices)  =>  hussar.GatherBytes(round(table / s) + 128, s, indices)
// One scale per row, from the largest magnitude.
#include <algorithm>
#include <cmath>
#include <map>

#include "passes/pass.h"
#include "passes/support/products.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// Smaller tables are not worth an error.
constexpr int64_t kSmallestTable = 64 * 1024;

struct Table {
  Value* numbers;
  Value* scales;
};

bool is_embedding(const Node& node) {
  const Value* table = node.input(0);
  const Value* indices = node.input(1);
  if (node.op != "Gather" || node.program || table == nullptr || indices == nullptr || !table->is_constant())
    return false;
  if (indices->dtype != DType::kInt64 && indices->dtype != DType::kInt32) return false;
  if (indices->is_constant() || node.attributes.get_int("axis", 0) != 0) return false;
  if (table->dtype != DType::kFloat32 || table->rank() != 2) return false;
  const auto* data = table->constant->data<float>();
  const int64_t count = table->constant->elements();
  // Others of its users would keep the table as it is.
  const bool is_shared = std::any_of(table->users.begin(), table->users.end(),
                                     [&](const Node* user) { return user->op != "Gather" || user->input(0) != table; });
  return !is_shared && count >= kSmallestTable &&
         std::all_of(data, data + count, [](float x) { return std::isfinite(x); });
}

Table quantize(Graph& graph, const Value& table) {
  const Shape& shape = table.constant->shape();
  Tensor numbers(DType::kUInt8, shape), scales(DType::kFloat32, {shape[0]});
  for (int64_t row = 0; row < shape[0]; ++row) {
    const float* from = table.constant->data<float>() + row * shape[1];
    float largest = 0;
    for (int64_t i = 0; i < shape[1]; ++i) largest = std::max(largest, std::fabs(from[i]));
    const float scale = largest > 0 ? largest / 127 : 1;
    scales.data<float>()[row] = scale;
    for (int64_t i = 0; i < shape[1]; ++i) {
      const float rounded = std::clamp(std::nearbyint(from[i] / scale), -127.0F, 127.0F);
      numbers.data<uint8_t>()[row * shape[1] + i] = static_cast<uint8_t>(rounded + 128);
    }
  }
  return {graph.add_constant(graph.unique_name(table.name), std::move(numbers)),
          graph.add_constant(graph.unique_name(table.name + "_scale"), std::move(scales))};
}

Result<int> run(PassContext& context) {
  if (context.quantization == nullptr) return 0;
  std::map<const Value*, Table> tables;
  int rewrites = 0;
  for (Node* node : context.graph.snapshot()) {
    if (!is_embedding(*node)) continue;
    if (const std::string* kept = entry_of(context.quantization->float_nodes, *node)) {
      node->note = no_int8(*kept, context.quantization->fp8);
      continue;
    }
    const Value* table = node->inputs[0];
    if (!tables.contains(table)) tables[table] = quantize(context.graph, *table);
    replace_node(context.graph, node, "hussar.GatherBytes",
                 {tables[table].numbers, tables[table].scales, node->inputs[1]});
    ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass quantize_embeddings_pass = {
    .name = "quantize_embeddings",
    .summary = "Gather(table, indices) => hussar.GatherBytes(bytes, scales, indices)",
    .run = run,
    .after = "quantize_products"};

}  // namespace hussar
