// Convolution shared by Conv, ConvInteger and QLinearConv: inference, geometry, and the direct sum.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"
#include "ops/window.h"

namespace hussar {

// x: [N][C][D1]..[Dk], w: [M][C/group][K1]..[Kk], y: [N][M][O1]..[Ok].
struct ConvShape {
  Window window;  // padding resolved
  int64_t batch = 0, groups = 1;
  int64_t inputs = 0, outputs = 0;  // channels per group
  Shape input, output;              // spatial
};

// Output 0 of the convolution of input `x` with the weights `w` (and `bias`, when the input exists).
Status infer_conv(InferContext& context, size_t x, size_t w, size_t bias, DType dtype);
// 2 * products, from the static shapes of output 0 and the weights; 0 when they are unknown.
double conv_flops(const Node& node, size_t w);
// For shapes that infer_conv has accepted.
Result<ConvShape> conv_shape(const Node& node, const Shape& x, const Shape& w, const Shape& y);

// Sums of products as T = double or int64_t. x and w are row-major; finish(n, m, plane) is called once per output plane
// with its sums in row-major order, which it may read until it returns.
template <class T>
void convolve(const ConvShape& shape, const T* x, const T* w, Workspace& workspace,
              const std::function<void(int64_t n, int64_t m, const T* plane)>& finish);

}  // namespace hussar
