// A small encoder with a padding mask, as PyTorch exports them: embeddings, layers of attention and GELU, and the first
// token's pooled state.
#pragma once
#include <cmath>

#include "tests/support/onnx_writer.h"

namespace hussar::tests {

struct EncoderForm {
  int64_t width = 32, heads = 2, layers = 2, inner = 48, words = 20;
  bool finds_padding = false;  // by the number of the padding word, without an input for it
  bool is_causal = false;
  bool averages = false;  // over all positions, padding too, instead of the pooled state
  std::vector<Extent> dims = {"batch", 12};
};

class EncoderWriter {
 public:
  explicit EncoderWriter(const EncoderForm& form) : form_(form) {}

  Message write() {
    const int64_t length = form_.dims[1].value;
    std::string mask = write_mask();
    weights("words", {form_.words, form_.width}, 1);
    weights("positions", {1, length, form_.width}, 1);
    std::string x = normalized(add("Add", {add("Gather", {"words", "ids"}), "positions"}));
    const int64_t size = form_.width / form_.heads;
    constant("split", {0, 0, form_.heads, size});
    constant("join", {0, 0, form_.width});
    scalar("root", std::sqrt(static_cast<float>(size)));
    for (int64_t layer = 0; layer < form_.layers; ++layer) x = write_layer(x, mask);
    parts_.nodes.push_back(node("Identity", {x}, {"y"}));
    write_pooled(x);
    parts_.inputs.insert(parts_.inputs.begin(), value("ids", form_.dims, DType::kInt64));
    parts_.outputs = {any_shape("y"), any_shape("pooled")};
    return model(graph(parts_));
  }

 private:
  void write_pooled(const std::string& x) {
    if (form_.averages) {
      constant("across", {1});
      parts_.nodes.push_back(node("ReduceMean", {x, "across"}, {"pooled"}, {attribute("keepdims", int64_t{0})}));
      return;
    }
    parts_.initializers.push_back(tensor_of("first", DType::kInt64, {}, std::vector<int64_t>{0}));
    const std::string first = add("Gather", {x, "first"}, {attribute("axis", int64_t{1})});
    parts_.nodes.push_back(node("Tanh", {linear(first, form_.width, form_.width)}, {"pooled"}));
  }

  // What is added to scores: 0 or the lowest float.
  std::string write_mask() {
    constant("axes", {1, 2});
    if (form_.is_causal) {
      const int64_t length = form_.dims[1].value;
      std::vector<float> later(static_cast<size_t>(length * length));
      for (size_t i = 0; i < later.size(); ++i)
        later[i] = i % static_cast<size_t>(length) > i / static_cast<size_t>(length) ? -1e30F : 0;
      parts_.initializers.push_back(tensor_of("later", DType::kFloat32, {1, 1, length, length}, later));
    }
    scalar("one", 1);
    scalar("lowest", -3.4028235e38F);
    std::string tokens;
    if (form_.finds_padding) {
      parts_.initializers.push_back(tensor_of("padding", DType::kInt64, {}, std::vector<int64_t>{1}));
      tokens = add("Not", {add("Equal", {"ids", "padding"})});
    } else {
      tokens = "mask";
      parts_.inputs.push_back(value("mask", form_.dims, DType::kInt64));
    }
    const std::string numbers =
        add("Cast", {add("Unsqueeze", {tokens, "axes"})}, {attribute("to", static_cast<int64_t>(DType::kFloat32))});
    std::string added = add("Mul", {add("Sub", {"one", numbers}), "lowest"});
    return form_.is_causal ? add("Add", {added, "later"}) : added;
  }

  std::string write_layer(const std::string& x, const std::string& mask) {
    auto heads = [&](const std::vector<int64_t>& order) {
      return add("Transpose", {add("Reshape", {linear(x, form_.width, form_.width), "split"})},
                 {attribute("perm", order)});
    };
    const std::string q = heads({0, 2, 1, 3}), k = heads({0, 2, 3, 1}), v = heads({0, 2, 1, 3});
    const std::string scores = add("Add", {add("Div", {add("MatMul", {q, k}), "root"}), mask});
    const std::string p = add("Softmax", {scores}, {attribute("axis", int64_t{-1})});
    const std::string turned =
        add("Transpose", {add("MatMul", {p, v})}, {attribute("perm", std::vector<int64_t>{0, 2, 1, 3})});
    const std::string state =
        normalized(add("Add", {linear(add("Reshape", {turned, "join"}), form_.width, form_.width), x}));
    const std::string inner = add("Relu", {linear(state, form_.width, form_.inner)});
    return normalized(add("Add", {linear(inner, form_.inner, form_.width), state}));
  }

  std::string linear(const std::string& x, int64_t from, int64_t to) {
    const std::string w = next("w"), b = next("b");
    weights(w, {from, to}, 1 / std::sqrt(static_cast<float>(from)));
    weights(b, {to}, 0.1F);
    return add("Add", {add("MatMul", {x, w}), b});
  }

  std::string normalized(const std::string& x) {
    const std::string scale = next("g"), bias = next("h");
    parts_.initializers.push_back(
        tensor_of(scale, DType::kFloat32, {form_.width}, std::vector<float>(static_cast<size_t>(form_.width), 1.25F)));
    weights(bias, {form_.width}, 0.1F);
    return add("LayerNormalization", {x, scale, bias}, {attribute("axis", int64_t{-1})});
  }

  std::string add(const std::string& op, const Names& inputs, const std::vector<Message>& attributes = {}) {
    const std::string output = next("t");
    // Of two names the last counts: steps are told apart by those of their nodes.
    parts_.nodes.push_back(node(op, inputs, {output}, attributes).text(3, op + "_" + output));
    return output;
  }
  std::string next(const std::string& prefix) { return prefix + std::to_string(++count_); }
  void constant(const std::string& name, const std::vector<int64_t>& values) {
    parts_.initializers.push_back(tensor_of(name, DType::kInt64, {static_cast<int64_t>(values.size())}, values));
  }
  void scalar(const std::string& name, float number) {
    parts_.initializers.push_back(tensor_of(name, DType::kFloat32, {}, std::vector<float>{number}));
  }
  // Roughly as if drawn from (-2 scale, 2 scale).
  void weights(const std::string& name, const std::vector<int64_t>& shape, float scale) {
    int64_t count = 1;
    for (int64_t dim : shape) count *= dim;
    std::vector<float> values(static_cast<size_t>(count));
    for (float& value : values) {
      state_ = state_ * 1664525U + 1013904223U;
      value = scale * (static_cast<float>(state_ >> 8) / static_cast<float>(1U << 22) - 2);
    }
    parts_.initializers.push_back(tensor_of(name, DType::kFloat32, shape, values));
  }

  EncoderForm form_;
  GraphParts parts_;
  uint32_t state_ = 1;
  int count_ = 0;
};

inline Message encoder_model(const EncoderForm& form = {}) { return EncoderWriter(form).write(); }

}  // namespace hussar::tests
