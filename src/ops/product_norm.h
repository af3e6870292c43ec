// What the operators of graph/product_norm.h compute.
#pragma once
#include "graph/product_norm.h"
#include "ops/evaluate.h"
#include "ops/infer.h"

namespace hussar {

Status infer_product_norm(InferContext& context);
Status evaluate_product_norm(EvalContext& context);
double product_norm_flops(const Node& node);

// Writes the node as two, product and normalization, of one value more.
void split_product_norm(Graph& graph, Node* node);

}  // namespace hussar
