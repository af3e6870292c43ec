// Slices that lie side by side and are the whole of what they cut are its parts: exporters write torch.chunk so. A
// Split costs nothing where its parts can be read in place (slice_channels).
#include <algorithm>
#include <utility>

#include "passes/pass.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

struct Part {
  Node* slice;
  int axis;
  int64_t begin, end;
};

// A slice along one axis of known length, forwards and of at least one element.
std::optional<Part> part_of(Node* node) {
  if (node->op != "Slice" || node->program || node->output() == nullptr || !node->inputs[0]->dims) return std::nullopt;
  auto single = [&](size_t input) -> std::optional<int64_t> {
    if (node->inputs.size() <= input || node->inputs[input] == nullptr) return std::nullopt;
    const auto numbers = integers_of(node->inputs[input]);
    return numbers && numbers->size() == 1 ? std::optional(numbers->front()) : std::nullopt;
  };
  auto begin = single(1), end = single(2), axis = single(3);
  const bool steps = node->inputs.size() > 4 && node->inputs[4] != nullptr;
  if (!begin || !end || !axis || (steps && single(4) != 1)) return std::nullopt;
  const int rank = node->inputs[0]->rank();
  if (*axis < 0) *axis += rank;
  if (*axis < 0 || *axis >= rank) return std::nullopt;
  const int64_t length = static_dim(node->inputs[0], static_cast<int>(*axis));
  if (length <= 0) return std::nullopt;
  auto place = [&](int64_t at) { return std::clamp<int64_t>(at < 0 ? at + length : at, 0, length); };
  const Part part{node, static_cast<int>(*axis), place(*begin), place(*end)};
  return part.begin < part.end ? std::optional(part) : std::nullopt;
}

// Slices of the value along this axis, in order, from its first element to its last; empty when they are not all of it.
std::vector<Part> parts_of(const Value* whole, int axis) {
  std::vector<Part> parts;
  for (Node* user : whole->users) {
    const auto part = user->op == "Slice" && user->inputs[0] == whole ? part_of(user) : std::nullopt;
    if (part && part->axis == axis) parts.push_back(*part);
  }
  std::sort(parts.begin(), parts.end(), [](const Part& a, const Part& b) { return a.begin < b.begin; });
  int64_t at = 0;
  for (const Part& part : parts) {
    if (part.begin != at) return {};
    at = part.end;
  }
  const bool is_whole = parts.size() > 1 && at == static_dim(whole, axis);
  return is_whole ? parts : std::vector<Part>();
}

bool recognise(Graph& graph, Node* node) {
  const auto first = part_of(node);
  if (!first) return false;
  Value* whole = node->inputs[0];
  const std::vector<Part> parts = parts_of(whole, first->axis);
  if (parts.empty()) return false;
  Ints lengths;
  std::vector<Value*> outputs;
  std::string name;
  for (const Part& part : parts) {
    lengths.push_back(part.end - part.begin);
    outputs.push_back(std::exchange(part.slice->outputs, {}).front());
    name += (name.empty() ? "" : "+") + part.slice->name;
  }
  Attributes attributes;
  attributes.set("axis", int64_t{first->axis});
  graph.add_node("Split", name, {whole, add_integers(graph, name + "/split", lengths)}, outputs, std::move(attributes));
  for (const Part& part : parts) unlink_unused(graph, part.slice);
  return true;
}

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) { return recognise(context.graph, node); });
}

}  // namespace

extern const Pass recognise_split_pass = {.name = "recognise_split",
                                          .summary = "Slice(x, 0, 16), Slice(x, 16, 32) => Split(x, [16, 16])",
                                          .run = run,
                                          .after = "simplify_reshape"};

}  // namespace hussar
