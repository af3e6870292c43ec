#include "compile/prune_model.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include "base/error.h"
#include "base/memory.h"
#include "compile/classes.h"
#include "compile/label_check.h"
#include "compile/order_channels.h"
#include "compile/prunable.h"
#include "compile/prune_samples.h"
#include "compile/prune_walk.h"
#include "compile/qdq_model.h"
#include "compile/tile_product.h"
#include "compile/write_edited.h"

namespace hussar {
namespace {

// The first version of the format in which initializers need not be inputs, too.
constexpr int64_t kLeastIrVersion = 4;

bool is_named(const PrunableLayer& layer, const std::vector<std::string>& names) {
  return std::any_of(names.begin(), names.end(), [&](const std::string& name) {
    return layer.name() == name || layer.node->outputs[0]->name == name;
  });
}

Status check_names(const PrunableModel& model, const std::vector<std::string>& names, std::string_view flag) {
  for (const std::string& name : names) {
    const bool is_known = std::any_of(model.layers.begin(), model.layers.end(),
                                      [&](const PrunableLayer& layer) { return is_named(layer, {name}); });
    HUSSAR_CHECK(is_known, ErrorCode::kUsage,
                 "{} names '{}', which is no Conv, MatMul or Gemm of the model: --dry-run "
                 "lists them",
                 flag, name);
  }
  return {};
}

// Writes what was asked for into the reasons.
Status choose_layers(PrunableModel& model, const ModelPruneOptions& options) {
  HUSSAR_TRY(check_names(model, options.only, "--layers"));
  HUSSAR_TRY(check_names(model, options.skip, "--skip"));
  for (PrunableLayer& layer : model.layers) {
    if (!options.only.empty() && is_named(layer, options.only) && layer.is_choice) layer.reason = {};
    if (!layer.reason.empty()) continue;
    if (is_named(layer, options.skip)) layer.reason = {"skipped", "--skip"};
    if (!options.only.empty() && !is_named(layer, options.only)) layer.reason = {"not_listed", "not among --layers"};
  }
  return {};
}

std::vector<size_t> chosen_layers(const PrunableModel& model) {
  std::vector<size_t> layers;
  for (size_t i = 0; i < model.layers.size(); ++i) {
    if (model.layers[i].reason.empty()) layers.push_back(i);
  }
  return layers;
}

// Blocks that are not full pay less: kernels compute the whole block.
std::string note_on_last_block(int64_t n, const SparsityPattern& pattern) {
  const int64_t rest = n % pattern.shared_rows;
  if (rest == 0 || n < pattern.shared_rows) return "";
  return fmt::format("{} output channels are no multiple of {}: the last {} share masks of their own", n,
                     pattern.shared_rows, rest);
}

std::vector<ModelPruneLayer> describe_layers(const PrunableModel& model, const SparsityPattern& pattern) {
  std::vector<ModelPruneLayer> layers;
  for (const PrunableLayer& layer : model.layers) {
    ModelPruneLayer entry;
    entry.node = layer.name();
    entry.op = layer.node->op;
    entry.n = layer.n;
    entry.k = layer.k();
    entry.flops_part = model.flops > 0 ? layer.flops / model.flops : 0;
    entry.is_pruned = layer.reason.empty();
    entry.reason = layer.reason.text;
    entry.code = layer.reason.code;
    if (const std::string note = note_on_last_block(layer.n, pattern); entry.is_pruned && !note.empty())
      entry.notes.push_back(note);
    layers.push_back(std::move(entry));
  }
  return layers;
}

// What the changes make of the file.
class ChangedFile {
 public:
  ChangedFile(const PrunableModel& model, const std::vector<LayerChange>& changes) : model_(model), changes_(changes) {}

  Result<uint64_t> write(const std::string& model_path, const std::string& output_path) {
    const onnx::GraphProto& graph = model_.proto.graph;
    names_ = HUSSAR_TRY(names_of(graph));
    for (const onnx::TensorProto& initializer : graph.initializers) initializers_.insert(initializer.name);
    for (size_t index = 0; index < graph.nodes.size(); ++index) {
      const onnx::NodeProto& node = graph.nodes[index];
      if (node.op_type == "Constant" && !node.outputs.empty()) constants_[node.outputs[0]] = index;
    }
    std::map<std::pair<size_t, size_t>, Tensor> constants;
    for (const auto& [place, node] : model_.changed) constants[place] = *node->inputs[place.second]->constant;
    for (const LayerChange& change : changes_) {
      constants[{model_.layers[change.layer].index, 1}] = change.weights;
      if (change.bias_place && !change.bias_change.empty())
        constants[{change.bias_place->index, change.bias_place->input}] =
            changed_bias(*change.bias_place, change.bias_change);
    }
    for (const auto& [place, tensor] : constants) change_constant(place.first, place.second, tensor);
    return write_edited(model_.proto, model_.file->bytes(), edit_, model_path, output_path);
  }

 private:
  // A constant that one node alone reads. What a node holds becomes an initializer of the same name.
  void replace(const std::string& name, const Tensor& tensor) {
    if (initializers_.count(name) > 0) {
      edit_.replaced_initializers[name] = onnx::encode_tensor(name, tensor);
      return;
    }
    edit_.dropped_nodes.insert(constants_.at(name));
    add(name, tensor);
  }

  void add(const std::string& name, const Tensor& tensor) {
    edit_.initializers.push_back(onnx::encode_tensor(name, tensor));
    edit_.least_ir_version = kLeastIrVersion;
  }

  void change_constant(size_t index, size_t input, const Tensor& tensor) {
    const onnx::NodeProto& node = model_.proto.graph.nodes[index];
    const std::string old(input < node.inputs.size() ? node.inputs[input] : "");
    const auto uses = model_.uses.find(old);
    const bool is_stored = initializers_.count(old) > 0 || constants_.count(old) > 0;
    if (is_stored && uses != model_.uses.end() && uses->second == 1) return replace(old, tensor);
    const std::string name = unique((old.empty() ? std::string(node.name) + "_bias" : old) + "_pruned");
    auto [it, is_new] = edit_.inputs.try_emplace(index);
    if (is_new) it->second.assign(node.inputs.begin(), node.inputs.end());
    it->second.resize(std::max(it->second.size(), input + 1));
    it->second[input] = name;
    add(name, tensor);
  }

  std::string unique(const std::string& prefix) {
    std::string name = prefix;
    for (int next = 2; names_.count(name) > 0 || !new_names_.insert(name).second; ++next)
      name = fmt::format("{}_{}", prefix, next);
    return name;
  }

  const PrunableModel& model_;
  const std::vector<LayerChange>& changes_;
  onnx::ModelEdit edit_;
  std::set<std::string_view> names_, initializers_;
  std::set<std::string> new_names_;
  std::map<std::string_view, size_t> constants_;
};

class ModelPruning {
 public:
  ModelPruning(const std::string& model_path, const ModelPruneOptions& options)
      : model_path_(model_path), options_(options), layer_options_(options.layer) {
    layer_options_.product = tile_product(options.layer.threads);
  }

  Result<ModelPruneReport> run(DataSource* source, const std::string& output_path) {
    HUSSAR_TRY(check_usage(source != nullptr));
    HUSSAR_TRY(check_output_path(model_path_, output_path));
    stage("read");
    NamedShapes shapes;
    const std::vector<InputFacts> inputs = HUSSAR_TRY(prune_inputs(model_path_, options_.shapes));
    if (source != nullptr) {
      data_ = HUSSAR_TRY(read_prune_samples(model_path_, *source, options_, report_.warnings));
      shapes = shapes_of_samples(data_, inputs);
    }
    HUSSAR_TRY(open(inputs, shapes));
    HUSSAR_TRY(check_classes());
    if (!options_.labels.empty())
      HUSSAR_TRY(
          check_knows_labels(HUSSAR_TRY(score_runs(model_path_, data_.held_out, shapes, options_.layer.threads))));
    const std::vector<size_t> layers = chosen_layers(model_);
    HUSSAR_CHECK(!layers.empty(), ErrorCode::kUsage, "{}: no product can be pruned{}", model_path_,
                 model_.layers.empty() ? ": its main graph has no Conv, MatMul or Gemm"
                                       : fmt::format("; '{}': {} (--dry-run lists all)", model_.layers[0].name(),
                                                     model_.layers[0].reason.text));
    if (options_.reorder) {
      stage("order channels");
      report_.reordered =
          HUSSAR_TRY(order_channels(model_, layers, source != nullptr ? &data_ : nullptr, layer_options_));
    }
    WalkResult result =
        HUSSAR_TRY(source != nullptr ? on_data(layers) : prune_without_data(model_, layers, layer_options_));
    report(result, source != nullptr);
    HUSSAR_CHECK(!result.changes.empty(), source != nullptr ? ErrorCode::kAccuracy : ErrorCode::kUsage,
                 "{}: no product was pruned; '{}': {}", model_path_, model_.layers[layers[0]].name(),
                 report_.layers[layers[0]].reason);
    stage("write");
    report_.bytes = HUSSAR_TRY(ChangedFile(model_, result.changes).write(model_path_, output_path));
    return std::move(report_);
  }

  Result<ModelPruneReport> list() {
    HUSSAR_TRY(open(HUSSAR_TRY(prune_inputs(model_path_, options_.shapes)), {}));
    return std::move(report_);
  }

 private:
  void stage(std::string_view name) const {
    if (options_.progress) options_.progress(name);
  }

  Status check_usage(bool has_data) const {
    const std::string_view method = spell(options_.layer.method);
    HUSSAR_CHECK(has_data || options_.layer.method == PruneMethod::kMagnitude, ErrorCode::kUsage,
                 "the method {} needs data (--data DATA); magnitude alone does without", method);
    HUSSAR_CHECK(has_data || !has_budget(), ErrorCode::kUsage,
                 "a budget needs data (--data DATA): without, nobody knows what pruning costs");
    HUSSAR_CHECK(has_data || options_.labels.empty(), ErrorCode::kUsage,
                 "labels are those of data: --data DATA is missing");
    HUSSAR_CHECK(options_.most_lost == 0 || !options_.labels.empty(), ErrorCode::kUsage,
                 "a budget of top-1 needs labels (--labels FILE.npy)");
    HUSSAR_CHECK(options_.step > 0 && options_.step <= 1 && options_.budget >= 0 && options_.most_lost >= 0,
                 ErrorCode::kUsage, "a step is more than 0 and at most all layers, a budget is not negative");
    return {};
  }

  // Before anything takes long: the first output has classes, and the labels are some of them.
  Status check_classes() const {
    if (options_.labels.empty()) return {};
    const auto& outputs = model_.graph.outputs;
    const auto shape = outputs.empty() ? std::nullopt : outputs[0]->static_shape();
    const int64_t width = shape && shape->rank() > 0 ? (*shape)[shape->rank() - 1] : 0;
    const bool has_classes = width > 1 && is_floating(outputs[0]->dtype);
    const int64_t rows = has_classes ? shape->elements() / width : 0;
    for (const auto* runs : {&data_.runs, &data_.held_out}) {
      for (const DataRun& run : *runs) HUSSAR_TRY(check_labels(run.labels, rows, width));
    }
    return {};
  }

  bool has_budget() const { return options_.budget > 0 || options_.most_lost > 0; }
  bool is_within(const WalkResult& result) const {
    const bool is_close = options_.budget == 0 || result.output_error <= options_.budget;
    return is_close && (options_.most_lost == 0 || result.dense_top1 - result.top1 <= options_.most_lost);
  }
  PruneStage stage_of(const WalkResult& result) const {
    return {std::ssize(result.changes), result.output_error, result.top1, is_within(result)};
  }

  // `shapes`: of all inputs; none: some that fit.
  Status open(const std::vector<InputFacts>& inputs, NamedShapes shapes) {
    if (shapes.empty()) {
      const std::vector<Shape> chosen = HUSSAR_TRY(choose_shapes(inputs, options_.shapes));
      for (size_t i = 0; i < inputs.size(); ++i) shapes[inputs[i].name] = Dims(chosen[i].begin(), chosen[i].end());
    }
    model_ = HUSSAR_TRY(open_prunable_model(model_path_, shapes));
    HUSSAR_TRY(choose_layers(model_, options_));
    for (PrunableLayer& layer : model_.layers) {
      const bool is_deep = layer.reason.empty() && layer.k() > kMostMomentColumns;
      if (is_deep && options_.layer.method != PruneMethod::kMagnitude)
        layer.reason = {"long_k",
                        fmt::format("k = {}: methods with data take {} at most", layer.k(), kMostMomentColumns)};
    }
    report_.layers = describe_layers(model_, options_.layer.pattern);
    return {};
  }

  Result<WalkResult> walk(const std::vector<size_t>& layers) {
    return prune_on_data(model_, layers, data_, layer_options_, options_.stage_progress);
  }

  Result<WalkResult> on_data(const std::vector<size_t>& layers) {
    bound_samples(data_, walk_bytes_per_run(model_, layers), report_.warnings);
    report_.samples = count_samples(data_.runs);
    report_.held_out = count_samples(data_.held_out);
    stage("prune");
    WalkResult all = HUSSAR_TRY(walk(layers));
    if (!has_budget()) return all;
    report_.stages.push_back(stage_of(all));
    if (report_.stages[0].is_within) return all;
    return grow(std::move(all));
  }

  // In growing stages, those with the least errors when all are pruned first.
  Result<WalkResult> grow(WalkResult all) {
    std::sort(all.changes.begin(), all.changes.end(),
              [](const LayerChange& a, const LayerChange& b) { return a.error < b.error; });
    std::vector<size_t> order;
    for (const LayerChange& change : all.changes) order.push_back(change.layer);
    const auto count = static_cast<double>(order.size());
    report_.stages.clear();
    WalkResult best;
    best.refused = all.refused;
    size_t taken = 0;
    for (int number = 1; taken < order.size(); ++number) {
      const auto next = std::min(order.size(), static_cast<size_t>(std::ceil(options_.step * number * count)));
      if (next == taken) continue;
      stage(fmt::format("prune {} of {}", next, order.size()));
      std::vector<size_t> layers(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(next));
      WalkResult result = next == order.size() ? std::move(all) : HUSSAR_TRY(walk(layers));
      report_.stages.push_back(stage_of(result));
      if (!report_.stages.back().is_within) break;
      result.refused = best.refused;
      best = std::move(result);
      taken = next;
    }
    for (size_t i = taken; i < order.size(); ++i)
      best.refused.emplace_back(order[i], PruneReason{"budget", "the budget is used up"});
    return best;
  }

  void report(const WalkResult& result, bool has_data) {
    for (const auto& [layer, reason] : result.refused) {
      report_.layers[layer].is_pruned = false;
      report_.layers[layer].reason = reason.text;
      report_.layers[layer].code = reason.code;
      report_.layers[layer].notes.clear();
    }
    for (const LayerChange& change : result.changes) {
      ModelPruneLayer& entry = report_.layers[change.layer];
      entry.rows = change.rows;
      entry.kept_energy = change.kept_energy;
      entry.error_before_refit = change.error_before_refit;
      entry.error = change.error;
      entry.corrects_bias = change.bias_place && !change.bias_change.empty();
      entry.notes.insert(entry.notes.end(), change.notes.begin(), change.notes.end());
    }
    if (has_data) report_.output_error = result.output_error;
    report_.dense_top1 = result.dense_top1;
    report_.top1 = result.top1;
  }

  const std::string& model_path_;
  const ModelPruneOptions& options_;
  PruneOptions layer_options_;
  PrunableModel model_;
  PruneData data_;
  ModelPruneReport report_;
};

}  // namespace

Result<ModelPruneReport> prune_model(const std::string& model_path, DataSource* data, const std::string& output_path,
                                     const ModelPruneOptions& options) {
  const auto begin = std::chrono::steady_clock::now();
  auto report = catching("prune the model", [&] { return ModelPruning(model_path, options).run(data, output_path); });
  if (report) report->seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
  return report;
}

Result<ModelPruneReport> list_prunable(const std::string& model_path, const ModelPruneOptions& options) {
  return catching("read the model", [&] { return ModelPruning(model_path, options).list(); });
}

}  // namespace hussar
