// The inference engine: node contexts, element propagation, whole graphs.
#include "ops/infer.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "ops/builder.h"
#include "ops/numeric.h"
#include "ops/op_def.h"
#include "ops/refusals.h"

namespace hussar {
namespace {

// Shape arithmetic happens on tiny tensors; following larger ones as expressions would only cost time.
constexpr int64_t kMaxTrackedElements = 256;
// Of a long list of refusals.
constexpr size_t kMaxRefusals = 1000, kMaxShownCharacters = 500;

bool is_trackable(const Tensor& tensor) {
  bool integral = tensor.dtype() == DType::kInt64 || tensor.dtype() == DType::kInt32 || tensor.dtype() == DType::kBool;
  return integral && tensor.shape().rank() <= 1 && tensor.elements() <= kMaxTrackedElements;
}

}  // namespace

InferContext::InferContext(const Node& node, std::vector<ValueInfo> inputs, std::function<Dim()> fresh,
                           BodyInference infer_body)
    : node(node),
      attributes(node.attributes),
      outputs(node.outputs.size()),
      inputs_(std::move(inputs)),
      fresh_(std::move(fresh)),
      infer_body_(std::move(infer_body)) {}

std::optional<Dims> InferContext::elements(size_t input) const {
  if (!has(input)) return std::nullopt;
  const ValueInfo& info = inputs_[input];
  if (info.elements) return info.elements;
  if (info.constant == nullptr || !is_trackable(*info.constant)) return std::nullopt;
  Ints values(static_cast<size_t>(info.constant->elements()));
  load_elements<int64_t>(*info.constant, 0, info.constant->elements(), values.data());
  return Dims(values.begin(), values.end());
}

std::optional<Ints> InferContext::integers(size_t input) const {
  auto list = elements(input);
  if (!list) return std::nullopt;
  Ints values;
  for (const Dim& dim : *list) {
    if (!dim.is_constant()) return std::nullopt;
    values.push_back(dim.value());
  }
  return values;
}

Result<int> InferContext::normalize_axis(int64_t axis, int rank) const {
  if (axis < -rank || axis >= std::max(rank, 1)) return fail("axis {} is out of range for rank {}", axis, rank);
  return static_cast<int>(axis < 0 ? axis + rank : axis);
}

Result<Ints> InferContext::normalize_axes(const Ints& axes, int rank) const {
  Ints result;
  for (int64_t axis : axes) result.push_back(HUSSAR_TRY(normalize_axis(axis, rank)));
  if (std::set<int64_t>(result.begin(), result.end()).size() != result.size()) return fail("an axis is given twice");
  return result;
}

void InferContext::set(size_t output, DType dtype, Dims dims) {
  if (output >= outputs.size()) return;
  outputs[output].dtype = dtype;
  outputs[output].dims = std::move(dims);
}

void InferContext::set_unknown(size_t output, DType dtype) {
  if (output >= outputs.size()) return;
  outputs[output].dtype = dtype;
  outputs[output].dims.reset();
}

void InferContext::set_rank(size_t output, DType dtype, int rank) {
  Dims dims;
  for (int axis = 0; axis < rank; ++axis) dims.push_back(fresh());
  set(output, dtype, std::move(dims));
}

void InferContext::set_elements(size_t output, Dims elements) {
  if (output < outputs.size() && elements.size() <= kMaxTrackedElements) outputs[output].elements = std::move(elements);
}

Result<Dims> InferContext::broadcast_dims(const Dims& a, const Dims& b) const {
  size_t rank = std::max(a.size(), b.size());
  Dims result(rank);
  for (size_t i = 0; i < rank; ++i) {
    Dim x = i + a.size() >= rank ? a[i + a.size() - rank] : Dim(1);
    Dim y = i + b.size() >= rank ? b[i + b.size() - rank] : Dim(1);
    if (x.is(1) || x == y)
      result[i] = y;
    else if (y.is(1))
      result[i] = x;
    else if (x.is_constant() && y.is_constant()) {
      return fail("shapes {} and {} cannot be broadcast together", to_string(a), to_string(b));
    } else if (x.is_constant())
      result[i] = x;
    else if (y.is_constant())
      result[i] = y;
    else
      result[i] = max(x, y);
  }
  return result;
}

Result<std::optional<Dims>> InferContext::broadcast(std::vector<size_t> operands) const {
  Dims result;
  for (size_t operand : operands) {
    if (dims(operand) == nullptr) return std::optional<Dims>();
    result = HUSSAR_TRY(broadcast_dims(result, *dims(operand)));
  }
  return std::optional<Dims>(std::move(result));
}

Result<std::vector<ValueInfo>> InferContext::infer_body(std::string_view name, std::vector<ValueInfo> inputs) const {
  const Graph* body = node.body(name);
  if (body == nullptr) return fail("has no body '{}'", name);
  if (infer_body_) return infer_body_(*body, std::move(inputs));
  std::vector<ValueInfo> unknown;
  for (const Value* output : body->outputs) {
    ValueInfo info;
    info.dtype = output->dtype;
    unknown.push_back(info);
  }
  return unknown;
}

void Refusals::add(const Node& node, std::string message) {
  ops.push_back(node.op);
  if (++count <= kMaxRefusals) messages.push_back(std::move(message));
}

void Refusals::forget_after(size_t kept) {
  count = std::min(count, kept);
  ops.resize(count);
  messages.resize(std::min(messages.size(), count));
}

std::string list_lines(const std::vector<std::string>& lines, size_t count) {
  std::string list;
  size_t shown = std::min(lines.size(), kMaxRefusals);
  for (size_t i = 0; i < shown; ++i) {
    std::string line = lines[i].substr(0, kMaxShownCharacters);
    std::replace(line.begin(), line.end(), '\n', ' ');
    list += "\n  " + line;
    if (lines[i].size() > kMaxShownCharacters) list += "...";
  }
  if (count > shown) list += fmt::format("\n  ... and {} more", count - shown);
  return list;
}

namespace {

// Infers the graph that a composite operator expands to. It stands for one node: its first failure is enough.
Status infer_expansion(Graph& graph);

// Infers a composite operator through a throw-away graph that holds its expansion.
Result<std::vector<ValueInfo>> infer_composite(const Node& node, const std::vector<ValueInfo>& inputs) {
  Graph graph;
  std::vector<Value*> values;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].dtype == DType::kUndefined) {
      values.push_back(nullptr);
    } else if (inputs[i].constant != nullptr) {
      values.push_back(graph.add_constant("input" + std::to_string(i), *inputs[i].constant));
    } else {
      values.push_back(graph.add_value("input" + std::to_string(i), inputs[i].dtype, inputs[i].dims));
      graph.inputs.push_back(values.back());
    }
  }
  std::vector<Value*> outputs;
  for (size_t i = 0; i < node.outputs.size(); ++i) {
    outputs.push_back(node.outputs[i] == nullptr ? nullptr : graph.add_value("output" + std::to_string(i)));
    if (outputs.back() != nullptr) graph.outputs.push_back(outputs.back());
  }
  Node* copy = graph.add_node(node.op, node.name, values, outputs, node.attributes);
  HUSSAR_TRY(expand_node(graph, copy));
  HUSSAR_TRY(graph.sort());
  HUSSAR_TRY(infer_expansion(graph));
  std::vector<ValueInfo> result(node.outputs.size());
  size_t next = 0;
  for (size_t i = 0; i < result.size(); ++i) {
    if (node.outputs[i] == nullptr) continue;
    result[i].dtype = graph.outputs[next]->dtype;
    result[i].dims = graph.outputs[next]->dims;
    ++next;
  }
  return result;
}

// What the operator itself reads: operands of a fused program come after.
size_t own_inputs(const Node& node) {
  bool fused = node.program && node.op != kPointwise;
  size_t count = fused ? std::min(static_cast<size_t>(node.program_inputs), node.inputs.size()) : node.inputs.size();
  while (fused && count > 0 && node.inputs[count - 1] == nullptr) --count;
  return count;
}

}  // namespace

Status check_arity(const Node& node, const OpDef& op) {
  auto inputs = static_cast<int>(own_inputs(node));
  HUSSAR_CHECK(inputs >= op.min_inputs && (op.max_inputs < 0 || inputs <= op.max_inputs), ErrorCode::kInvalidModel,
               "{} has {} inputs; {} takes {} to {}", describe(node), inputs, op.name, op.min_inputs,
               op.max_inputs < 0 ? std::string("any number") : std::to_string(op.max_inputs));
  auto outputs = static_cast<int>(node.outputs.size());
  HUSSAR_CHECK(outputs >= op.min_outputs && (op.max_outputs < 0 || outputs <= op.max_outputs), ErrorCode::kInvalidModel,
               "{} has {} outputs; {} gives at most {}", describe(node), outputs, op.name, op.max_outputs);
  for (int i = 0; i < op.min_inputs; ++i) {
    HUSSAR_CHECK(node.inputs[i] != nullptr, ErrorCode::kInvalidModel, "{}: required input {} is missing",
                 describe(node), i);
  }
  return {};
}

Result<std::vector<ValueInfo>> infer_node(const Node& node, std::vector<ValueInfo> inputs, std::function<Dim()> fresh,
                                          InferContext::BodyInference infer_body) {
  const OpDef* op = find_op(node.op);
  HUSSAR_CHECK(op != nullptr, ErrorCode::kInvalidModel, "{}: unknown operator", describe(node));
  HUSSAR_TRY(check_arity(node, *op));
  inputs.resize(own_inputs(node));
  if (op->infer == nullptr) return infer_composite(node, inputs);
  InferContext context(node, std::move(inputs), std::move(fresh), std::move(infer_body));
  HUSSAR_TRY(op->infer(context));
  for (const ValueInfo& info : context.outputs) {
    if (info.dims && info.dims->size() > kMaxRank)
      return context.fail("rank {} exceeds {}", info.dims->size(), kMaxRank);
  }
  return std::move(context.outputs);
}

namespace {

// What a value of which nothing is known might be: inputs of a node that may be refused whatever they are.
struct Guess {
  DType first, others;
  int rank = -1;
};
constexpr Guess kGuesses[] = {
    {DType::kFloat32, DType::kFloat32},    {DType::kInt64, DType::kInt64},        {DType::kBool, DType::kBool},
    {DType::kFloat32, DType::kFloat32, 3}, {DType::kFloat32, DType::kFloat32, 4}, {DType::kFloat32, DType::kFloat32, 2},
    {DType::kInt64, DType::kInt64, 1},     {DType::kInt32, DType::kInt32},        {DType::kUInt8, DType::kUInt8},
    {DType::kInt8, DType::kInt8},          {DType::kFloat16, DType::kFloat16},    {DType::kFloat64, DType::kFloat64},
    {DType::kFloat32, DType::kInt64},      {DType::kBool, DType::kFloat32}};

class GraphInference {
 public:
  explicit GraphInference(Graph& root) { next_symbol_ = count_fresh(root); }

  // Goes on after a node that fails, so that `refusals` names all that are at fault themselves. The error is the first.
  Status run(Graph& graph) {
    Status first;
    for (const auto& node : graph.nodes()) {
      if (is_unknown(*node)) {
        examine(*node);
      } else {
        size_t known = refusals.count;
        Status status = infer(*node);
        if (status) {
          // An If has one branch that cannot work: it is never taken.
          refusals.forget_after(known);
          continue;
        }
        stopped_ = stopped_ || stop_at_first || status.error().code != ErrorCode::kInvalidModel;
        if (refusals.count == known) refusals.add(*node, status.error().message);
        if (first) first = std::move(status);
      }
      unknown_.insert(node->outputs.begin(), node->outputs.end());
      if (stopped_ || refusals.count >= kMaxRefusals) break;
    }
    return first;
  }

  ElementFacts facts;
  Refusals refusals;
  // Values that are given by what is refused already.
  std::unordered_set<const Value*> refused;
  bool stop_at_first = false;

 private:
  Status infer(const Node& node) {
    std::vector<ValueInfo> inputs;
    for (const Value* value : node.inputs) inputs.push_back(info_of(value));
    auto infer_body = [this](const Graph& body, std::vector<ValueInfo> arguments) {
      return run_body(const_cast<Graph&>(body), std::move(arguments));
    };
    auto fresh = [this] { return Dim::symbol("u" + std::to_string(next_symbol_++)); };
    std::vector<ValueInfo> outputs = HUSSAR_TRY(infer_node(node, std::move(inputs), fresh, infer_body));
    for (size_t i = 0; i < node.outputs.size(); ++i) {
      if (node.outputs[i] != nullptr && i < outputs.size()) HUSSAR_TRY(merge(node, *node.outputs[i], outputs[i]));
    }
    return {};
  }

  bool is_unknown(const Value* value) const {
    return value != nullptr && (unknown_.count(value) != 0 || refused.count(value) != 0);
  }

  bool is_refused(const Node& node) const {
    return std::any_of(node.outputs.begin(), node.outputs.end(),
                       [&](const Value* value) { return refused.count(value) != 0; });
  }

  bool is_unknown(const Node& node) const {
    if (unknown_.empty() && refused.empty()) return false;
    return is_refused(node) ||
           std::any_of(node.inputs.begin(), node.inputs.end(), [&](const Value* value) { return is_unknown(value); });
  }

  // A node that reads what is unknown because of an earlier failure: refused when it would be whatever that is.
  void examine(const Node& node) {
    if (!node.bodies.empty()) {
      examine_bodies(node);
      return;
    }
    if (is_refused(node)) return;
    std::string message;
    for (const Guess& guess : kGuesses) {
      if (--guesses_left_ < 0) return;
      std::string found = refusal_of(node, guess);
      if (found.empty() || (!message.empty() && found != message)) return;
      message = std::move(found);
    }
    refusals.add(node, std::move(message));
  }

  std::string refusal_of(const Node& node, const Guess& guess) const {
    int64_t symbols = 0;
    auto fresh = [&symbols] { return Dim::symbol("u" + std::to_string(symbols++)); };
    std::vector<ValueInfo> inputs;
    bool is_first = true;
    for (const Value* value : node.inputs) {
      inputs.push_back(info_of(value));
      if (!is_unknown(value)) continue;
      ValueInfo& info = inputs.back();
      info = {};
      info.dtype = is_first ? guess.first : guess.others;
      is_first = false;
      if (guess.rank < 0) continue;
      info.dims = Dims();
      for (int axis = 0; axis < guess.rank; ++axis) info.dims->push_back(fresh());
    }
    auto outputs = infer_node(node, std::move(inputs), fresh, nullptr);
    return outputs ? std::string() : outputs.error().message;
  }

  void examine_bodies(const Node& node) {
    size_t known = refusals.count;
    bool all_fail = true;
    for (const Body& body : node.bodies) {
      size_t before = refusals.count;
      if (!enter(*body.graph)) return;
      unknown_.insert(body.graph->inputs.begin(), body.graph->inputs.end());
      (void)run(*body.graph);
      --depth_;
      all_fail = all_fail && refusals.count > before;
    }
    // One branch of an If may fail.
    if (!all_fail) refusals.forget_after(known);
  }

  static bool is_fresh(const Dim& dim) {
    std::string text = dim.is_constant() ? "" : dim.to_string();
    return text.size() > 1 && text[0] == 'u' &&
           std::all_of(text.begin() + 1, text.end(), [](char c) { return c >= '0' && c <= '9'; });
  }

  // Symbols u0, u1, ... from earlier runs must not be handed out again.
  static int64_t count_fresh(const Graph& graph) {
    int64_t next = 0;
    for (const auto& value : graph.values()) {
      if (!value->dims) continue;
      for (const Dim& dim : *value->dims) {
        if (dim.is_constant()) continue;
        for (const std::string& symbol : dim.symbols()) {
          if (is_fresh(Dim::symbol(symbol)) && symbol.size() < 12)
            next = std::max<int64_t>(next, std::stoll(symbol.substr(1)) + 1);
        }
      }
    }
    for (const auto& node : graph.nodes()) {
      for (const Body& body : node->bodies) next = std::max(next, count_fresh(*body.graph));
    }
    return next;
  }

  ValueInfo info_of(const Value* value) const {
    ValueInfo info;
    if (value == nullptr) return info;
    info.dtype = value->dtype;
    info.dims = value->dims;
    if (value->constant) info.constant = &*value->constant;
    if (auto it = facts.find(value); it != facts.end()) info.elements = it->second;
    return info;
  }

  Status merge(const Node& node, Value& value, const ValueInfo& inferred) {
    HUSSAR_CHECK(
        value.dtype == DType::kUndefined || inferred.dtype == DType::kUndefined || value.dtype == inferred.dtype,
        ErrorCode::kInvalidModel, "{}: output '{}' is declared {} but computes as {}", describe(node), value.name,
        dtype_name(value.dtype), dtype_name(inferred.dtype));
    if (inferred.dtype != DType::kUndefined) value.dtype = inferred.dtype;
    if (inferred.elements) facts[&value] = *inferred.elements;
    if (!inferred.dims) return {};
    if (!value.dims || value.dims->size() != inferred.dims->size()) {
      value.dims = inferred.dims;
      return {};
    }
    for (size_t i = 0; i < value.dims->size(); ++i) {
      const Dim& dim = (*inferred.dims)[i];
      if (!is_fresh(dim)) (*value.dims)[i] = dim;
    }
    return {};
  }

  // Before a run of a body: forgets what an earlier one did not know. The depth is to be taken back after it.
  Status enter(const Graph& body) {
    constexpr int kMaxDepth = 32;
    // Nested loops infer their bodies a few times each, at every level.
    constexpr int64_t kMaxBodyRuns = 100000;
    if (depth_ >= kMaxDepth)
      return hussar::fail(ErrorCode::kInvalidModel, "control flow is nested deeper than {} levels", kMaxDepth);
    if (++body_runs_ > kMaxBodyRuns) {
      stopped_ = true;
      return hussar::fail(ErrorCode::kInvalidModel, "the nested loops are too intricate");
    }
    ++depth_;
    for (const auto& value : body.values()) {
      if (unknown_.empty()) break;
      unknown_.erase(value.get());
    }
    return {};
  }

  Result<std::vector<ValueInfo>> run_body(Graph& body, std::vector<ValueInfo> arguments) {
    HUSSAR_TRY(enter(body));
    bool same = true;
    for (size_t i = 0; i < body.inputs.size() && i < arguments.size(); ++i) {
      Value& input = *body.inputs[i];
      if (arguments[i].dtype != DType::kUndefined) input.dtype = arguments[i].dtype;
      same = same && input.dims == arguments[i].dims && info_of(&input).elements == arguments[i].elements;
      input.dims = arguments[i].dims;
      if (arguments[i].elements)
        facts[&input] = *arguments[i].elements;
      else
        facts.erase(&input);
    }
    // What was found for other arguments (a loop before its state was widened) no longer holds.
    for (const auto& value : body.values()) {
      if (same || value->producer == nullptr) continue;
      value->dims.reset();
      facts.erase(value.get());
    }
    Status status = run(body);
    --depth_;
    HUSSAR_TRY(std::move(status));
    std::vector<ValueInfo> results;
    for (const Value* output : body.outputs) {
      results.push_back(info_of(output));
      results.back().constant = nullptr;
    }
    return results;
  }

  int64_t next_symbol_ = 0;
  int depth_ = 0;
  int64_t body_runs_ = 0;
  int64_t guesses_left_ = 200000;
  bool stopped_ = false;                      // by a failure after which the rest says nothing
  std::unordered_set<const Value*> unknown_;  // what failed nodes give, and what depends on it
};

Status infer_expansion(Graph& graph) {
  GraphInference inference(graph);
  inference.stop_at_first = true;
  return inference.run(graph);
}

}  // namespace

Result<ElementFacts> infer_graph(Graph& graph) { return infer_graph(graph, nullptr); }

Result<ElementFacts> infer_graph(Graph& graph, Refusals* refusals) {
  GraphInference inference(graph);
  Status status = inference.run(graph);
  if (refusals != nullptr) *refusals = inference.refusals;
  if (status) return std::move(inference.facts);
  const Refusals& found = inference.refusals;
  if (found.count < 2 || status.error().code != ErrorCode::kInvalidModel) return tl::unexpected(status.error());
  return fail(ErrorCode::kInvalidModel, "the model has {} malformed or unsupported nodes:{}", found.count,
              list_lines(found.messages, found.count));
}

Refusals examine_graph(Graph& graph, std::unordered_set<const Value*> refused) {
  GraphInference inference(graph);
  inference.refused = std::move(refused);
  (void)inference.run(graph);
  return std::move(inference.refusals);
}

}  // namespace hussar
