// Convolutions and products with constant weights compute in INT8 where the range of their input is known:
//   Conv(x, w){program}  =>  hussar.QuantizedConv(QuantizeLinear(x), round(w / s), s, bias){program}
// One scale per output channel for the weights, from the largest magnitude; scale and zero point of x from
// PassContext::quantization.
#include <algorithm>
#include <cmath>
#include <map>

#include "ops/quantized_product.h"
#include "passes/pass.h"
#include "passes/support/rewrite.h"
#include "tensor/broadcast.h"

namespace hussar {
namespace {

// The weights as [channel][element], with the steps from one channel and one element to the next.
struct Weights {
  const float* data;
  int64_t channels, elements, channel_stride, element_stride;
};

bool is_finite(const Tensor& tensor) {
  const auto* data = tensor.data<float>();
  return std::all_of(data, data + tensor.elements(), [](float x) { return std::isfinite(x); });
}

// nullopt: not a product that has an INT8 form.
std::optional<Weights> weights_of(const Node& node) {
  const Value* x = node.input(0);
  const Value* w = node.input(1);
  if (x == nullptr || w == nullptr || !w->is_constant() || x->dtype != DType::kFloat32) return std::nullopt;
  if (w->dtype != DType::kFloat32 || w->constant->elements() == 0 || !is_finite(*w->constant)) return std::nullopt;
  const Shape& shape = w->constant->shape();
  const auto* data = w->constant->data<float>();
  if (node.op == "Conv") {
    if (x->layout != Layout::kChannelsLast || node.outputs[0]->layout != Layout::kChannelsLast) return std::nullopt;
    const int64_t elements = shape.elements(1, shape.rank());
    return Weights{data, shape[0], elements, elements, 1};
  }
  const Attributes& attributes = node.attributes;
  bool plain = node.op == "MatMul" || node.op == "com.microsoft.FusedMatMul";
  for (const char* name : {"transA", "transBatchA", "transBatchB"}) plain = plain && attributes.get_int(name, 0) == 0;
  if (!plain || attributes.get_float("alpha", 1.0F) != 1.0F || shape.rank() != 2 || x->rank() < 1) return std::nullopt;
  if (attributes.get_int("transB", 0) != 0) return Weights{data, shape[0], shape[1], shape[1], 1};
  return Weights{data, shape[1], shape[0], 1, shape[1]};
}

struct QuantizedWeights {
  Tensor numbers, scales;
};

// Conv keeps the shape of its filter; the right side of a product becomes k x n.
QuantizedWeights quantize_weights(const Node& node, const Weights& weights) {
  const bool is_conv = node.op == "Conv";
  const Shape shape = is_conv ? node.inputs[1]->constant->shape() : Shape{weights.elements, weights.channels};
  QuantizedWeights result{Tensor(DType::kInt8, shape), Tensor(DType::kFloat32, {weights.channels})};
  auto* q = result.numbers.data<int8_t>();
  for (int64_t channel = 0; channel < weights.channels; ++channel) {
    const float* w = weights.data + channel * weights.channel_stride;
    float largest = 0;
    for (int64_t i = 0; i < weights.elements; ++i)
      largest = std::max(largest, std::fabs(w[i * weights.element_stride]));
    const float scale = largest > 0 ? largest / 127 : 1;
    result.scales.data<float>()[channel] = scale;
    for (int64_t i = 0; i < weights.elements; ++i) {
      const int64_t at = is_conv ? channel * weights.elements + i : i * weights.channels + channel;
      const float rounded = std::nearbyint(w[i * weights.element_stride] / scale);
      q[at] = static_cast<int8_t>(std::clamp(rounded, -127.0F, 127.0F));
    }
  }
  return result;
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
    QuantizedWeights quantized = quantize_weights(*node, *weights);
    const std::string name = node->inputs[1]->name;
    Value* numbers = graph_.add_constant(graph_.unique_name(name), std::move(quantized.numbers));
    Value* scales = graph_.add_constant(graph_.unique_name(name + "_scale"), std::move(quantized.scales));
    std::vector<Value*> inputs = {bytes_of(node->inputs[0], *params), numbers, scales,
                                  bias_of(node, weights->channels)};
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
