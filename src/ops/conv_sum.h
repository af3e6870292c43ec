// What hussar.ConvSum and hussar.QuantizedConvSum share: two convolutions of the same kind and the sum of their
// results, which a residual block with a shortcut of its own ends with.
//
//   y = program(conv(x, w, bias) + conv(x2, w2, bias2))
//
// Inputs are those of the first convolution, then those of the second, the shortcut; an optional one may be missing,
// its place stays. Attributes of the shortcut have the prefix "shortcut_": strides, pads, x_scale, x_zero_point; what y
// is, those of the first say. The shortcut is not rounded before it is added.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "tensor/conv_sum.h"

namespace hussar {

// What OpDef has of both.
Status infer_conv_sum(InferContext& context);
Status evaluate_conv_sum(EvalContext& context);
double conv_sum_flops(const Node& node);

// Puts the two convolutions in the place of the node; the first one, whose program adds the shortcut, makes its result.
Status split_conv_sum(Graph& graph, Node* node);

}  // namespace hussar
