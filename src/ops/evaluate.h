// Reference evaluation: what a node or graph computes, in plain scalar code.
#pragma once
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "ops/numeric.h"

namespace hussar {

// Runs a body graph of a control-flow node. The results stay until the body runs again, or its inputs change.
using BodyRunner =
    std::function<Result<std::span<const Tensor>>(std::string_view body, std::span<const Tensor> inputs)>;

// What evaluation uses besides operands.
struct Evaluation {
  Workspace& workspace;
  const BodyRunner* run_body = nullptr;
  // Per output: where it goes when only evaluation tells its shape. Empty: to memory of its own.
  std::span<GrowingBuffer* const> output_memory = {};
};

class EvalContext {
 public:
  // outputs: allocated and zero where their shape was inferred, invalid where only evaluation tells.
  EvalContext(const Node& node, std::span<const Tensor> inputs, std::span<Tensor> outputs, const Evaluation& evaluation)
      : node(node), attributes(node.attributes), inputs_(inputs), outputs_(outputs), evaluation_(evaluation) {}

  const Node& node;
  const Attributes& attributes;

  bool has(size_t input) const { return input < inputs_.size() && inputs_[input].valid(); }
  size_t input_count() const { return inputs_.size(); }
  size_t output_count() const { return outputs_.size(); }
  bool wants(size_t output) const { return node.output(output) != nullptr; }
  std::span<const Tensor> inputs() const { return inputs_; }
  const Tensor& input(size_t index) const { return inputs_[index]; }
  const Shape& shape(size_t input) const { return inputs_[input].shape(); }
  Tensor& output(size_t index = 0) { return outputs_[index]; }
  // For outputs whose shape inference could not tell (the trait kSizesOutputs): zeros.
  Tensor& allocate(size_t output, DType dtype, const Shape& shape);
  // Makes the output a copy of `tensor`.
  void copy_output(size_t output, const Tensor& tensor);

  // The elements of an input as T = float, double, int64_t or uint64_t, converted when it has another dtype.
  template <class T>
  Elements<T> read(size_t input) const {
    return Elements<T>(inputs_[input], evaluation_.workspace);
  }
  // The elements of an output to be written; they are converted to its dtype when the object is destroyed.
  template <class T>
  MutableElements<T> write(size_t output = 0) {
    return MutableElements<T>(outputs_[output], evaluation_.workspace);
  }
  // A scalar or 1-D integer input as a list; empty when absent.
  Ints integers(size_t input) const;
  // The same, of at most one integer per dimension, such as axes: what comes after kMaxRank is left out.
  Shape few_integers(size_t input) const;
  // The first element of an input, or the default when absent or empty.
  double number(size_t input, double otherwise) const;

  Result<std::span<const Tensor>> run_body(std::string_view name, std::span<const Tensor> inputs) {
    return (*evaluation_.run_body)(name, inputs);
  }
  Workspace& workspace() const { return evaluation_.workspace; }
  const Evaluation& evaluation() const { return evaluation_; }

  template <class... Args>
  [[nodiscard]] tl::unexpected<Error> fail(fmt::format_string<Args...> text, Args&&... args) const {
    return tl::unexpected(
        Error{ErrorCode::kRunFailed, describe(node) + ": " + fmt::format(text, std::forward<Args>(args)...)});
  }

 private:
  Tensor& place(size_t output, DType dtype, const Shape& shape);

  std::span<const Tensor> inputs_;
  std::span<Tensor> outputs_;
  const Evaluation& evaluation_;
};

// Evaluates one node into `outputs`, one per output of the node: valid and zero where their shape was inferred. Invalid
// Tensors stand for omitted inputs.
Status evaluate_into(const Node& node, std::span<const Tensor> inputs, std::span<Tensor> outputs,
                     const Evaluation& evaluation);
// The same with inference, into new tensors. Bodies run through evaluate_graph.
Result<std::vector<Tensor>> evaluate_node(const Node& node, std::span<const Tensor> inputs, Workspace& workspace);
inline Result<std::vector<Tensor>> evaluate_node(const Node& node, std::span<const Tensor> inputs) {
  Workspace workspace;
  return evaluate_node(node, inputs, workspace);
}

// Sees every tensor as it is produced.
using Observer = std::function<void(const Value&, const Tensor&)>;

// Evaluates a graph whose nodes are in topological order; inputs in the order of graph.inputs.
Result<std::vector<Tensor>> evaluate_graph(const Graph& graph, std::vector<Tensor> inputs,
                                           const Observer& observer = nullptr);

}  // namespace hussar
