// The problem grammar: one line of text for the work that one node asks for. Logs and timing caches contain it, and
// `hussar bench --problem` runs it. Words are separated by spaces:
//
//   Conv x0=1x64x56x56:float32:nhwc x1=64x64x3x3:float32:const x2=64:float32:const y0=1x64x56x56:float32:nhwc
//     kernel_shape=3,3 pads=1,1,1,1 fuse=relu
//
//   OP             the operator's name; reading ignores case
//   xI= yI=        input and output I: DIMS[:DTYPE][:nhwc|:nchw][:const][:2:4x64][:{1,2,3}]; omitted inputs are left
//                  out. DIMS is 1x64x56x56, "scalar" or "?"; braces give the elements of a small constant; weights may
//                  be 2:4, with masks that 64 output channels share or, without "x64", with their own.
//   NAME=VALUE     an attribute: 3  0.5  "word"  1,2  (a list of one ends with a comma: 3,)
//   fuse=STEPS     the fused program, steps separated by semicolons: relu;clip(0,6);add(x3);r1=sigmoid;mul(r1).
//                  A step takes register 0 unless it names another one first; xI is input I of the node.
//
// Reading fills in what people leave out: x, w and b are x0, x1 and x2; dtypes are float32; x1 and x2 of Conv,
// ConvTranspose, Gemm and MatMul are constants; images of Conv, ConvTranspose and pools are nhwc; outputs are inferred.
// `matmul m=512 n=768 k=768` is x0=512x768 x1=768x768:const.
#pragma once
#include <string>
#include <string_view>

#include "graph/graph.h"
#include "hussar/status.h"

namespace hussar {

std::string spell_problem(const Node& node);
// Operators whose images people mean to be nhwc.
bool works_on_images(std::string_view op);

struct ProblemGraph {
  Graph graph;
  Node* node;  // the work; around it the graph only converts layouts
};
// Constants without given elements get random floats in [-1, 1), random int8 or FP8 numbers, or zeros. Dimensions must
// be integers.
Result<ProblemGraph> parse_problem(std::string_view text);

}  // namespace hussar
