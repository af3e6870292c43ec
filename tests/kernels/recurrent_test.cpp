// recurrent against the reference: LSTM and GRU, directions, layouts, optional operands, sizes with tails.
#include <array>

#include "tests/kernels/kernel_case.h"

namespace hussar {
namespace {

KernelCase random_case(const char* op) {
  bool is_lstm = std::string(op) == "LSTM", batch_first = pick(0, 1) == 0;
  const char* direction = std::array{"forward", "reverse", "bidirectional"}[static_cast<size_t>(pick(0, 2))];
  int64_t directions = std::string(direction) == "bidirectional" ? 2 : 1, gates = is_lstm ? 4 : 3;
  int64_t steps = pick(1, 9), batch = pick(1, 3), inputs = pick(1, 40), hidden = pick(0, 1) == 0 ? pick(1, 40) : 64;
  auto floats = [](const Shape& shape) { return random_tensor(DType::kFloat32, shape, -0.5, 0.5); };
  Shape state = batch_first ? Shape{batch, directions, hidden} : Shape{directions, batch, hidden};
  KernelCase test{"recurrent", op};
  test.inputs = {{floats(batch_first ? Shape{batch, steps, inputs} : Shape{steps, batch, inputs})},
                 {floats({directions, gates * hidden, inputs}), true},
                 {floats({directions, gates * hidden, hidden}), true}};
  test.inputs.push_back({pick(0, 3) == 0 ? Tensor() : floats({directions, 2 * gates * hidden})});
  test.inputs.push_back({});
  if (pick(0, 1) == 0) {
    test.inputs.push_back({floats(state)});
    if (is_lstm) test.inputs.push_back({floats(state)});
  }
  test.attributes = attributes({{"hidden_size", hidden}, {"direction", std::string(direction)}});
  if (batch_first) test.attributes.set("layout", int64_t{1});
  if (!is_lstm) test.attributes.set("linear_before_reset", pick(0, 1));
  test.outputs = is_lstm ? 3 : 2;
  test.tolerance = 1e-5;
  return test;
}

TEST(RecurrentKernel, RandomCases) {
  for (const char* op : {"LSTM", "GRU"}) {
    for (int repeat = 0; repeat < 80; ++repeat) {
      expect_kernel_agrees(random_case(op));
      if (HasFailure()) return;
    }
  }
}

TEST(RecurrentKernel, Refuses) {
  KernelCase test = random_case("LSTM");
  test.attributes.set("clip", 3.0f);
  EXPECT_EQ(refusal_of(test), "clip");
  test = random_case("GRU");
  test.inputs[4] = {
      integers(Ints(static_cast<size_t>(test.inputs[0].tensor.shape()[test.attributes.has("layout") ? 0 : 1]), 1),
               DType::kInt32)};
  EXPECT_EQ(refusal_of(test), "sequence_lens");
}

}  // namespace
}  // namespace hussar
