// Choosing kernels, laying out constants, and writing steps.
#include "compile/freeze.h"

#include <cstring>
#include <deque>
#include <set>
#include <unordered_map>
#include <utility>

#include "base/error.h"
#include "base/memory.h"
#include "compile/row_counts.h"
#include "ops/op_def.h"
#include "plan/kernel.h"
#include "tactics/choose.h"
#include "tensor/expected_rows.h"

namespace hussar {
namespace {

// The constant section under construction. Equal views of the same bytes are stored once.
class ConstantSection {
 public:
  uint64_t add(const Tensor& tensor) {
    auto key = std::pair(tensor.raw(), tensor.bytes());
    if (auto it = offsets_.find(key); it != offsets_.end()) return it->second;
    kept_.push_back(tensor);  // so that no later tensor can have the same address
    return offsets_[key] = append(tensor);
  }
  // Bytes that nobody else has.
  uint64_t append(const Tensor& tensor) {
    const uint64_t offset = (pages_->size() + 63) / 64 * 64;
    pages_->resize(offset + tensor.bytes());
    if (tensor.bytes() > 0) std::memcpy(pages_->data() + offset, tensor.raw(), tensor.bytes());
    return offset;
  }
  std::shared_ptr<GrowingPages> pages() const { return pages_; }

 private:
  std::shared_ptr<GrowingPages> pages_ = std::make_shared<GrowingPages>();
  std::map<std::pair<const std::byte*, size_t>, uint64_t> offsets_;
  std::vector<Tensor> kept_;
};

class Freezer {
 public:
  Freezer(const Target& target, const Chooser& choose, ConstantSection& constants)
      : target_(target), choose_(choose), constants_(constants) {}

  Result<PlanGraph> run(Graph& graph, FreezeRecord* record = nullptr) {
    std::vector<const Value*> values;
    for (const auto& value : graph.values()) values.push_back(value.get());
    const std::vector<Node*> nodes = graph.snapshot();
    collect_input_symbols(graph);
    drop_unbound_slices(graph);
    for (Value* input : graph.inputs) {
      PlanValue& value = plan_.values[index_of(graph, input)];
      value.storage = Storage::kInput;
      plan_.inputs.push_back(index_[input]);
    }
    // Tactics may replace inputs of nodes by packed constants, so choose before any value is numbered.
    std::unordered_map<const Node*, Choice> choices;
    for (Node* node : graph.snapshot()) {
      Choice choice;
      if (choose_) choice = choose_(Problem{*node, target_for(*node)});
      const Rival* rival = choice.rival();
      if (rival != nullptr && rival->threads < target_.threads) node->attributes.set("hussar_threads", rival->threads);
      if (rival != nullptr && !rival->configuration.empty()) {
        node->attributes.set(kConfigurationAttribute, std::string(rival->configuration));
      }
      if (rival != nullptr && rival->tactic->pack != nullptr) {
        choice_flops_[node] = flops_per_output(*node);
        HUSSAR_TRY(pack(graph, *node, *rival->tactic, choice.target));
      }
      choices[node] = std::move(choice);
    }
    HUSSAR_TRY(do_jobs(jobs_));
    row_counts_ = find_row_counts(graph);
    for (const auto& node : graph.nodes()) HUSSAR_TRY(add_step(graph, *node, choices[node.get()]));
    for (Value* output : graph.outputs) plan_.outputs.push_back(index_of(graph, output));
    place_slices();
    if (record != nullptr) note(graph, values, nodes, *record);
    return std::move(plan_);
  }

 private:
  void note(const Graph& graph, const std::vector<const Value*>& values, const std::vector<Node*>& nodes,
            FreezeRecord& record) const {
    for (const Value* value : values) {
      const auto it = index_.find(value);
      record.values.push_back(it == index_.end() ? -1 : it->second);
    }
    std::unordered_map<const Node*, int32_t> steps;
    for (const auto& node : graph.nodes()) steps.emplace(node.get(), static_cast<int32_t>(steps.size()));
    for (const Node* node : nodes) record.steps.push_back(steps.contains(node) ? steps[node] : -1);
  }

  // A device needs to know its shapes before it runs.
  Target target_for(const Node& node) const {
    Target target = target_;
    for (const auto* list : {&node.inputs, &node.outputs}) {
      for (const Value* value : *list) {
        if (value != nullptr && !is_bound(*value)) target.place = Place::kHost;
      }
    }
    return target;
  }

  void collect_input_symbols(const Graph& graph) {
    for (const Value* input : graph.inputs) {
      if (!input->dims) continue;
      for (const Dim& dim : *input->dims) {
        for (const std::string& name : dim.symbols()) {
          if (dim == Dim::symbol(name)) input_symbols_.insert(name);
        }
      }
    }
  }

  // Stores at once what the tactic makes, and drops that and what it was made of: large weights need not be in memory
  // three times.
  Status pack(Graph& graph, Node& node, const Tactic& tactic, const Target& target) {
    const std::vector<Value*> before = node.inputs;
    Packing packing(graph, node, target);
    HUSSAR_TRY(tactic.pack(packing));
    jobs_.insert(jobs_.end(), packing.jobs.begin(), packing.jobs.end());
    for (size_t i = 0; i < node.inputs.size(); ++i) {
      Value* value = node.inputs[i];
      Value* old = i < before.size() ? before[i] : nullptr;
      if (value == nullptr || value == old || !value->is_constant()) continue;
      stored_[value] = constants_.append(*value->constant);
      *value->constant = Tensor();
      if (old != nullptr && old->is_constant() && graph.use_count(old) == 0) *old->constant = Tensor();
    }
    return {};
  }

  // True when the shape is known as soon as the inputs are.
  bool is_bound(const Value& value) const {
    if (!value.dims) return false;
    for (const Dim& dim : *value.dims) {
      for (const std::string& name : dim.symbols()) {
        if (input_symbols_.count(name) == 0) return false;
      }
    }
    return true;
  }

  // Slices need memory that is planned; where shapes depend on data, Concat and Split copy instead.
  void drop_unbound_slices(Graph& graph) {
    for (Node* node : graph.snapshot()) {
      if (!is_joined(*node)) continue;
      bool bound = true;
      for (const auto* list : {&node->inputs, &node->outputs}) {
        for (const Value* value : *list) bound = bound && (value == nullptr || is_bound(*value));
      }
      if (bound) continue;
      for (const auto* list : {&node->inputs, &node->outputs}) {
        for (Value* value : *list) {
          while (value != nullptr) value = std::exchange(value->slice_of, nullptr);
        }
      }
    }
  }

  // With 64 for every symbolic dimension; what depends on symbols cancels out where weights are constant.
  static double flops_per_output(const Node& node) {
    const OpDef* op = find_op(node.op);
    if (op == nullptr || op->flops == nullptr || node.output() == nullptr) return 0;
    Node sized;
    std::deque<Value> values;
    auto size = [&values](const Value* value) -> Value* {
      if (value == nullptr) return nullptr;
      Value& copy = values.emplace_back();
      copy.dims = value->dims;
      for (size_t axis = 0; copy.dims && axis < copy.dims->size(); ++axis) {
        if (!(*copy.dims)[axis].is_constant()) (*copy.dims)[axis] = Dim(64);
      }
      return &copy;
    };
    for (const Value* input : node.inputs) sized.inputs.push_back(size(input));
    for (const Value* output : node.outputs) sized.outputs.push_back(size(output));
    sized.op = node.op;
    sized.attributes = node.attributes;
    auto shape = sized.outputs[0]->static_shape();
    return shape && shape->elements() > 0 ? op->flops(sized) / static_cast<double>(shape->elements()) : 0;
  }

  int32_t index_of(const Graph& graph, const Value* value) {
    if (value == nullptr) return -1;
    auto [it, inserted] = index_.emplace(value, static_cast<int32_t>(plan_.values.size()));
    if (!inserted) return it->second;
    PlanValue entry;
    entry.name = value->name;
    entry.dtype = value->dtype;
    entry.dims = value->dims;
    entry.layout = value->layout;
    if (value->is_constant()) {
      entry.storage = Storage::kConstant;
      auto stored = stored_.find(value);
      entry.constant_offset = stored != stored_.end() ? stored->second : constants_.add(*value->constant);
    } else if (!is_bound(*value)) {
      entry.storage = Storage::kHeap;
    }
    plan_.values.push_back(std::move(entry));
    (void)graph;
    return it->second;
  }

  // Whether the node's output has the bytes of its input in the same order.
  static bool is_view(const Node& node) {
    const Value& in = *node.inputs[0];
    const Value& out = *node.outputs[0];
    if (has_trait(find_op(node.op), kView)) return in.layout == out.layout;  // choose_layouts has looked at the shapes
    if (node.op == "Transpose") return in.layout != out.layout;  // choose_layouts leaves only those that move nothing
    if (node.op != "hussar.Reformat" || !in.dims || in.slice_of != nullptr) return false;
    // One channel or one pixel: both layouts are the same bytes.
    if (in.dims->size() >= 2 && (*in.dims)[1].is(1)) return true;
    for (size_t axis = 2; axis < in.dims->size(); ++axis) {
      if (!(*in.dims)[axis].is(1)) return false;
    }
    return true;
  }

  // A view shares the memory of its input when neither is moved by the data.
  bool can_alias(const Graph& graph, const Node& node) const {
    if (!choose_ || node.outputs.size() != 1 || node.program || node.inputs.empty()) return false;
    if (node.inputs[0] == nullptr || node.outputs[0] == nullptr || !is_view(node)) return false;
    const Value& in = *node.inputs[0];
    const Value& out = *node.outputs[0];
    if (!is_bound(in) || !is_bound(out) || in.dtype != out.dtype || in.is_constant()) return false;
    if (in.slice_of != nullptr || out.slice_of != nullptr) return false;
    // Of channels-last values a view of the same rank as its holder is one of its channels.
    const bool reshapes = in.layout == Layout::kChannelsLast && out.layout == Layout::kChannelsLast;
    if (reshapes && (in.rank() == out.rank() || (in.producer != nullptr && is_view(*in.producer)))) return false;
    // What an output views must stay valid when the caller's inputs are gone.
    const Value* root = &in;
    while (root->producer != nullptr && is_view(*root->producer)) root = root->producer->inputs[0];
    return !(graph.is_output(&out) && root->producer == nullptr);
  }

  // Values inside other values become aliases of whoever holds the memory in the end.
  void place_slices() {
    for (auto& [value, index] : index_) {
      if (value->slice_of == nullptr) continue;
      int64_t offset = 0;
      const Value* root = value;
      for (; root->slice_of != nullptr; root = root->slice_of) offset += root->channel_offset;
      PlanValue& entry = plan_.values[index];
      if (entry.storage != Storage::kArena || index_.count(root) == 0) continue;
      entry.storage = Storage::kAlias;
      entry.alias_of = index_.at(root);
      entry.channel_offset = offset;
    }
  }

  // A part may lie in a value that is a part itself.
  static bool is_joined(const Node& node) {
    auto lies_in = [](const Value* part, const Value* whole) {
      auto root_of = [](const Value* value) {
        while (value->slice_of != nullptr) value = value->slice_of;
        return value;
      };
      return part != nullptr && whole != nullptr && part->slice_of != nullptr && root_of(part) == root_of(whole);
    };
    return (node.op == "Concat" && lies_in(node.inputs[0], node.outputs[0])) ||
           (node.op == "Split" && lies_in(node.outputs[0], node.inputs[0]));
  }

  Status add_step(Graph& graph, Node& node, const Choice& choice) {
    PlanStep step;
    step.op = node.op;
    step.name = node.name;
    step.attributes = node.attributes;
    step.attributes.erase(kTokenPartAttribute);
    step.program = node.program;
    step.program_inputs = node.program_inputs;
    step.kernel = choice.tactic() == nullptr ? std::string(kReferenceKernel) : std::string(choice.tactic()->kernel);
    step.report = describe(choice);
    const auto counted = row_counts_.find(&node);
    const bool on_device = choice.tactic() != nullptr && choice.tactic()->place == Place::kDevice;
    if (counted != row_counts_.end() && on_device)
      step.attributes.set(kRowCountAttribute, Ints{index_of(graph, counted->second.count), counted->second.axes});
    if (node.code != nullptr) step.attributes.set(kCodeAttribute, Ints{index_of(graph, node.code), kCodeVersion});
    if (!node.note.empty()) step.report += "\n" + node.note;
    if (auto it = choice_flops_.find(&node); it != choice_flops_.end()) step.flops_per_output = it->second;
    for (const Value* input : node.inputs) step.inputs.push_back(index_of(graph, input));
    for (const Value* output : node.outputs) step.outputs.push_back(index_of(graph, output));
    if (can_alias(graph, node)) {
      const PlanValue& holder = plan_.values[step.inputs[0]];
      PlanValue& view = plan_.values[step.outputs[0]];
      view.storage = Storage::kAlias;
      view.alias_of = holder.storage == Storage::kAlias ? holder.alias_of : step.inputs[0];
      step.kernel = "view";
      step.report = "view: no work";
    } else if (is_joined(node)) {
      step.kernel = "view";
      step.report = "view: the parts live inside the whole";
    }
    for (const Body& body : node.bodies) {
      Target inside = target_;
      inside.place = Place::kHost;
      Freezer inner(inside, choose_, constants_);
      step.bodies.emplace_back(body.name, std::make_unique<PlanGraph>(HUSSAR_TRY(inner.run(*body.graph))));
    }
    plan_.steps.push_back(std::move(step));
    return {};
  }

  Target target_;
  const Chooser& choose_;
  ConstantSection& constants_;
  PlanGraph plan_;
  std::unordered_map<const Value*, int32_t> index_;
  std::unordered_map<const Value*, uint64_t> stored_;  // constants whose bytes are in the section already
  std::vector<Packing::Job> jobs_;
  std::set<std::string> input_symbols_;
  std::unordered_map<const Node*, RowCountHint> row_counts_;
  std::unordered_map<const Node*, double> choice_flops_;  // of nodes that are packed
};

}  // namespace

Result<Plan> freeze(Graph& graph, const Target& target, const Chooser& choose, FreezeRecord* record) {
  // For the constants of steps that are exchanged: each of them anew, and some.
  constexpr size_t kRoom = size_t{64} << 20;
  ConstantSection constants;
  Freezer freezer(target, choose, constants);
  Plan plan;
  plan.graph = HUSSAR_TRY(freezer.run(graph, record));
  auto pages = constants.pages();
  const size_t bytes = pages->size();
  if (record != nullptr && 2 * bytes + kRoom < physical_memory() / 2) {
    pages->resize(2 * bytes + kRoom);
    record->pages = pages;
  }
  plan.constants = {pages->data(), bytes};
  plan.owner = pages;
  return plan;
}

}  // namespace hussar
