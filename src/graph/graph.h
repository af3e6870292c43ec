// Graph, Node, Value: what a computation is.
//
// A Graph owns its Nodes and Values; pointers to them stay valid until the Graph drops them (remove, sweep). Every
// Value is produced once: by a Node, as a graph input, or as a constant. A Graph is not thread-safe; distinct Graphs
// are independent. Bodies of If, Loop and Scan capture nothing: import turns outer values into explicit inputs.
#pragma once
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "hussar/status.h"
#include "hussar/tensor.h"
#include "tensor/attributes.h"
#include "tensor/dim.h"
#include "tensor/layout.h"
#include "tensor/program.h"

namespace hussar {

struct Node;
class Graph;

struct Value {
  std::string name;
  DType dtype = DType::kUndefined;
  std::optional<Dims> dims;  // nullopt: not even the rank is known
  Layout layout = Layout::kPlain;
  std::optional<Tensor> constant;
  Node* producer = nullptr;  // null for graph inputs and constants
  std::vector<Node*> users;  // a node that uses the value twice is listed twice
  // A channels-last value that lies inside another one, from channel `channel_offset` on (set by passes).
  Value* slice_of = nullptr;
  int64_t channel_offset = 0;

  bool is_constant() const { return constant.has_value(); }
  int rank() const { return dims ? static_cast<int>(dims->size()) : -1; }
  // The dims as integers; nullopt when any is unknown or symbolic.
  std::optional<Shape> static_shape() const;
};

struct Body {
  std::string name;  // the ONNX attribute: "then_branch", "body", ...
  std::unique_ptr<Graph> graph;
};

struct Node {
  std::string op;              // canonical operator name: "Conv", "com.microsoft.FusedMatMul", "hussar.Pointwise"
  std::string name;            // ONNX node name(s) it stands for; made unique on import, for messages
  std::vector<Value*> inputs;  // null: an omitted optional input
  std::vector<Value*> outputs;
  Attributes attributes;
  std::vector<Body> bodies;
  // Fused elementwise work on output 0 (formed by passes): its operands are the inputs from `program_inputs` on.
  std::optional<Program> program;
  int32_t program_inputs = 0;
  std::string note;       // what a pass tells the readers of the plan about its choice; no part of the work
  Value* code = nullptr;  // a constant: what the chosen kernel has compiled for this node

  Value* input(size_t index) const { return index < inputs.size() ? inputs[index] : nullptr; }
  Value* output(size_t index = 0) const { return index < outputs.size() ? outputs[index] : nullptr; }
  Graph* body(std::string_view body_name) const;
};

class Graph {
 public:
  std::string name;
  std::vector<Value*> inputs;
  std::vector<Value*> outputs;

  Graph() = default;
  Graph(Graph&&) = default;
  Graph& operator=(Graph&&) = default;
  // A deep copy; constants share their bytes.
  Graph clone() const;

  Value* add_value(std::string value_name, DType dtype = DType::kUndefined, std::optional<Dims> dims = std::nullopt);
  Value* add_constant(std::string value_name, Tensor tensor);
  // Appends a node and links it to its values. Order is free: sort() puts nodes after their producers.
  Node* add_node(std::string op, std::string node_name, std::vector<Value*> inputs, std::vector<Value*> outputs,
                 Attributes attributes = {});
  void set_input(Node* node, size_t index, Value* value);
  void append_input(Node* node, Value* value);
  // Makes every user of `from` (graph outputs included) use `to`. A graph output keeps its public name.
  void replace_uses(Value* from, Value* to);
  // Unlinks the node; its outputs must be unused or be re-produced by another node before the next verify().
  void remove(Node* node);
  bool is_output(const Value* value) const;
  // Number of consumers, counting graph outputs.
  size_t use_count(const Value* value) const;

  // Puts nodes in topological order, stably; fails on a cycle, naming a node on it.
  Status sort();
  // Drops nodes whose outputs nobody uses, then unused values. Returns how many nodes went.
  size_t sweep();
  // Checks links, producers, order; the message names the offender.
  Status verify() const;

  const std::vector<std::unique_ptr<Node>>& nodes() const { return nodes_; }
  const std::vector<std::unique_ptr<Value>>& values() const { return values_; }
  // The nodes of now, safe to iterate while the graph is being changed (check `is_live`).
  std::vector<Node*> snapshot() const;
  bool is_live(const Node* node) const;
  // "prefix~1", "prefix~2", ...: a value name that is not taken. Numbers count per prefix, so that a name does not
  // depend on what happens elsewhere in the graph: ranges are found by names.
  std::string unique_name(std::string_view prefix);
  std::string to_string() const;

 private:
  void note_number(std::string_view value_name);

  std::vector<std::unique_ptr<Node>> nodes_;
  std::vector<std::unique_ptr<Value>> values_;
  std::unordered_map<std::string, int64_t> last_number_;  // of names "prefix~N"
};

// "x:float32[1x3xH]" for messages.
std::string describe(const Value& value);
// "node 'encoder/fc' (Conv)" for messages.
std::string describe(const Node& node);

}  // namespace hussar
