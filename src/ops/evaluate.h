// Reference evaluation: what a node or graph computes, in plain scalar code.
#pragma once
#include <functional>
#include <string>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"
#include "ops/numeric.h"

namespace hussar {

// Runs a body graph of a control-flow node.
using BodyRunner = std::function<Result<std::vector<Tensor>>(std::string_view body, std::vector<Tensor> inputs)>;

class EvalContext {
 public:
  // outputs: allocated where their shape was inferred, invalid where only evaluation tells.
  EvalContext(const Node& node, std::vector<Tensor> inputs, std::vector<Tensor> outputs, BodyRunner run_body)
      : node(node),
        attributes(node.attributes),
        inputs_(std::move(inputs)),
        outputs_(std::move(outputs)),
        run_body_(std::move(run_body)) {}

  const Node& node;
  const Attributes& attributes;

  bool has(size_t input) const { return input < inputs_.size() && inputs_[input].valid(); }
  size_t input_count() const { return inputs_.size(); }
  size_t output_count() const { return outputs_.size(); }
  bool wants(size_t output) const { return node.output(output) != nullptr; }
  const Tensor& input(size_t index) const { return inputs_[index]; }
  const Shape& shape(size_t input) const { return inputs_[input].shape(); }
  Tensor& output(size_t index = 0) { return outputs_[index]; }
  // For outputs whose shape inference could not tell.
  Tensor& allocate(size_t output, DType dtype, const Shape& shape);
  // Makes output `index` share the bytes of `tensor`.
  void set_output(size_t index, Tensor tensor) { outputs_[index] = std::move(tensor); }

  // The elements of an input as T = float, double, int64_t or uint64_t, converted when it has another dtype.
  template <class T>
  Elements<T> read(size_t input) const {
    return Elements<T>(inputs_[input]);
  }
  // The elements of an output to be written; they are converted to its dtype when the object is destroyed.
  template <class T>
  MutableElements<T> write(size_t output = 0) {
    return MutableElements<T>(outputs_[output]);
  }
  // A scalar or 1-D integer input as a list; empty when absent.
  Ints integers(size_t input) const;
  // The first element of an input, or the default when absent or empty.
  double number(size_t input, double otherwise) const;

  Result<std::vector<Tensor>> run_body(std::string_view name, std::vector<Tensor> inputs) {
    return run_body_(name, std::move(inputs));
  }
  std::vector<Tensor>& outputs() { return outputs_; }

  template <class... Args>
  [[nodiscard]] tl::unexpected<Error> fail(fmt::format_string<Args...> text, Args&&... args) const {
    return tl::unexpected(
        Error{ErrorCode::kRunFailed, describe(node) + ": " + fmt::format(text, std::forward<Args>(args)...)});
  }

 private:
  std::vector<Tensor> inputs_, outputs_;
  BodyRunner run_body_;
};

// Evaluates one node. Invalid Tensors stand for omitted inputs. Bodies run through evaluate_graph unless a runner is
// given. When `outputs` is given, its valid tensors are written in place (they must have the inferred shape).
Result<std::vector<Tensor>> evaluate_node(const Node& node, std::vector<Tensor> inputs, BodyRunner run_body = nullptr,
                                          std::vector<Tensor> outputs = {});

// Sees every tensor as it is produced.
using Observer = std::function<void(const Value&, const Tensor&)>;

// Evaluates a graph whose nodes are in topological order; inputs in the order of graph.inputs.
Result<std::vector<Tensor>> evaluate_graph(const Graph& graph, std::vector<Tensor> inputs,
                                           const Observer& observer = nullptr);

}  // namespace hussar
