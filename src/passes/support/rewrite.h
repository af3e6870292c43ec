// Editing a graph while walking it, and reading its constants. Shared by the passes.
#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "graph/graph.h"

namespace hussar {

// Calls `rule` for every node that is still in use, producers first, and returns how often it said true. The rule may
// edit the graph through the functions below: they unlink what is no longer used at once, so user lists stay exact,
// and leave its removal to the sweep after the pass.
int rewrite_each(Graph& graph, const std::function<bool(Node*)>& rule);

// Runs `edit` on a copy of the graph, which becomes the graph when that makes `cost` smaller. Returns what `edit` did,
// 0 when the graph stayed as it was.
Result<int> rewrite_if_cheaper(Graph& graph, const std::function<int(Graph&)>& edit,
                               const std::function<double(const Graph&)>& cost);

// Puts a new node in the place of `node`: it produces the same values, which keep their users and names.
Node* replace_node(Graph& graph, Node* node, std::string op, std::vector<Value*> inputs, Attributes attributes = {});
// A new node with one new output value. Its dtype and dims may be given so that later matches of the pass see them.
Value* add_operation(Graph& graph, const std::string& name, std::string op, std::vector<Value*> inputs,
                     Attributes attributes = {}, DType dtype = DType::kUndefined,
                     std::optional<Dims> dims = std::nullopt);
// Lets the users of the node's only output read `to`, and unlinks the node. Refuses (false) when the output is one of
// the graph and `to` cannot take its name.
bool bypass(Graph& graph, Node* node, Value* to);
// Unlinks a node whose outputs nobody uses, and then its producers where that made them useless.
void unlink_unused(Graph& graph, Node* node);

// The producer of the value when it is an `op`, else null.
Node* produced_by(const Value* value, std::string_view op);
// The only user of the value; null when there are several, or when it is a graph output.
Node* only_user(const Graph& graph, const Value* value);

// The element of a constant with one element and a floating or integer dtype.
std::optional<double> number_of(const Value* value);
// The same where broadcasting it with `other` gives the shape of `other`.
std::optional<double> scalar_beside(const Value* value, const Value* other);
bool is_close(double value, double expected);
// All elements of a constant.
std::optional<std::vector<double>> numbers_of(const Value* value);
std::optional<Ints> integers_of(const Value* value);
Value* add_numbers(Graph& graph, const std::string& name, DType dtype, const Shape& shape,
                   const std::vector<double>& values);
Value* add_integers(Graph& graph, const std::string& name, const Ints& values);

// The axes of a Reduce* node, in [0, rank) and sorted; nullopt when they or the rank are not known.
std::optional<Ints> reduced_axes(const Node& node);
bool keeps_dims(const Node& node);
// The attribute `axis` in [0, rank); nullopt when the rank of input 0 is not known.
std::optional<int> axis_of(const Node& node, int64_t otherwise);
bool same_dims(const Value* a, const Value* b);
// The dimension as an integer; -1 when it is not known.
int64_t static_dim(const Value* value, int axis);
// The second input of a Reshape from `from` to `to` with allowzero = 0; nullopt when integers cannot say it.
std::optional<Ints> reshape_target(const Dims& from, const Dims& to);

}  // namespace hussar
