// Watching and replacing what steps have written.
#include "compile/layer_errors.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "compile/plan_tensors.h"
#include "compile/precision.h"
#include "ops/evaluate.h"
#include "tensor/convert.h"

namespace hussar {
namespace {

// The least of those that are known.
void take_least(std::optional<double>& least, const std::optional<double>& other) {
  if (other && (!least || *other < *least)) least = other;
}

// How many floating tensors of the reference have no name that was `seen`. Copies count once.
size_t count_missing(const ModelTensors& reference, const std::set<std::string, std::less<>>& seen) {
  std::set<const std::byte*> found, missing;
  for (const auto& [name, tensor] : reference) {
    if (is_floating(tensor.dtype())) (seen.count(name) > 0 ? found : missing).insert(tensor.raw());
  }
  return static_cast<size_t>(
      std::count_if(missing.begin(), missing.end(), [&](const std::byte* it) { return found.count(it) == 0; }));
}

bool is_layer(const PlanStep& step) { return step.op != "hussar.Reformat" && step.kernel != "view"; }

// One plan, held against the reference.
class Meter {
 public:
  Meter(Session& session, const ModelTensors& reference)
      : session_(session), reference_(reference), tensors_(plan_tensors(session.plan())) {}

  Result<LayerReport> run(const std::vector<Tensor>& inputs) {
    arriving_ = HUSSAR_TRY(measure(inputs, false));
    own_ = HUSSAR_TRY(measure(inputs, true));
    return report();
  }

 private:
  using Figures = std::vector<std::optional<double>>;  // by index into PlanGraph::values

  const PlanGraph& graph() const { return session_.plan().graph; }

  // The tensor of the reference that the value should equal; null when there is none.
  const Tensor* wanted(int32_t value, const Shape& shape) const {
    for (const std::string& name : tensors_[static_cast<size_t>(value)].names) {
      auto it = reference_.find(name);
      if (it == reference_.end() || !(it->second.shape() == shape)) continue;
      if (is_floating(it->second.dtype())) return &it->second;
    }
    return nullptr;
  }

  // Elsewhere it may be the memory of the caller or of the plan that an output shares.
  bool may_write(int32_t value) const {
    const PlanValue* entry = &graph().values[static_cast<size_t>(value)];
    if (entry->storage == Storage::kAlias) entry = &graph().values[static_cast<size_t>(entry->alias_of)];
    return entry->storage == Storage::kArena;
  }

  Result<Figures> measure(const std::vector<Tensor>& inputs, bool exact_inputs) {
    Figures figures(graph().values.size());
    for (int32_t input : graph().inputs) figures[static_cast<size_t>(input)] = HUGE_VAL;
    session_.set_operand_observer([&](const PlanStep& step, std::span<const Operand> outputs, ThreadPool::Lease&) {
      for (size_t i = 0; i < outputs.size(); ++i) {
        const int32_t value = step.outputs[i];
        const Tensor* expected = value < 0 ? nullptr : wanted(value, outputs[i].shape);
        if (expected == nullptr) continue;
        const PlanTensor& meaning = tensors_[static_cast<size_t>(value)];
        if (!meaning.params && !is_floating(outputs[i].dtype)) continue;
        Noise noise;
        noise.add(*expected, real_numbers(outputs[i], meaning));
        figures[static_cast<size_t>(value)] = noise.sqnr_db();
        if (exact_inputs && may_write(value)) store_real_numbers(*expected, meaning, outputs[i]);
      }
    });
    auto outputs = session_.run_in_order(inputs);
    session_.set_operand_observer(nullptr);
    if (!outputs) return tl::unexpected(outputs.error());
    return figures;
  }

  LayerReport report() const {
    LayerReport report;
    std::set<std::string, std::less<>> seen;
    for (int32_t input : graph().inputs) seen.insert(graph().values[static_cast<size_t>(input)].name);
    for (const PlanStep& step : graph().steps) {
      LayerError layer{step.name, step.op, "", "", {}, {}, {}};
      for (int32_t output : step.outputs) {
        if (output < 0 || !arriving_[static_cast<size_t>(output)]) continue;
        for (const std::string& name : tensors_[static_cast<size_t>(output)].names) {
          if (reference_.count(name) > 0 && layer.tensor.empty()) layer.tensor = name;
          seen.insert(name);
        }
        take_least(layer.sqnr_out, arriving_[static_cast<size_t>(output)]);
        take_least(layer.own, own_[static_cast<size_t>(output)]);
      }
      if (!is_layer(step)) continue;
      // Not a node of the model: named after what it rounds.
      if (step.op == "QuantizeLinear" && !layer.tensor.empty() && step.name.starts_with("quantize ")) {
        layer.node = "quantize " + layer.tensor;
      }
      for (int32_t input : step.inputs) {
        if (input >= 0) take_least(layer.sqnr_in, arriving_[static_cast<size_t>(input)]);
      }
      layer.precision = precision_name(graph(), step);
      if (!layer.sqnr_out) ++report.without_reference;
      report.layers.push_back(std::move(layer));
    }
    report.fused_away = count_missing(reference_, seen);
    rank_layers(report.layers);
    return report;
  }

  Session& session_;
  const ModelTensors& reference_;
  std::vector<PlanTensor> tensors_;
  Figures arriving_, own_;
};

const Tensor* find_floating(const ModelTensors& tensors, const Value* value, const Shape& shape) {
  auto it = tensors.find(value->name);
  if (it == tensors.end() || !is_floating(it->second.dtype()) || !(it->second.shape() == shape)) return nullptr;
  return &it->second;
}

// What the node makes of exact inputs. Nothing where the reference lacks one of them.
Result<std::vector<Tensor>> evaluate_exactly(const Node& node, const ModelTensors& reference) {
  std::vector<Tensor> inputs;
  for (const Value* input : node.inputs) {
    if (input == nullptr) {
      inputs.emplace_back();
    } else if (input->is_constant()) {
      inputs.push_back(*input->constant);
    } else {
      auto it = reference.find(input->name);
      if (it == reference.end()) return std::vector<Tensor>();
      inputs.push_back(it->second);
    }
  }
  return evaluate_node(node, inputs);
}

}  // namespace

void Noise::add(const Tensor& reference, const Tensor& other) {
  const std::vector<double> a = to_doubles(reference), b = to_doubles(other);
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isfinite(a[i]) && std::isfinite(b[i])) {
      signal += a[i] * a[i];
      noise += (a[i] - b[i]) * (a[i] - b[i]);
    } else if (!(a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i])))) {
      noise = HUGE_VAL;
    }
  }
}

double Noise::sqnr_db() const { return noise > 0 ? 10 * std::log10(signal / noise) : HUGE_VAL; }

void rank_layers(std::vector<LayerError>& layers) {
  // Unknown figures count as larger than any.
  auto key = [](const LayerError& layer) {
    auto known = [](const std::optional<double>& figure) { return std::pair(!figure.has_value(), figure.value_or(0)); };
    return std::pair(known(layer.own), known(layer.sqnr_out));
  };
  std::stable_sort(layers.begin(), layers.end(),
                   [&](const LayerError& a, const LayerError& b) { return key(a) < key(b); });
}

Result<ModelTensors> record_tensors(Session& session, const std::vector<Tensor>& inputs) {
  const PlanGraph& graph = session.plan().graph;
  const std::vector<PlanTensor> tensors = plan_tensors(session.plan());
  ModelTensors recorded;
  session.set_operand_observer([&](const PlanStep& step, std::span<const Operand> outputs, ThreadPool::Lease&) {
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (step.outputs[i] < 0) continue;
      const PlanTensor& meaning = tensors[static_cast<size_t>(step.outputs[i])];
      Tensor numbers = real_numbers(outputs[i], meaning);
      for (const std::string& name : meaning.names) recorded.emplace(name, numbers);
    }
  });
  auto outputs = session.run_in_order(inputs);
  session.set_operand_observer(nullptr);
  if (!outputs) return tl::unexpected(outputs.error());
  for (size_t i = 0; i < inputs.size(); ++i) {
    recorded[graph.values[static_cast<size_t>(graph.inputs[i])].name] = inputs[i];
  }
  return recorded;
}

Result<LayerReport> measure_layers(Session& session, const std::vector<Tensor>& inputs, const ModelTensors& reference) {
  return Meter(session, reference).run(inputs);
}

Result<LayerReport> measure_layers(const Graph& graph, const std::vector<Tensor>& inputs,
                                   const ModelTensors& reference) {
  std::map<const Value*, double> arriving;
  for (const Value* input : graph.inputs) arriving[input] = HUGE_VAL;
  std::set<std::string, std::less<>> seen;
  for (const Value* input : graph.inputs) seen.insert(input->name);
  auto look = [&](const Value* value, const Tensor& tensor) -> std::optional<double> {
    const Tensor* expected = find_floating(reference, value, tensor.shape());
    if (expected == nullptr || !is_floating(tensor.dtype())) return std::nullopt;
    Noise noise;
    noise.add(*expected, tensor);
    return noise.sqnr_db();
  };
  HUSSAR_TRY(evaluate_graph(graph, inputs, [&](const Value& value, const Tensor& tensor) {
    if (auto figure = look(&value, tensor)) arriving[&value] = *figure;
    seen.insert(value.name);
  }));
  LayerReport report;
  for (const auto& node : graph.nodes()) {
    LayerError layer{node->name, node->op, "", "", {}, {}, {}};
    const std::vector<Tensor> exact = HUSSAR_TRY(evaluate_exactly(*node, reference));
    for (size_t i = 0; i < node->outputs.size(); ++i) {
      auto it = arriving.find(node->outputs[i]);
      if (it == arriving.end()) continue;
      if (layer.tensor.empty()) {
        layer.tensor = it->first->name;
        layer.precision = std::string(dtype_name(it->first->dtype));
      }
      take_least(layer.sqnr_out, it->second);
      if (i < exact.size()) take_least(layer.own, look(it->first, exact[i]));
    }
    for (const Value* input : node->inputs) {
      auto it = arriving.find(input);
      if (it != arriving.end()) take_least(layer.sqnr_in, it->second);
    }
    if (!layer.sqnr_out) ++report.without_reference;
    report.layers.push_back(std::move(layer));
  }
  report.fused_away = count_missing(reference, seen);
  rank_layers(report.layers);
  return report;
}

Result<LayerReport> measure_against_fp32(const std::string& model_path, const CompileOptions& options,
                                         const std::shared_ptr<const Plan>& plan, const std::vector<Tensor>& inputs) {
  CompileOptions in_float;
  in_float.shapes = options.shapes;
  in_float.threads = options.threads;
  in_float.isa = options.isa;
  // What it computes inside has no counterpart in INT8.
  in_float.disabled_passes = {"fuse_inverted_residual"};
  auto reference = std::make_shared<const Plan>(HUSSAR_TRY(compile_file(model_path, in_float)));
  auto reference_session = HUSSAR_TRY(Session::create(reference));
  const ModelTensors tensors = HUSSAR_TRY(record_tensors(*reference_session, inputs));
  auto session = HUSSAR_TRY(Session::create(plan));
  return measure_layers(*session, inputs, tensors);
}

}  // namespace hussar
