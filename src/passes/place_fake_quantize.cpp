// What is multiplied in INT8 is quantized right before, so that whoever makes it can write bytes:
//   FakeQuantize -> Reshape -> MatMul(weights)   =>  Reshape -> FakeQuantize -> MatMul(weights)
#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return lower_fake_quantize(context.graph, node); });
}

}  // namespace

extern const Pass place_fake_quantize_pass = {
    .name = "place_fake_quantize",
    .summary = "FakeQuantize -> Reshape -> MatMul(weights) => Reshape -> FakeQuantize -> MatMul(weights)",
    .run = run};

}  // namespace hussar
