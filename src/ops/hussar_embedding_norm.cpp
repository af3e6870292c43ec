// hussar.EmbeddingNorm: rows of tables, added, then normalized, as language models begin. The attribute `norm` names
// the normalization, whose other attributes and outputs the node has. The sum has the type of `scale`.
//
//   x = sum over k of table_k[indices_k], or table_k where there are no indices, broadcast to each other
//   y = norm(x, scale, bias?, factors?), or of x in the order of rows `order` (hussar.GatherRows)
//
// Inputs: order?, scale, bias?, factors?, then three for each term of the sum: table, scales?, indices?. A table with
// scales has bytes (hussar.GatherBytes). An index out of range gives zeros on a GPU, as Gather does.
#include <algorithm>

#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {

static constexpr size_t kOrder = 0, kScale = 1, kBias = 2, kFactors = 3, kTerms = 4;

static Value* term_of(Builder& builder, size_t at) {
  Value *table = builder.input(at), *scales = builder.input(at + 1), *indices = builder.input(at + 2);
  if (indices == nullptr) return table;
  if (scales == nullptr) return builder.make("Gather", {table, indices});
  Attributes meaning;
  const DType dtype = builder.dtype(kScale);
  if (dtype != DType::kFloat32) meaning.set("y_type", static_cast<int64_t>(dtype));
  return builder.make("hussar.GatherBytes", {table, scales, indices}, std::move(meaning));
}

static Status expand(Builder& builder) {
  constexpr std::string_view kNorms[] = {"LayerNormalization", "RMSNormalization", "hussar.NormToBytes",
                                         "hussar.NormToRows"};
  const std::string norm = builder.attributes.get_string("norm", "");
  if (std::find(std::begin(kNorms), std::end(kNorms), norm) == std::end(kNorms))
    return builder.fail("'{}' is no normalization", norm);
  const size_t inputs = builder.node.inputs.size();
  if (inputs <= kTerms || !builder.has(kScale)) return builder.fail("has {} inputs, or no scale", inputs);
  Value* x = nullptr;
  for (size_t at = kTerms; at < inputs; at += 3) {
    if (!builder.has(at) || (builder.has(at + 1) && !builder.has(at + 2)))
      return builder.fail("term {} has no table, or scales and no indices", (at - kTerms) / 3);
    Value* term = term_of(builder, at);
    x = x == nullptr ? term : builder.make("Add", {x, term});
  }
  if (builder.has(kOrder)) x = builder.make("hussar.GatherRows", {x, builder.input(kOrder)});
  Attributes attributes = builder.attributes;
  attributes.erase("norm");
  std::vector<Value*> operands = {x, builder.input(kScale), builder.input(kBias), builder.input(kFactors)};
  while (operands.back() == nullptr) operands.pop_back();
  const size_t outputs = builder.node.outputs.size();
  const std::vector<Value*> results = builder.make_many(norm, operands, outputs, std::move(attributes));
  for (size_t i = 0; i < outputs; ++i) builder.result(i, results[i]);
  return {};
}

extern const OpDef hussar_embedding_norm_op = {
    .name = "hussar.EmbeddingNorm", .min_inputs = 0, .max_inputs = -1, .max_outputs = 3, .expand = expand};

}  // namespace hussar
