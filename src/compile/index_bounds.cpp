// Graphs and plans are followed in the same way, as lists of steps over numbered values.
#include "compile/index_bounds.h"

#include <algorithm>
#include <unordered_map>

#include "ops/op_def.h"

namespace hussar {
namespace {

struct Entry {
  DType dtype = DType::kUndefined;
  const std::optional<Dims>* dims = nullptr;
};

struct Step {
  std::string_view op;
  const Attributes* attributes;
  std::vector<int32_t> inputs, outputs;  // -1: omitted
  bool has_bodies;
};

struct Steps {
  std::vector<Entry> values;
  std::vector<Step> steps;
  std::vector<int32_t> inputs;
};

// Or may be one.
bool is_integer(DType dtype) { return dtype == DType::kInt32 || dtype == DType::kInt64 || dtype == DType::kUndefined; }

// Which inputs of the step are indices into which, along which axis.
struct Lookup {
  size_t indices, table;
  int64_t axis;
};
std::vector<Lookup> lookups_of(const Step& step) {
  const int64_t axis = step.attributes->get_int("axis", 0);
  if (step.op == "Gather" || step.op == "GatherElements") return {{1, 0, axis}};
  if (step.op == "hussar.GatherBytes") return {{2, 0, 0}};
  if (step.op == "com.microsoft.EmbedLayerNormalization") return {{0, 2, 0}, {1, 4, 0}, {8, 3, 0}};
  std::vector<Lookup> list;
  if (step.op == "hussar.EmbeddingNorm") {
    for (size_t table = 4; table + 2 < step.inputs.size(); table += 3) list.push_back({table + 2, table, 0});
  }
  return list;
}

// Whether the elements of input `index` come out as they are.
bool hands_on(const Step& step, size_t index) {
  if (step.op == "Concat" || (step.op == "Where" && index > 0)) return true;
  if (index != 0) return false;
  constexpr std::string_view kMoving[] = {"Cast", "Transpose", "Slice",          "Split",    "Expand",
                                          "Tile", "Gather",    "GatherElements", "GatherND", "hussar.GatherRows"};
  return has_trait(find_op(step.op), kView) ||
         std::find(std::begin(kMoving), std::end(kMoving), step.op) != std::end(kMoving);
}

class Bounds {
 public:
  explicit Bounds(const Steps& steps) : steps_(steps) {
    for (size_t i = 0; i < steps.steps.size(); ++i) {
      const auto& inputs = steps.steps[i].inputs;
      for (size_t k = 0; k < inputs.size(); ++k) users_[inputs[k]].push_back({i, k});
    }
  }

  std::optional<int64_t> of(int32_t input) {
    bound_.reset();
    is_followed_ = true;
    seen_.assign(steps_.values.size(), false);
    follow(input);
    return is_followed_ ? bound_ : std::nullopt;
  }

 private:
  void follow(int32_t value) {
    std::vector<int32_t> waiting = {value};
    while (!waiting.empty()) {
      const int32_t next = waiting.back();
      waiting.pop_back();
      if (next < 0 || seen_[static_cast<size_t>(next)] || !is_integer(steps_.values[static_cast<size_t>(next)].dtype))
        continue;
      seen_[static_cast<size_t>(next)] = true;
      for (const auto& [step, index] : users_[next]) visit(steps_.steps[step], index, waiting);
    }
  }

  void visit(const Step& step, size_t index, std::vector<int32_t>& waiting) {
    if (has_trait(find_op(step.op), kShapeOnly)) return;
    for (const Lookup& lookup : lookups_of(step)) {
      if (lookup.indices == index) return look_up(step, lookup);
    }
    if (hands_on(step, index)) {
      waiting.insert(waiting.end(), step.outputs.begin(), step.outputs.end());
      return;
    }
    // Numbers and truths that are computed with it element by element index nothing; all else may.
    const bool is_harmless = has_trait(find_op(step.op), kElementwise) && !step.has_bodies &&
                             std::none_of(step.outputs.begin(), step.outputs.end(), [&](int32_t output) {
                               return output >= 0 && is_integer(steps_.values[static_cast<size_t>(output)].dtype);
                             });
    is_followed_ = is_followed_ && is_harmless;
  }

  void look_up(const Step& step, const Lookup& lookup) {
    const int32_t table = lookup.table < step.inputs.size() ? step.inputs[lookup.table] : -1;
    const auto* dims = table >= 0 ? steps_.values[static_cast<size_t>(table)].dims : nullptr;
    const auto rank = dims != nullptr && *dims ? std::ssize(**dims) : 0;
    const int64_t axis = lookup.axis < 0 ? lookup.axis + rank : lookup.axis;
    const bool is_known = axis >= 0 && axis < rank && (**dims)[static_cast<size_t>(axis)].is_constant() &&
                          (**dims)[static_cast<size_t>(axis)].value() > 0;
    if (!is_known) {
      is_followed_ = false;
      return;
    }
    const int64_t length = (**dims)[static_cast<size_t>(axis)].value();
    bound_ = std::min(bound_.value_or(length), length);
  }

  const Steps& steps_;
  std::unordered_map<int32_t, std::vector<std::pair<size_t, size_t>>> users_;
  std::vector<bool> seen_;
  std::optional<int64_t> bound_;
  bool is_followed_ = true;
};

std::vector<std::optional<int64_t>> bounds_of(const Steps& steps) {
  Bounds bounds(steps);
  std::vector<std::optional<int64_t>> list;
  for (int32_t input : steps.inputs) list.push_back(bounds.of(input));
  return list;
}

}  // namespace

std::vector<std::optional<int64_t>> index_bounds(const PlanGraph& graph) {
  Steps steps;
  for (const PlanValue& value : graph.values) steps.values.push_back({value.dtype, &value.dims});
  for (const PlanStep& step : graph.steps)
    steps.steps.push_back({step.op, &step.attributes, step.inputs, step.outputs, !step.bodies.empty()});
  steps.inputs = graph.inputs;
  return bounds_of(steps);
}

std::vector<std::optional<int64_t>> index_bounds(const Graph& graph) {
  Steps steps;
  std::unordered_map<const Value*, int32_t> numbers;
  for (const auto& value : graph.values()) {
    numbers.emplace(value.get(), static_cast<int32_t>(steps.values.size()));
    steps.values.push_back({value->dtype, &value->dims});
  }
  auto numbered = [&](const std::vector<Value*>& values) {
    std::vector<int32_t> list;
    for (const Value* value : values) list.push_back(value == nullptr ? -1 : numbers.at(value));
    return list;
  };
  for (const auto& node : graph.nodes())
    steps.steps.push_back(
        {node->op, &node->attributes, numbered(node->inputs), numbered(node->outputs), !node->bodies.empty()});
  steps.inputs = numbered(graph.inputs);
  return bounds_of(steps);
}

}  // namespace hussar
