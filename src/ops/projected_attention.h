// What hussar.ProjectedAttention and hussar.QuantizedProjectedAttention share:
//
//   rows = product(x, w, ...)          hussar.QuantizedMatMul, or MatMul and, where there is one, the sum with a bias
//   y    = attention(rows, rows, rows, mask?)
//
// The attribute `attention` names the second operator: hussar.Attention, or hussar.QuantizedAttention where rows are
// bytes. Its attributes are those of the node, the product's have the prefix product_. `parts`: the names of the two
// nodes that it was made of.
#pragma once
#include "ops/builder.h"
#include "tensor/projected_attention.h"

namespace hussar {

Status expand_projected_attention(Builder& builder);
double flops_of_projected_attention(const Node& node);

}  // namespace hussar
