// Convolutions and products with constant weights compute in INT8 where the range of their input is known:
//   Conv(x, w){program}  =>  hussar.QuantizedConv(QuantizeLinear(x), round(w / s), s, bias){program}
// One scale per output channel for the weights, from the largest magnitude; scale and zero point of x from
// PassContext::quantization.
#include <algorithm>
#include <map>

#include "ops/product_weights.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tensor/broadcast.h"

namespace hussar {
namespace {

// nullopt: not a product that has an INT8 form.
std::optional<ProductWeights> weights_of(const Node& node) {
  const bool has_layout =
      node.op != "Conv" || (node.input(0) != nullptr && node.inputs[0]->layout == Layout::kChannelsLast &&
                            node.outputs[0]->layout == Layout::kChannelsLast);
  return has_layout ? product_weights(node) : std::nullopt;
}

class Products {
 public:
  Products(Graph& graph, const Quantization& quantization) : graph_(graph), quantization_(quantization) {}

  int run() {
    int rewrites = 0;
    for (Node* node : graph_.snapshot()) rewrites += rewrite(node) ? 1 : 0;
    return rewrites;
  }

 private:
  bool rewrite(Node* node) {
    auto weights = weights_of(*node);
    if (!weights) return false;
    const QuantParams* params = quantization_.find(node->inputs[0]->name);
    const std::string* kept = entry_of(quantization_.float_nodes, *node);
    std::string reason;
    if (kept != nullptr)
      reason = *kept;
    else if (weights->elements > kQuantizedDepth)
      reason = "sums over so many elements may overflow";
    else if (params == nullptr)
      reason = "nothing is known of the range of its input";
    if (!reason.empty()) {
      node->note = "no INT8: " + reason;
      return false;
    }
    Int8Weights quantized = quantize_weights(*node, *weights);
    const BiasCorrection* correction = correction_of(*node, quantized, *params);
    const std::string name = node->inputs[1]->name;
    Value* numbers = graph_.add_constant(graph_.unique_name(name), std::move(quantized.numbers));
    Value* scales = graph_.add_constant(graph_.unique_name(name + "_scale"), std::move(quantized.scales));
    std::vector<Value*> inputs = {bytes_of(node->inputs[0], *params), numbers, scales,
                                  corrected(bias_of(node, weights->channels), correction)};
    const std::optional<Program> program = node->program;
    for (size_t i = static_cast<size_t>(node->program_inputs); program && i < node->inputs.size(); ++i) {
      inputs.push_back(node->inputs[i]);
    }
    Attributes attributes = node->attributes;
    for (const char* gone : {"transA", "transB", "transBatchA", "transBatchB", "alpha"}) attributes.erase(gone);
    attributes.set("x_scale", params->scale);
    attributes.set("x_zero_point", int64_t{params->zero_point});
    const bool is_conv = node->op == "Conv";
    Node* product = replace_node(graph_, node, is_conv ? "hussar.QuantizedConv" : "hussar.QuantizedMatMul", inputs,
                                 std::move(attributes));
    const std::string* note = entry_of(quantization_.notes, *product);
    if (note != nullptr) product->note = *note;
    product->program = program;
    product->program_inputs = program ? 4 : 0;
    return true;
  }

  // Null when none is known for what the product becomes.
  const BiasCorrection* correction_of(const Node& node, const Int8Weights& quantized, const QuantParams& input) const {
    auto it = quantization_.corrections.find(node.outputs[0]->name);
    if (it == quantization_.corrections.end()) return nullptr;
    const BiasCorrection& correction = it->second;
    const bool fits = correction.input.scale == input.scale && correction.input.zero_point == input.zero_point &&
                      static_cast<int64_t>(correction.bias.size()) == quantized.scales.elements() &&
                      correction.weights == quantized.fingerprint();
    return fits ? &correction : nullptr;
  }

  // Others may use the constant: it stays as it is.
  Value* corrected(Value* bias, const BiasCorrection* correction) {
    if (correction == nullptr || (bias != nullptr && (!bias->is_constant() || bias->dtype != DType::kFloat32)))
      return bias;
    Tensor sum(DType::kFloat32, {static_cast<int64_t>(correction->bias.size())});
    if (bias != nullptr && bias->constant->elements() != sum.elements()) return bias;
    for (int64_t i = 0; i < sum.elements(); ++i) {
      sum.data<float>()[i] =
          correction->bias[static_cast<size_t>(i)] + (bias != nullptr ? bias->constant->data<float>()[i] : 0);
    }
    return graph_.add_constant(graph_.unique_name(bias != nullptr ? bias->name : "bias"), std::move(sum));
  }

  // The convolution's own bias, or what the product's program adds first to every column.
  Value* bias_of(Node* node, int64_t channels) {
    if (node->op == "Conv") {
      const bool own = node->inputs.size() > 2 && (!node->program || node->program_inputs > 2);
      return own ? node->inputs[2] : nullptr;
    }
    if (!node->program || node->program->step_count < 1) return nullptr;
    Program& program = *node->program;
    const ProgramStep& first = program.steps[0];
    const bool adds =
        first.op == ProgramOp::kAdd && first.dst == 0 && first.a == 0 && first.source == ProgramSource::kOperand;
    if (!adds) return nullptr;
    const size_t at = static_cast<size_t>(node->program_inputs) + first.b;
    Value* bias = node->inputs[at];
    const uint8_t gone = first.b;
    const bool again = std::any_of(program.steps + 1, program.steps + program.step_count, [&](const ProgramStep& step) {
      return step.source == ProgramSource::kOperand && step.b == gone;
    });
    if (again || !bias->is_constant() || bias->constant->elements() != channels || bias->rank() != 1) return nullptr;
    std::copy(program.steps + 1, program.steps + program.step_count, program.steps);
    program.steps[--program.step_count] = {};
    --program.operand_count;
    for (int i = 0; i < program.step_count; ++i) {
      ProgramStep& step = program.steps[i];
      if (step.source == ProgramSource::kOperand && step.b > gone) --step.b;
    }
    node->inputs.erase(node->inputs.begin() + static_cast<std::ptrdiff_t>(at));
    bias->users.erase(std::find(bias->users.begin(), bias->users.end(), node));
    if (program.step_count == 0) node->program.reset();
    return bias;
  }

  // x as bytes, once for all its users.
  Value* bytes_of(Value* x, const QuantParams& params) {
    Value*& bytes = bytes_[x];
    if (bytes != nullptr) return bytes;
    Tensor scale(DType::kFloat32, Shape{}), zero_point(DType::kUInt8, Shape{});
    scale.data<float>()[0] = params.scale;
    zero_point.data<uint8_t>()[0] = static_cast<uint8_t>(params.zero_point);
    bytes = graph_.add_value(graph_.unique_name(x->name + "_bytes"), DType::kUInt8, x->dims);
    bytes->layout = x->layout;
    graph_.add_node("QuantizeLinear", "quantize " + x->name,
                    {x, graph_.add_constant(graph_.unique_name(x->name + "_scale"), std::move(scale)),
                     graph_.add_constant(graph_.unique_name(x->name + "_zero"), std::move(zero_point))},
                    {bytes});
    return bytes;
  }

  Graph& graph_;
  const Quantization& quantization_;
  std::map<Value*, Value*> bytes_;
};

Result<int> run(PassContext& context) {
  if (context.quantization == nullptr) return 0;
  return Products(context.graph, *context.quantization).run();
}

}  // namespace

extern const Pass quantize_products_pass = {
    .name = "quantize_products",
    .summary = "Conv(x, w) => hussar.QuantizedConv(QuantizeLinear(x), w8, scales, bias)",
    .run = run};

}  // namespace hussar
