// Shape and dtype inference, symbolic or concrete.
#pragma once
#include <fmt/core.h>

#include <functional>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "graph/graph.h"

namespace hussar {

// What is known of one tensor before it is computed.
struct ValueInfo {
  DType dtype = DType::kUndefined;
  std::optional<Dims> dims;  // nullopt: the rank is unknown
  const Tensor* constant = nullptr;
  std::optional<Dims> elements;  // the elements of a small integer tensor, as far as they are expressions
};

class InferContext {
 public:
  // Infers a body graph from the infos of its inputs; gives the infos of its outputs.
  using BodyInference = std::function<Result<std::vector<ValueInfo>>(const Graph& body, std::vector<ValueInfo> inputs)>;
  InferContext(const Node& node, std::vector<ValueInfo> inputs, std::function<Dim()> fresh, BodyInference infer_body);

  const Node& node;
  const Attributes& attributes;

  bool has(size_t input) const { return input < inputs_.size() && inputs_[input].dtype != DType::kUndefined; }
  size_t input_count() const { return inputs_.size(); }
  size_t output_count() const { return node.outputs.size(); }
  bool wants(size_t output) const { return node.output(output) != nullptr; }
  const ValueInfo& info(size_t input) const { return inputs_[input]; }
  DType dtype(size_t input) const { return inputs_[input].dtype; }
  // Null when the rank is unknown.
  const Dims* dims(size_t input) const { return has(input) && inputs_[input].dims ? &*inputs_[input].dims : nullptr; }
  // -1 when unknown.
  int rank(size_t input) const { return dims(input) != nullptr ? static_cast<int>(dims(input)->size()) : -1; }
  // The tensor when its elements are known now, else null.
  const Tensor* constant(size_t input) const { return has(input) ? inputs_[input].constant : nullptr; }
  // The integers in a 0-D or 1-D tensor, constant or symbolic; nullopt when unknown.
  std::optional<Dims> elements(size_t input) const;
  // The same when all are plain integers.
  std::optional<Ints> integers(size_t input) const;
  // "axes"-like arguments: normalised to [0, rank); fails when out of range or repeated.
  Result<Ints> normalize_axes(const Ints& axes, int rank) const;
  Result<int> normalize_axis(int64_t axis, int rank) const;

  void set(size_t output, DType dtype, Dims dims);
  // The rank is unknown.
  void set_unknown(size_t output, DType dtype);
  void set_rank(size_t output, DType dtype, int rank);  // all dims fresh
  void set_elements(size_t output, Dims elements);
  // A dimension that only running the model tells.
  Dim fresh() const { return fresh_(); }
  // The multidirectional broadcast of input shapes; fails when they cannot match.
  Result<std::optional<Dims>> broadcast(std::vector<size_t> inputs) const;
  Result<Dims> broadcast_dims(const Dims& a, const Dims& b) const;
  Result<std::vector<ValueInfo>> infer_body(std::string_view name, std::vector<ValueInfo> inputs) const;

  template <class... Args>
  [[nodiscard]] tl::unexpected<Error> fail(fmt::format_string<Args...> text, Args&&... args) const {
    return tl::unexpected(
        Error{ErrorCode::kInvalidModel, describe(node) + ": " + fmt::format(text, std::forward<Args>(args)...)});
  }

  std::vector<ValueInfo> outputs;

 private:
  std::vector<ValueInfo> inputs_;
  std::function<Dim()> fresh_;
  BodyInference infer_body_;
};

struct OpDef;
// Whether the node has as many inputs and outputs as its operator takes.
Status check_arity(const Node& node, const OpDef& op);

// Infers one node. Composite operators are inferred through their expansion.
Result<std::vector<ValueInfo>> infer_node(const Node& node, std::vector<ValueInfo> inputs, std::function<Dim()> fresh,
                                          InferContext::BodyInference infer_body);

// Facts about the values of a graph beyond dtype and dims, from one inference run.
using ElementFacts = std::unordered_map<const Value*, Dims>;

// Writes dtype and dims of every value, bodies included. Dims that are already known and would become fresh symbols
// are kept. Returns the symbolic elements of small integer values. A failure names every node that is at fault itself.
Result<ElementFacts> infer_graph(Graph& graph);

}  // namespace hussar
