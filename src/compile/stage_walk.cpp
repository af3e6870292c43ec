#include "compile/stage_walk.h"

#include <algorithm>
#include <memory>
#include <set>

#include "base/error.h"
#include "compile/compile.h"
#include "runtime/session.h"

namespace hussar {

StageWalk::StageWalk(const Graph& graph, std::vector<const Node*> products, int threads)
    : forms_{graph.clone(), graph.clone()}, threads_(threads) {
  const auto& nodes = graph.nodes();
  for (size_t i = 0; i < nodes.size(); ++i) {
    index_[nodes[i].get()] = i;
    for (const Value* value : nodes[i]->inputs) {
      if (value != nullptr && !value->is_constant()) last_[value->name] = i;
    }
  }
  for (const Value* output : graph.outputs) last_[output->name] = nodes.size();
  std::sort(products.begin(), products.end(),
            [&](const Node* a, const Node* b) { return index_.at(a) < index_.at(b); });
  std::map<const Value*, size_t> stage_of;
  for (const Node* product : products) {
    auto [it, is_new] = stage_of.emplace(product->inputs[0], stages_.size());
    if (is_new) {
      stages_.emplace_back();
      ends_.push_back(index_.at(product));
    }
    stages_[it->second].push_back(product);
  }
}

double StageWalk::bytes_per_run() const {
  const Graph& graph = forms_[0];
  std::map<const Node*, size_t> index;
  for (const auto& node : graph.nodes()) index.emplace(node.get(), index.size());
  double most = 0;
  for (size_t end : ends_) {
    double bytes = 0;
    for (const auto& value : graph.values()) {
      const auto last = last_.find(value->name);
      const auto shape = value->static_shape();
      const bool is_made = value->producer == nullptr || index.at(value->producer) < end;
      if (value->is_constant() || !shape || !is_made || last == last_.end() || last->second < end) continue;
      bytes += static_cast<double>(shape->elements()) * static_cast<double>(dtype_size(value->dtype));
    }
    most = std::max(most, 2 * bytes);
  }
  return most;
}

void StageWalk::start(std::vector<std::vector<Tensor>> runs) {
  values_[0].assign(runs.size(), {});
  for (size_t run = 0; run < runs.size(); ++run) {
    for (size_t i = 0; i < runs[run].size(); ++i) values_[0][run][forms_[0].inputs[i]->name] = std::move(runs[run][i]);
  }
  values_[1] = values_[0];
}

Result<std::vector<const Node*>> StageWalk::next() {
  if (stage_ == stages_.size()) return std::vector<const Node*>();
  input_ = stages_[stage_][0]->inputs[0]->name;
  HUSSAR_TRY(run_until(ends_[stage_]));
  return stages_[stage_++];
}

Status StageWalk::finish() { return run_until(forms_[0].nodes().size()); }

// As long as nothing is changed one form stands for both.
Status StageWalk::run_until(size_t end) {
  HUSSAR_TRY(run_form(0, end));
  if (is_changed_) {
    HUSSAR_TRY(run_form(1, end));
  } else {
    values_[1] = values_[0];
  }
  begin_ = end;
  return {};
}

Status StageWalk::run_form(int form, size_t end) {
  Graph graph = part(forms_[static_cast<size_t>(form)], end);
  std::vector<std::string> inputs, outputs;
  for (const Value* value : graph.inputs) inputs.push_back(value->name);
  for (const Value* value : graph.outputs) outputs.push_back(value->name);
  std::unique_ptr<Session> session;
  if (!outputs.empty()) {
    CompileOptions options;
    options.threads = threads_;
    auto plan = std::make_shared<const Plan>(HUSSAR_TRY(compile_graph(std::move(graph), options)));
    session = HUSSAR_TRY(Session::create(plan));
  }
  for (Values& values : values_[static_cast<size_t>(form)]) {
    if (session != nullptr) {
      std::vector<Tensor> arguments;
      for (const std::string& name : inputs) arguments.push_back(values.at(name));
      const auto results = HUSSAR_TRY(session->run_in_order(arguments));
      for (size_t i = 0; i < outputs.size(); ++i) values[outputs[i]] = results[i].clone();
    }
    std::erase_if(values, [&](const auto& entry) {
      auto last = last_.find(entry.first);
      return last == last_.end() || last->second < end;
    });
  }
  return {};
}

// The nodes from begin_ to end, with what they read from before as inputs and what is read later as outputs.
Graph StageWalk::part(const Graph& graph, size_t end) const {
  Graph result;
  std::map<const Value*, Value*> values;
  auto take = [&](const Value* value) -> Value* {
    if (value == nullptr) return nullptr;
    auto [it, is_new] = values.emplace(value, nullptr);
    if (is_new && value->is_constant()) it->second = result.add_constant(value->name, *value->constant);
    if (is_new && !value->is_constant()) it->second = result.add_value(value->name, value->dtype, value->dims);
    return it->second;
  };
  std::set<const Value*> made, read;
  for (size_t i = begin_; i < end; ++i) {
    const Node& node = *graph.nodes()[i];
    std::vector<Value*> inputs, outputs;
    for (const Value* value : node.inputs) {
      inputs.push_back(take(value));
      const bool is_new = value != nullptr && !value->is_constant() && made.count(value) == 0;
      if (is_new && read.insert(value).second) result.inputs.push_back(inputs.back());
    }
    for (const Value* value : node.outputs) {
      outputs.push_back(take(value));
      if (value == nullptr) continue;
      made.insert(value);
      auto last = last_.find(value->name);
      if (last != last_.end() && last->second >= end) result.outputs.push_back(outputs.back());
    }
    Node* copy = result.add_node(node.op, node.name, std::move(inputs), std::move(outputs), node.attributes);
    for (const Body& body : node.bodies)
      copy->bodies.push_back({body.name, std::make_unique<Graph>(body.graph->clone())});
  }
  result.sweep();
  return result;
}

const Tensor* StageWalk::value(int form, size_t run, const std::string& name) const {
  const Values& values = values_[static_cast<size_t>(form)][run];
  const auto it = values.find(name);
  return it != values.end() ? &it->second : nullptr;
}

void StageWalk::set_constant(const Node* node, size_t input, Tensor tensor) {
  Graph& graph = forms_[1];
  Node* changed = graph.nodes()[index_.at(node)].get();
  graph.set_input(changed, input, graph.add_constant(graph.unique_name(node->name + "_pruned"), std::move(tensor)));
  is_changed_ = true;
}

std::vector<Tensor> StageWalk::outputs(int form, size_t run) const {
  std::vector<Tensor> tensors;
  for (const Value* output : forms_[static_cast<size_t>(form)].outputs) {
    auto it = values_[static_cast<size_t>(form)][run].find(output->name);
    tensors.push_back(it != values_[static_cast<size_t>(form)][run].end() ? it->second : *output->constant);
  }
  return tensors;
}

}  // namespace hussar
