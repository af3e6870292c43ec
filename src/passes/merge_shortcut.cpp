// A residual block's last 1x1 convolution and the 1x1 convolution of its shortcut become one step on Hopper, so that
// the shortcut is neither written nor read:
//   Conv(a, w){add Conv(b, v), relu}  =>  hussar.ConvSum(a, w, b, v){relu}
// The shortcut is not rounded in between. For other GPUs and CPUs a plan's step is taken apart again
// (compile/split_composites.h).
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"
#include "tensor/conv_sum.h"

namespace hussar {
namespace {

constexpr const char* kGeometry[] = {"strides",  "pads",         "dilations", "group",
                                     "auto_pad", "kernel_shape", "x_scale",   "x_zero_point"};

bool all_are(const Node& node, const char* name, int64_t wanted) {
  const Ints list = node.attributes.get_ints(name);
  return std::all_of(list.begin(), list.end(), [&](int64_t number) { return number == wanted; });
}

size_t own_inputs(const Node& node) {
  return node.program ? static_cast<size_t>(node.program_inputs) : node.inputs.size();
}

// A 1x1 convolution without padding and groups, whose scales are known.
bool is_pointwise(const Node* node) {
  if (node == nullptr || node->outputs.size() != 1) return false;
  const bool of_bytes = node->op == parts_of_conv_sum(kQuantizedConvSum);
  if (!of_bytes && node->op != parts_of_conv_sum(kConvSum)) return false;
  if (own_inputs(*node) > inputs_of_part(of_bytes ? kQuantizedConvSum : kConvSum)) return false;
  const Value* w = node->input(1);
  if (w == nullptr || !w->is_constant() || w->constant->shape().rank() < 3) return false;
  const Shape& shape = w->constant->shape();
  return shape.elements(2, shape.rank()) == 1 && all_are(*node, "pads", 0) &&
         node->attributes.get_int("group", 1) == 1 && node->attributes.get_string("auto_pad", "NOTSET") == "NOTSET";
}

// The operand that the node's program adds before all else, and nowhere again; -1: there is none.
int added_first(const Node& node) {
  if (!node.program) return -1;
  const Program& program = *node.program;
  const ProgramStep& first = program.steps[0];
  const bool adds =
      first.op == ProgramOp::kAdd && first.dst == 0 && first.a == 0 && first.source == ProgramSource::kOperand;
  if (!adds) return -1;
  for (int i = 1; i < program.step_count; ++i) {
    const ProgramStep& step = program.steps[i];
    if (reads_b(step.op) && step.source == ProgramSource::kOperand && step.b == first.b) return -1;
  }
  return first.b;
}

// The convolution whose result is the operand, for nobody else; null: there is none.
Node* shortcut_of(const Graph& graph, Node* node, int operand) {
  Value* value = node->input(own_inputs(*node) + static_cast<size_t>(operand));
  Node* other = value->producer;
  if (!is_pointwise(other) || other->op != node->op || other->program) return nullptr;
  const Value& y = *node->outputs[0];
  const bool is_inner = only_user(graph, value) == node && value->slice_of == nullptr && value != node->input(0);
  if (!is_inner || !same_dims(value, &y) || value->layout != y.layout) return nullptr;
  if (other->inputs[0]->dtype != node->inputs[0]->dtype) return nullptr;
  // Bytes that stand for something else than what was meant are none.
  const bool same_meaning =
      node->attributes.get_float("operand_scale", 1) == other->attributes.get_float("y_scale", 1) &&
      node->attributes.get_int("operand_zero_point", 0) == other->attributes.get_int("y_zero_point", 0);
  return is_quantized(value->dtype) && !same_meaning ? nullptr : other;
}

// The program without its first step and the operand of that; nullopt: nothing is left.
std::optional<Program> rest_of(const Program& program, int operand) {
  Program rest{};
  for (int i = 1; i < program.step_count; ++i) {
    ProgramStep step = program.steps[i];
    if (step.source == ProgramSource::kOperand && step.b > operand) --step.b;
    rest.steps[rest.step_count++] = step;
  }
  rest.operand_count = static_cast<uint8_t>(program.operand_count - 1);
  return rest.step_count > 0 ? std::optional(rest) : std::nullopt;
}

// The sum of `first` and `second`, with what `node`, one of them, does with it.
Node sum_of(const Node& first, const Node& second, const Node& node, int operand) {
  Node sum;
  sum.op = node.op == "Conv" ? kConvSum : kQuantizedConvSum;
  const size_t each = inputs_of_part(sum.op), own = own_inputs(node);
  for (const Node* part : {&first, &second}) {
    for (size_t i = 0; i < each; ++i) sum.inputs.push_back(i < own_inputs(*part) ? part->input(i) : nullptr);
  }
  sum.outputs = node.outputs;
  sum.attributes = node.attributes;
  for (const char* name : kGeometry) {
    sum.attributes.erase(name);
    for (const Node* part : {&first, &second}) {
      const auto it = part->attributes.all().find(name);
      const std::string prefix(part == &second ? kShortcutPrefix : "");
      if (it != part->attributes.all().end()) sum.attributes.set(prefix + name, it->second);
    }
  }
  bool reads_bytes = false;
  sum.program = rest_of(*node.program, operand);
  for (size_t i = own; sum.program && i < node.inputs.size(); ++i) {
    if (i == own + static_cast<size_t>(operand)) continue;
    sum.inputs.push_back(node.inputs[i]);
    reads_bytes = reads_bytes || is_quantized(node.inputs[i]->dtype);
  }
  if (!reads_bytes) {
    sum.attributes.erase("operand_scale");
    sum.attributes.erase("operand_zero_point");
  }
  sum.program_inputs = sum.program ? static_cast<int32_t>(2 * each) : 0;
  sum.name = node.name + "+" + (&first == &node ? second : first).name;
  return sum;
}

// `target` as both may use it.
Target common_target(const PassContext& context, const Node& node, const Node& other) {
  if (!context.restrict) return context.target;
  Target target = context.restrict(Problem{node, context.target}).target;
  const Target others = context.restrict(Problem{other, context.target}).target;
  if (target.no_tf32.empty()) target.no_tf32 = others.no_tf32;
  return target;
}

bool merge(const PassContext& context, Node* node) {
  if (!is_pointwise(node)) return false;
  const int operand = added_first(*node);
  Node* other = operand < 0 ? nullptr : shortcut_of(context.graph, node, operand);
  if (other == nullptr) return false;
  // Windows of one of the two may be anywhere.
  const bool is_last = all_are(*node, "strides", 1);
  const Node sum = is_last ? sum_of(*node, *other, *node, operand) : sum_of(*other, *node, *node, operand);
  const Target target = common_target(context, *node, *other);
  const double apart = least_time({*node, context.target}) + least_time({*other, context.target});
  if (!(least_time({sum, target}) < apart)) return false;
  std::string note = node->note;
  if (note != other->note) note += (note.empty() || other->note.empty() ? "" : "\n") + other->note;
  Node* merged = replace_node(context.graph, node, sum.op, sum.inputs, sum.attributes);
  merged->name = sum.name;
  merged->program = sum.program;
  merged->program_inputs = sum.program_inputs;
  merged->note = note;
  return true;
}

Result<int> run(PassContext& context) {
  // A library has neither of both in one call.
  if (context.target.place != Place::kDevice || context.target.only_libraries) return 0;
  return rewrite_each(context.graph, [&](Node* node) { return merge(context, node); });
}

}  // namespace

extern const Pass merge_shortcut_pass = {
    .name = "merge_shortcut",
    .summary = "Conv(a, w){add Conv(b, v), relu} => hussar.ConvSum(a, w, b, v){relu}",
    .run = run,
    .after = "fuse_embedding_norm"};

}  // namespace hussar
