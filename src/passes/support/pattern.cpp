// The matcher behind pattern.h.
#include "passes/support/pattern.h"

#include <algorithm>

#include "ops/op_def.h"
#include "passes/support/rewrite.h"

namespace hussar {

enum class PatternKind { kAny, kLiteral, kNumber, kConstant, kOp, kProduct, kSum, kEither, kNamed };

struct PatternNode {
  PatternKind kind = PatternKind::kAny;
  std::string name;  // of the variable, or of the operator
  double literal = 0;
  std::vector<Pattern> children;
  NodeCondition condition;
};

namespace {

Pattern make(PatternKind kind, std::string name, std::vector<Pattern> children = {},
             NodeCondition condition = nullptr) {
  return Pattern(std::make_shared<const PatternNode>(
      PatternNode{kind, std::move(name), 0, std::move(children), std::move(condition)}));
}

// A product (sum) as a list of values and one number.
struct Terms {
  std::vector<Value*> values;
  double number;
  std::vector<Node*> nodes;
};

// A product and a sum differ in these only.
struct Arithmetic {
  std::string_view combine, inverse;  // "Mul", "Div"
  double neutral;
  double (*fold)(double total, double next);
  double (*invert)(double number);
};
constexpr Arithmetic kProduct{"Mul", "Div", 1, [](double a, double b) { return a * b; },
                              [](double a) { return 1 / a; }};
constexpr Arithmetic kSum{"Add", "Sub", 0, [](double a, double b) { return a + b; }, [](double a) { return -a; }};

class Matcher {
 public:
  Matcher(const Graph& graph, const Value* root) : graph_(graph), root_(root) {}

  bool matches(Value* value, const Pattern& pattern) {
    if (value == nullptr) return false;
    switch (pattern->kind) {
      case PatternKind::kAny: return bind(pattern->name, value);
      case PatternKind::kLiteral: return is_literal(value, pattern->literal);
      case PatternKind::kNumber: return number_of(value) && bind_number(pattern->name, *number_of(value));
      case PatternKind::kConstant: return value->is_constant() && bind(pattern->name, value);
      case PatternKind::kOp: return matches_op(value, *pattern);
      case PatternKind::kProduct: return matches_terms(value, *pattern, kProduct);
      case PatternKind::kSum: return matches_terms(value, *pattern, kSum);
      case PatternKind::kNamed: return matches(value, pattern->children[0]) && bind(pattern->name, value);
      case PatternKind::kEither: break;
    }
    return std::any_of(pattern->children.begin(), pattern->children.end(),
                       [&](const Pattern& option) { return attempt([&] { return matches(value, option); }); });
  }

  Match found;

 private:
  template <class Try>
  bool attempt(Try&& body) {
    Match before = found;
    if (body()) return true;
    found = std::move(before);
    return false;
  }

  static bool is_literal(const Value* value, double expected) {
    auto number = number_of(value);
    return number && is_close(*number, expected);
  }

  bool bind(const std::string& name, Value* value) {
    auto [it, inserted] = found.values.emplace(name, value);
    return inserted || it->second == value;
  }

  bool bind_number(const std::string& name, double number) {
    auto [it, inserted] = found.numbers.emplace(name, number);
    return inserted || is_close(it->second, number);
  }

  // What a model fake-quantizes inside of a formula: one step computes it without, and more exactly.
  Value* behind_quantization(Value* value) {
    while (value != root_ && only_user(graph_, value) != nullptr &&
           produced_by(value, "hussar.FakeQuantize") != nullptr) {
      found.nodes.push_back(value->producer);
      value = value->producer->inputs[0];
    }
    return value;
  }

  bool matches_op(Value* value, const PatternNode& pattern) {
    value = behind_quantization(value);
    Node* node = value->producer;
    if (node == nullptr || node->op != pattern.name || node->program || node->output() != value) return false;
    std::vector<Value*> inputs = node->inputs;
    while (!inputs.empty() && inputs.back() == nullptr) inputs.pop_back();
    if (inputs.size() != pattern.children.size()) return false;
    if (pattern.condition && !pattern.condition(*node)) return false;
    found.nodes.push_back(node);
    bool any_order = inputs.size() == 2 && has_trait(find_op(node->op), kCommutative);
    if (attempt([&] { return matches_in_order(inputs, pattern.children); })) return true;
    if (!any_order) return false;
    std::swap(inputs[0], inputs[1]);
    return matches_in_order(inputs, pattern.children);
  }

  bool matches_in_order(const std::vector<Value*>& values, const std::vector<Pattern>& patterns) {
    for (size_t i = 0; i < values.size(); ++i) {
      if (!matches(values[i], patterns[i])) return false;
    }
    return true;
  }

  // Whether the operator that makes `value` may be taken apart: it is the root, or has one user.
  bool is_inner(const Value* value) const {
    if (value->producer == nullptr || value->producer->program) return false;
    return value == root_ || only_user(graph_, value) != nullptr;
  }

  void collect(Value* const given, const Arithmetic& arithmetic, Terms& terms) {
    const size_t known = found.nodes.size();
    Value* value = behind_quantization(given);
    Node* node = is_inner(value) ? value->producer : nullptr;
    Value* a = node == nullptr ? nullptr : node->input(0);
    Value* b = node == nullptr ? nullptr : node->input(1);
    auto take = [&](Value* operand) { collect(operand, arithmetic, terms); };
    if (node != nullptr && (node->op == arithmetic.combine || node->op == arithmetic.inverse)) {
      bool inverse = node->op == arithmetic.inverse;
      if (auto number = scalar_beside(b, a)) {
        terms.nodes.push_back(node);
        terms.number = arithmetic.fold(terms.number, inverse ? arithmetic.invert(*number) : *number);
        return take(a);
      }
      if (auto number = inverse ? std::nullopt : scalar_beside(a, b)) {
        terms.nodes.push_back(node);
        terms.number = arithmetic.fold(terms.number, *number);
        return take(b);
      }
      if (!inverse) {
        terms.nodes.push_back(node);
        take(a);
        return take(b);
      }
    }
    if (node != nullptr && node->op == "Pow" && arithmetic.combine == "Mul") {
      auto exponent = scalar_beside(b, a);
      if (exponent && (*exponent == 2 || *exponent == 3)) {
        terms.nodes.push_back(node);
        terms.values.insert(terms.values.end(), static_cast<size_t>(*exponent), a);
        return;
      }
    }
    found.nodes.resize(known);
    terms.values.push_back(given);
  }

  bool matches_terms(Value* value, const PatternNode& pattern, const Arithmetic& arithmetic) {
    Terms terms{{}, arithmetic.neutral, {}};
    collect(value, arithmetic, terms);
    double expected = arithmetic.neutral;
    std::string number_name;
    std::vector<Pattern> patterns;
    for (const Pattern& child : pattern.children) {
      if (child->kind == PatternKind::kLiteral)
        expected = arithmetic.fold(expected, child->literal);
      else if (child->kind == PatternKind::kNumber)
        number_name = child->name;
      else
        patterns.push_back(child);
    }
    if (terms.values.size() != patterns.size() || patterns.size() > kMaxTerms) return false;
    if (number_name.empty() ? !is_close(terms.number, expected) : !bind_number(number_name, terms.number)) return false;
    found.nodes.insert(found.nodes.end(), terms.nodes.begin(), terms.nodes.end());
    std::vector<size_t> order(patterns.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    do {
      std::vector<Value*> permuted;
      for (size_t index : order) permuted.push_back(terms.values[index]);
      if (attempt([&] { return matches_in_order(permuted, patterns); })) return true;
    } while (std::next_permutation(order.begin(), order.end()));
    return false;
  }

  static constexpr size_t kMaxTerms = 4;  // the permutations are tried one by one
  const Graph& graph_;
  const Value* root_;
};

}  // namespace

Pattern::Pattern(double number)
    : node_(std::make_shared<const PatternNode>(PatternNode{PatternKind::kLiteral, "", number, {}, nullptr})) {}

Pattern any(std::string name) { return make(PatternKind::kAny, std::move(name)); }
Pattern number(std::string name) { return make(PatternKind::kNumber, std::move(name)); }
Pattern constant(std::string name) { return make(PatternKind::kConstant, std::move(name)); }
Pattern op(std::string op_name, std::vector<Pattern> inputs, NodeCondition condition) {
  return make(PatternKind::kOp, std::move(op_name), std::move(inputs), std::move(condition));
}
Pattern product(std::vector<Pattern> factors) { return make(PatternKind::kProduct, "", std::move(factors)); }
Pattern sum(std::vector<Pattern> terms) { return make(PatternKind::kSum, "", std::move(terms)); }
Pattern either(std::vector<Pattern> options) { return make(PatternKind::kEither, "", std::move(options)); }
Pattern named(std::string name, Pattern inner) {
  return make(PatternKind::kNamed, std::move(name), {std::move(inner)});
}

std::optional<Match> match(const Graph& graph, Value* value, const Pattern& pattern) {
  if (value->producer == nullptr) return std::nullopt;
  Matcher matcher(graph, value);
  if (!matcher.matches(value, pattern)) return std::nullopt;
  std::vector<Node*>& nodes = matcher.found.nodes;
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
  for (const Node* node : nodes) {
    if (node == value->producer) continue;
    for (const Value* output : node->outputs) {
      if (output == nullptr) continue;
      if (graph.is_output(output)) return std::nullopt;
      for (Node* user : output->users) {
        if (!std::binary_search(nodes.begin(), nodes.end(), user)) return std::nullopt;
      }
    }
  }
  return std::move(matcher.found);
}

}  // namespace hussar
