// With --packed: the rows of tokens that are no padding stand one behind the other, so that kernels may leave out the
// others. What is added to scores must hide padding and nothing else (support/padding_mask.h). Shapes stay as they are.
//   x -> MatMul -> Attention(mask) -> Gelu -> y
//     =>  x -> GatherRows(index) -> MatMul -> Attention(starts) -> Gelu -> GatherRows(place) -> y
// with index, place and starts of hussar.TokenOrder. Where the rows come back, those of padding are zeros.
#include <algorithm>
#include <map>
#include <set>

#include "base/error.h"
#include "ops/op_def.h"
#include "passes/pass.h"
#include "passes/support/padding_mask.h"
#include "passes/support/rewrite.h"
#include "passes/support/token_rows.h"

namespace hussar {
namespace {

constexpr size_t kMask = 3, kStarts = 4;

struct Candidate {
  Node* attention = nullptr;
  PaddingMask mask;
};

// Layers mostly share their mask, which is tried once.
struct TriedMask {
  std::optional<PaddingMask> mask;
  std::string reason;
};
using TriedMasks = std::map<std::pair<const Value*, std::string>, TriedMask>;

const TriedMask& try_mask(Value* mask, const Dims& dims, TriedMasks& tried) {
  const std::string sizes = to_string(Dims{dims[0], dims[1]});
  auto [it, is_new] = tried.emplace(std::pair(mask, sizes), TriedMask{});
  if (is_new) it->second.mask = find_padding_mask(mask, dims[0], dims[1], it->second.reason);
  return it->second;
}

// The attention with its mask; nullopt, and why in `reason`, where it cannot be packed.
std::optional<Candidate> candidate_of(Node* node, TriedMasks& tried, std::string& reason) {
  const Value* q = node->inputs[0];
  const bool is_row_major =
      node->attributes.get_int("head_major", 0) == 0 && node->attributes.get_int("k_transposed", 0) == 0;
  bool fits = is_row_major && q->rank() == 3;
  for (size_t i = 1; fits && i < 3; ++i) {
    const Value* other = node->inputs[i];
    fits = other->rank() == 3 && (*other->dims)[0] == (*q->dims)[0] && (*other->dims)[1] == (*q->dims)[1];
  }
  if (!fits) {
    reason = "queries, keys and values are not rows of the same sequences, with all heads in a row";
  } else if (node->attributes.get_int("causal", 0) != 0) {
    reason = "it is causal";
  } else if (node->input(kMask) == nullptr) {
    reason = "it has no mask";
  } else {
    const TriedMask& found = try_mask(node->inputs[kMask], *q->dims, tried);
    if (found.mask) return Candidate{node, *found.mask};
    reason = "its mask '" + node->inputs[kMask]->name + "' is not one of padding only: " + found.reason;
  }
  return std::nullopt;
}

// The nodes that compute the value.
std::set<const Node*> nodes_behind(const Value* value) {
  std::set<const Node*> found;
  std::vector<const Value*> waiting = {value};
  while (!waiting.empty()) {
    const Node* node = waiting.back()->producer;
    waiting.pop_back();
    if (node == nullptr || !found.insert(node).second) continue;
    for (const Value* input : node->inputs) {
      if (input != nullptr) waiting.push_back(input);
    }
  }
  return found;
}

class Packer {
 public:
  Packer(Graph& graph, std::vector<Node*> attentions, const PaddingMask& mask)
      : graph_(graph), attentions_(std::move(attentions)), mask_(mask) {}

  void pack(size_t all_attentions) {
    const Dims dims = *mask_.source->dims;
    const std::string mask_name = mask_.source->name;
    region_ = find_token_region(attentions_, nodes_behind(mask_.source), dims[0], dims[1]);
    add_order(dims);
    for (Node* attention : attentions_) {
      graph_.set_input(attention, kMask, nullptr);
      graph_.set_input(attention, kStarts, starts_);
    }
    // In the order of the graph, so that names do not depend on addresses.
    std::vector<Value*> values;
    for (const auto& value : graph_.values()) {
      if (region_.contains(value.get())) values.push_back(value.get());
    }
    for (Value* value : values) region_.contains(value->producer) ? leave(value) : enter(value);
    std::string outputs;
    for (const std::string& name : padded_outputs_) outputs += (outputs.empty() ? "" : ", ") + name;
    order_->note =
        fmt::format("{} of {} attentions leave out what '{}' says is padding; rows of padding are zeros in {}",
                    attentions_.size(), all_attentions, mask_name, outputs.empty() ? "no output" : outputs);
  }

 private:
  void add_order(const Dims& dims) {
    auto add = [&](const char* what, const Dim& size) {
      return graph_.add_value(graph_.unique_name(mask_.source->name + "/" + what), DType::kInt32, Dims{size});
    };
    index_ = add("index", dims[0] * dims[1]);
    place_ = add("place", dims[0] * dims[1]);
    starts_ = add("starts", dims[0] + Dim(1));
    Attributes attributes;
    if (mask_.inverted) attributes.set("inverted", int64_t{1});
    order_ = graph_.add_node("hussar.TokenOrder", mask_.source->name + "/order", {mask_.source},
                             {index_, place_, starts_}, std::move(attributes));
  }

  bool reads_rows(const Node* user, size_t input) const {
    if (!region_.contains(user)) return false;
    const std::vector<size_t> inputs = region_.row_inputs(*user);
    return std::find(inputs.begin(), inputs.end(), input) != inputs.end();
  }

  // Lets those users read `to` for which `wants` holds.
  template <class Wants>
  void redirect(Value* from, Value* to, Wants wants) {
    const std::vector<Node*> users = from->users;
    for (Node* user : users) {
      for (size_t i = 0; i < user->inputs.size(); ++i) {
        if (user->inputs[i] == from && user != to->producer && wants(user, i)) graph_.set_input(user, i, to);
      }
    }
  }

  Value* gather(Value* value, Value* index) {
    return add_operation(graph_, value->name, "hussar.GatherRows", {value, index}, {}, value->dtype, value->dims);
  }

  // Users in the region read the packed rows, which are known by the name of the value: ranges are found by names.
  void enter(Value* value) {
    Value* packed = gather(value, index_);
    redirect(value, packed, [&](const Node* user, size_t input) { return reads_rows(user, input); });
    const bool is_input = std::find(graph_.inputs.begin(), graph_.inputs.end(), value) != graph_.inputs.end();
    if (!is_input && !graph_.is_output(value) && !value->is_constant()) std::swap(value->name, packed->name);
  }

  // Users outside read the rows in their old order.
  void leave(Value* value) {
    auto is_outside = [&](const Node* user, size_t input) {
      return !reads_rows(user, input) && !has_trait(find_op(user->op), kShapeOnly);
    };
    bool is_read = graph_.is_output(value);
    for (const Node* user : value->users) {
      for (size_t i = 0; i < user->inputs.size(); ++i)
        is_read = is_read || (user->inputs[i] == value && is_outside(user, i));
    }
    if (!is_read) return;
    Value* padded = gather(value, place_);
    redirect(value, padded, is_outside);
    for (Value*& output : graph_.outputs) {
      if (output != value) continue;
      std::swap(value->name, padded->name);
      padded_outputs_.push_back(padded->name);
      output = padded;
    }
  }

  Graph& graph_;
  std::vector<Node*> attentions_;
  PaddingMask mask_;
  TokenRegion region_;
  Node* order_ = nullptr;
  Value *index_ = nullptr, *place_ = nullptr, *starts_ = nullptr;
  std::vector<std::string> padded_outputs_;
};

Result<int> run(PassContext& context) {
  if (!context.packed) return 0;
  Graph& graph = context.graph;
  std::map<std::pair<const Value*, bool>, std::vector<Node*>> by_source;
  std::vector<Candidate> candidates;
  TriedMasks tried;
  std::string reasons;
  size_t all = 0;
  for (Node* node : graph.snapshot()) {
    if (node->op != "hussar.Attention") continue;
    ++all;
    std::string reason;
    const auto candidate = candidate_of(node, tried, reason);
    if (candidate) {
      candidates.push_back(*candidate);
      by_source[{candidate->mask.source, candidate->mask.inverted}].push_back(node);
    } else if (reasons.empty()) {
      reasons = fmt::format("{}: {}", describe(*node), reason);
    }
  }
  if (candidates.empty()) {
    return fail(ErrorCode::kUsage, "--packed finds nothing to pack: {}; build without --packed",
                all == 0 ? "no attention is recognised in the model" : reasons);
  }
  // All share one order; of several masks the one with the most attentions counts, of equals the first.
  const Candidate* best = &candidates[0];
  auto attentions_of = [&](const Candidate& candidate) -> const std::vector<Node*>& {
    return by_source.at({candidate.mask.source, candidate.mask.inverted});
  };
  for (const Candidate& candidate : candidates) {
    if (attentions_of(candidate).size() > attentions_of(*best).size()) best = &candidate;
  }
  Packer(graph, attentions_of(*best), best->mask).pack(all);
  return static_cast<int>(attentions_of(*best).size());
}

}  // namespace

extern const Pass pack_tokens_pass = {
    .name = "pack_tokens",
    .summary = "x -> Attention(mask) => GatherRows(x) -> Attention(starts) -> GatherRows",
    .run = run};

}  // namespace hussar
