// Channels that are much larger or smaller than others get the resolution of a scale of their own, where only products
// read them:
//   Conv(Conv(x, v){hard_swish, mul a, add b}, w)  =>  Conv(Conv(x, v){hard_swish, mul a / d, add b / d}, d * w)
// The divisors are PassContext::quantization's. The factor stands behind the activation, whatever that is, and costs
// one multiplication per element, none where there is one already.
#include <algorithm>

#include "passes/pass.h"
#include "passes/support/smoothable.h"

namespace hussar {
namespace {

class Ending {
 public:
  Ending(Graph& graph, Node* node, const std::vector<float>& divisors)
      : graph_(graph), node_(node), divisors_(divisors) {}

  void divide() {
    if (!node_->program) {
      node_->program = Program{};
      node_->program_inputs = static_cast<int32_t>(node_->inputs.size());
    }
    Program& program = *node_->program;
    ProgramStep* last = program.steps + program.step_count - 1;
    if (program.step_count >= 2 && is_affine(last[-1], last[0])) {
      turn(last[-1]);
      return turn(last[0]);
    }
    if (program.step_count >= 1 && last->op == ProgramOp::kMul && last->source == ProgramSource::kConstant)
      return turn(*last);
    const uint8_t result = program.step_count == 0 ? uint8_t{0} : last->dst;
    ProgramStep& step = program.steps[program.step_count++];
    step = {};
    step.op = ProgramOp::kMul;
    step.dst = step.a = result;
    step.p0 = 1;
    turn(step);
  }

 private:
  // Multiplies with a number and adds another one.
  static bool is_affine(const ProgramStep& first, const ProgramStep& second) {
    return first.op == ProgramOp::kMul && first.source == ProgramSource::kConstant && second.op == ProgramOp::kAdd &&
           second.source == ProgramSource::kConstant && second.a == first.dst && second.dst == first.dst;
  }

  // The constant of the step becomes one number per channel, divided. It stays where it was, too: who compares tensors
  // (compile/plan_tensors.cpp) finds the divisors by it.
  void turn(ProgramStep& step) {
    const Value& output = *node_->output();
    const auto channels = static_cast<int64_t>(divisors_.size());
    Ints dims(output.layout == Layout::kChannelsLast ? static_cast<size_t>(output.rank() - 1) : 1, 1);
    dims[0] = channels;
    Tensor numbers(DType::kFloat32, Shape(std::span(dims)));
    for (int64_t i = 0; i < channels; ++i) numbers.data<float>()[i] = step.p0 / divisors_[static_cast<size_t>(i)];
    Value* operand = graph_.add_constant(graph_.unique_name(output.name + "_factors"), std::move(numbers));
    node_->inputs.push_back(operand);
    operand->users.push_back(node_);
    step.source = ProgramSource::kOperand;
    step.b = node_->program->operand_count++;
  }

  Graph& graph_;
  Node* node_;
  const std::vector<float>& divisors_;
};

Result<int> run(PassContext& context) {
  const Quantization* quantization = context.quantization;
  if (quantization == nullptr || quantization->divisors.empty()) return 0;
  Graph& graph = context.graph;
  int rewrites = 0;
  for (Node* node : graph.snapshot()) {
    Value* value = node->output();
    if (value == nullptr || is_normalization(*node)) continue;
    auto it = quantization->divisors.find(value->name);
    if (it == quantization->divisors.end() || smoothable_channels(graph, *value) != std::ssize(it->second)) continue;
    // Kernels in FP32 pay more for a factor per channel than they gain.
    auto is_kept = [&](const Node* other) { return entry_of(quantization->float_nodes, *other) != nullptr; };
    if (is_kept(node) || std::any_of(value->users.begin(), value->users.end(), is_kept)) continue;
    if (!multiply_products(graph, value, it->second)) continue;
    Ending(graph, node, it->second).divide();
    ++rewrites;
  }
  return rewrites;
}

}  // namespace

extern const Pass smooth_products_pass = {
    .name = "smooth_products",
    .summary = "Conv(Conv(x, v){relu}, w) => Conv(Conv(x, v){relu, mul 1 / d}, d * w)",
    .run = run,
    .after = "choose_layouts"};

}  // namespace hussar
