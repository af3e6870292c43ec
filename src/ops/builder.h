// Builder: writes a composite node as simpler ones.
#pragma once
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"

namespace hussar {

class Builder {
 public:
  // Writes into `graph` on behalf of `node`, whose inputs and outputs are values of the graph.
  Builder(Graph& graph, const Node& node) : node(node), attributes(node.attributes), graph_(graph) {}

  const Node& node;
  const Attributes& attributes;

  bool has(size_t input) const { return node.input(input) != nullptr; }
  Value* input(size_t index) const { return node.input(index); }
  bool wants(size_t output) const { return node.output(output) != nullptr; }
  DType dtype(size_t input = 0) const { return node.input(input)->dtype; }
  // -1 when unknown.
  int rank(size_t input = 0) const { return node.input(input)->rank(); }

  // One new node with one new output value.
  Value* make(std::string_view op, std::vector<Value*> inputs, Attributes attributes = {});
  std::vector<Value*> make_many(std::string_view op, std::vector<Value*> inputs, size_t outputs,
                                Attributes attributes = {});
  Value* integers(const Ints& values);       // int64 [n]
  Value* integer(int64_t value);             // int64 scalar
  Value* number(double value, DType dtype);  // scalar
  // Makes `value` output `index` of the node that is being expanded.
  void result(size_t index, Value* value);
  const std::vector<Value*>& results() const { return results_; }

  template <class... Args>
  [[nodiscard]] tl::unexpected<Error> fail(fmt::format_string<Args...> text, Args&&... args) const {
    return tl::unexpected(
        Error{ErrorCode::kInvalidModel, describe(node) + ": " + fmt::format(text, std::forward<Args>(args)...)});
  }

 private:
  Graph& graph_;
  std::vector<Value*> results_;
};

// Replaces the node by its expansion. Requires an operator with expand(), and known dtypes of the inputs.
Status expand_node(Graph& graph, Node* node);

}  // namespace hussar
