// Einsum of one or two operands, each label at most once per operand, as the operators that it stands for:
//   Einsum(x, w){abc,cde->abde}  =>  Reshape(MatMul(x, Reshape(w)))
// Labels that one operand alone has are summed over first. What is left of two operands are labels of both and the
// output (the batch of the product), of both and not the output (summed over by it), and of one and the output (its
// rows or columns). Without labels to sum over it is a Mul. Sums are added up in another order, which changes rounding.
#include <algorithm>
#include <utility>

#include "hussar/tensor.h"
#include "ops/einsum.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

// The dimensions of a tensor, by label.
struct Term {
  Labels labels;
  Dims dims;

  bool has(int label) const { return std::find(labels.begin(), labels.end(), label) != labels.end(); }
  const Dim& dim(int label) const {
    return dims[static_cast<size_t>(std::find(labels.begin(), labels.end(), label) - labels.begin())];
  }
};

// One operation. Its numbers are the order of a Transpose, and the axes or the shape of the others.
struct Step {
  const char* op;
  Ints numbers;
};
using Steps = std::vector<Step>;
using Groups = std::vector<Labels>;

bool is_repeated(const Labels& labels) {
  for (size_t i = 0; i < labels.size(); ++i) {
    if (std::find(labels.begin() + static_cast<int64_t>(i) + 1, labels.end(), labels[i]) != labels.end()) return true;
  }
  return false;
}

Labels joined(const Groups& groups) {
  Labels all;
  for (const Labels& group : groups) all.insert(all.end(), group.begin(), group.end());
  return all;
}

void add_transpose(Steps& steps, const Labels& from, const Labels& to) {
  if (from == to) return;
  Ints order;
  for (int label : to) order.push_back(std::find(from.begin(), from.end(), label) - from.begin());
  steps.push_back({"Transpose", order});
}

// Sums over the labels that neither `other` nor the output has.
void add_sum(Steps& steps, Term& term, const Labels& other, const Labels& output) {
  Term rest;
  Ints axes;
  for (size_t axis = 0; axis < term.labels.size(); ++axis) {
    int label = term.labels[axis];
    bool stays = std::find(other.begin(), other.end(), label) != other.end() ||
                 std::find(output.begin(), output.end(), label) != output.end();
    if (!stays) {
      axes.push_back(static_cast<int64_t>(axis));
      continue;
    }
    rest.labels.push_back(label);
    rest.dims.push_back(term.dims[axis]);
  }
  if (!axes.empty()) steps.push_back({"ReduceSum", axes});
  term = std::move(rest);
}

// Makes one dimension of each group or, when `splits`, the dimensions of the groups again. false: integers cannot say.
bool add_view(Steps& steps, const Term& term, const Groups& groups, bool splits) {
  Dims apart, together;
  Ints empty;
  bool is_reshape = false;
  for (const Labels& group : groups) {
    if (group.empty()) empty.push_back(static_cast<int64_t>(together.size()));
    is_reshape = is_reshape || group.size() > 1;
    Dim product(1);
    for (int label : group) {
      apart.push_back(term.dim(label));
      product = product * term.dim(label);
    }
    together.push_back(product);
  }
  if (!is_reshape) {
    if (!empty.empty()) steps.push_back({splits ? "Squeeze" : "Unsqueeze", empty});
    return true;
  }
  auto target = splits ? reshape_target(together, apart) : reshape_target(apart, together);
  if (target) steps.push_back({"Reshape", *target});
  return target.has_value();
}

Value* add_step(Graph& graph, const Node* node, const Step& step, Value* value) {
  Attributes attributes;
  std::vector<Value*> inputs = {value};
  if (std::string_view(step.op) == "Transpose")
    attributes.set("perm", step.numbers);
  else
    inputs.push_back(add_integers(graph, node->name + "/" + step.op, step.numbers));
  if (std::string_view(step.op) == "ReduceSum") attributes.set("keepdims", int64_t{0});
  return add_operation(graph, node->name, step.op, std::move(inputs), std::move(attributes), value->dtype);
}

Value* add_steps(Graph& graph, const Node* node, const Steps& steps, Value* value) {
  for (const Step& step : steps) value = add_step(graph, node, step, value);
  return value;
}

// The node's users read `result`, which keeps the name of the output.
void finish(Graph& graph, Node* node, Value* result) {
  if (Node* last = result->producer; last != nullptr && result->users.empty() && !graph.is_output(result)) {
    replace_node(graph, node, last->op, last->inputs, last->attributes);
    unlink_unused(graph, last);
  } else {
    replace_node(graph, node, "Identity", {result});
  }
}

// How two operands are multiplied.
struct Product {
  Term left, right, result;
  Labels batch, summed;
  Groups left_groups, right_groups, result_groups;
};

// Whether dimensions of the same label fit a product: alike, or in its batch one of them 1.
bool fits(const Product& product) {
  auto is_alike = [&](int label) { return product.left.dim(label) == product.right.dim(label); };
  auto broadcasts = [&](int label) {
    return is_alike(label) || product.left.dim(label).is(1) || product.right.dim(label).is(1);
  };
  return std::all_of(product.summed.begin(), product.summed.end(), is_alike) &&
         std::all_of(product.batch.begin(), product.batch.end(), broadcasts);
}

// The labels of `labels` that `term` has, in that order, and `other` does not.
Labels only_of(const Labels& labels, const Term& term, const Term& other) {
  Labels result;
  for (int label : labels) {
    if (term.has(label) && !other.has(label)) result.push_back(label);
  }
  return result;
}

void group_product(Product& product, const Labels& output, bool right_is_constant) {
  const Term& left = product.left;
  const Term& right = product.right;
  for (int label : right_is_constant ? left.labels : right.labels) {
    if (left.has(label) && right.has(label) && std::find(output.begin(), output.end(), label) == output.end())
      product.summed.push_back(label);
  }
  for (int label : output) {
    const bool broadcasts = left.has(label) && right.has(label) && left.dim(label).is(1);
    product.result.labels.push_back(label);
    product.result.dims.push_back(left.has(label) && !broadcasts ? left.dim(label) : right.dim(label));
    if (left.has(label) && right.has(label)) product.batch.push_back(label);
  }
  if (product.summed.empty()) {
    for (int label : output) {
      product.left_groups.push_back(left.has(label) ? Labels{label} : Labels{});
      product.right_groups.push_back(right.has(label) ? Labels{label} : Labels{});
    }
    return;
  }
  const Labels rows = only_of(output, left, right), columns = only_of(output, right, left);
  for (int label : product.batch) product.left_groups.push_back({label});
  product.right_groups = product.left_groups;
  // A product with one matrix takes rows of several dimensions.
  if (product.batch.empty() && !rows.empty()) {
    for (int label : rows) product.left_groups.push_back({label});
  } else {
    product.left_groups.push_back(rows);
  }
  product.result_groups = product.left_groups;
  product.result_groups.push_back(columns);
  product.left_groups.push_back(product.summed);
  product.right_groups.push_back(product.summed);
  product.right_groups.push_back(columns);
}

// Whether the operands should change places: weights are read from the right, and rows come before columns.
bool is_turned(const Labels& output, const Term& left, const Term& right, bool left_is_constant) {
  const Labels rows = only_of(output, left, right), columns = only_of(output, right, left);
  if (rows.empty() || columns.empty()) return left_is_constant;
  return std::find(output.begin(), output.end(), columns[0]) < std::find(output.begin(), output.end(), rows[0]);
}

bool lower_two(Graph& graph, Node* node, Term a, Term b, const Labels& output) {
  Value* values[] = {node->inputs[0], node->inputs[1]};
  Steps steps[2], last;
  const Labels of_b = b.labels;
  add_sum(steps[0], a, of_b, output);
  add_sum(steps[1], b, a.labels, output);
  if (is_turned(output, a, b, values[0]->is_constant())) {
    std::swap(a, b);
    std::swap(values[0], values[1]);
    std::swap(steps[0], steps[1]);
  }
  Product product{std::move(a), std::move(b), {}, {}, {}, {}, {}, {}};
  group_product(product, output, values[1]->is_constant());
  if (!fits(product) || product.batch.size() + 2 > kMaxRank) return false;
  add_transpose(steps[0], product.left.labels, joined(product.left_groups));
  add_transpose(steps[1], product.right.labels, joined(product.right_groups));
  if (!add_view(steps[0], product.left, product.left_groups, false)) return false;
  if (!add_view(steps[1], product.right, product.right_groups, false)) return false;
  if (!product.summed.empty()) {
    if (!add_view(last, product.result, product.result_groups, true)) return false;
    add_transpose(last, joined(product.result_groups), output);
  }
  Value* left = add_steps(graph, node, steps[0], values[0]);
  Value* right = add_steps(graph, node, steps[1], values[1]);
  Value* result = add_operation(graph, node->name, product.summed.empty() ? "Mul" : "MatMul", {left, right}, {},
                                node->output()->dtype);
  finish(graph, node, add_steps(graph, node, last, result));
  return true;
}

bool lower_one(Graph& graph, Node* node, Term term, const Labels& output) {
  Steps steps;
  add_sum(steps, term, {}, output);
  add_transpose(steps, term.labels, output);
  finish(graph, node, add_steps(graph, node, steps, node->inputs[0]));
  return true;
}

bool lower(Graph& graph, Node* node) {
  if (node->op != "Einsum" || node->inputs.size() > 2 || node->program) return false;
  const DType dtype = node->output()->dtype;
  if (dtype != DType::kFloat32 && dtype != DType::kFloat16 && dtype != DType::kBFloat16 && dtype != DType::kFloat64)
    return false;
  std::vector<int> ranks;
  for (const Value* input : node->inputs) {
    if (input == nullptr || !input->dims) return false;
    ranks.push_back(input->rank());
  }
  auto equation = parse_equation(node->attributes.get_string("equation", ""), ranks);
  if (!equation || std::any_of(equation->inputs.begin(), equation->inputs.end(), is_repeated)) return false;
  Term a{equation->inputs[0], *node->inputs[0]->dims};
  if (ranks.size() == 1) return lower_one(graph, node, std::move(a), equation->output);
  return lower_two(graph, node, std::move(a), {equation->inputs[1], *node->inputs[1]->dims}, equation->output);
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return lower(context.graph, node); });
}

}  // namespace

extern const Pass lower_einsum_pass = {
    .name = "lower_einsum",
    .summary = "Einsum(x, w){abc,cde->abde} => Reshape(MatMul(x, Reshape(w))); may change rounding",
    .run = run};

}  // namespace hussar
