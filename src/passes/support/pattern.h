// Patterns: what a pass looks for, written like the formula it stands for.
//
//   const Pattern x = any("x");
//   const Pattern gelu = product({x, 0.5, sum({1.0, op("Erf", {product({x, M_SQRT1_2})})})});
//   if (auto found = match(graph, value, gelu)) replace_node(graph, node, "Gelu", {(*found)["x"]});
//
// product() and sum() see through the order and nesting of Mul, Div by a constant, Add, Sub of a constant and small
// powers, and multiply (add) all scalar constants into one number, so one pattern stands for every way of writing it.
// The same variable must be the same value everywhere. Constants that change the shape of what they meet do not match.
// Alternatives (operand orders) are tried within one operator: a choice made there is not revised by a later failure
// elsewhere.
#pragma once
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace hussar {

struct PatternNode;

class Pattern {
 public:
  // A scalar constant, within a relative 1e-5.
  Pattern(double number);
  explicit Pattern(std::shared_ptr<const PatternNode> node) : node_(std::move(node)) {}
  const PatternNode& operator*() const { return *node_; }
  const PatternNode* operator->() const { return node_.get(); }

 private:
  std::shared_ptr<const PatternNode> node_;
};

using NodeCondition = std::function<bool(const Node&)>;

// Any value.
Pattern any(std::string name);
// A scalar constant, whatever it is. Within a product (sum): the product (sum) of all scalar constants, 1 (0) if none.
Pattern number(std::string name);
// A constant of any shape.
Pattern constant(std::string name);
// The first output of an `op` with exactly these inputs (trailing omitted ones aside), for which `condition` holds.
// Inputs of commutative operators may come in any order.
Pattern op(std::string op_name, std::vector<Pattern> inputs, NodeCondition condition = nullptr);
Pattern product(std::vector<Pattern> factors);
Pattern sum(std::vector<Pattern> terms);
// The first that matches.
Pattern either(std::vector<Pattern> options);
// `inner`, and the value it matched under a name.
Pattern named(std::string name, Pattern inner);

class Match {
 public:
  Value* operator[](const std::string& name) const { return values.at(name); }
  double number(const std::string& name) const { return numbers.at(name); }

  std::map<std::string, Value*> values;
  std::map<std::string, double> numbers;
  std::vector<Node*> nodes;  // every node of the pattern, the root among them
};

// Matches the pattern against what computes `value`. Fails when a node of the pattern other than the root has users
// outside the pattern, or gives a graph output.
std::optional<Match> match(const Graph& graph, Value* value, const Pattern& pattern);

}  // namespace hussar
