// Operators that compute on integers are written as the real numbers that they stand for:
//   QLinearConv(x, w, bias)  =>  QuantizeLinear(Conv(DequantizeLinear(x), DequantizeLinear(w), bias * scales))
//   MatMulInteger(DynamicQuantizeLinear(x), w) -> Cast -> Mul(x_scale, w_scale)
//                            =>  MatMul(hussar.DynamicFakeQuantize(x), DequantizeLinear(w))
// Tables of bytes stay bytes:
//   Gather(DequantizeLinear(table), indices)  =>  DequantizeLinear(Gather(table, indices))
// Then every pass knows them, and quantize_products finds the integers again.
#include <algorithm>
#include <map>

#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

bool is_bytes(const Value* value) { return value->dtype == DType::kUInt8 || value->dtype == DType::kInt8; }

// One number, or one per index of an axis.
std::optional<std::vector<double>> parameter(const Value* value) {
  auto numbers = numbers_of(value);
  return numbers && !numbers->empty() && value->rank() <= 1 ? numbers : std::nullopt;
}

class Lowering {
 public:
  explicit Lowering(Graph& graph) : graph_(graph) {}

  bool visit(Node* node) {
    if (node->program) return false;
    if (node->op == "QLinearConv") return lower_linear(node, "Conv");
    if (node->op == "QLinearMatMul") return lower_linear(node, "MatMul");
    if (node->op == "ConvInteger") return lower_integer(node, "Conv");
    if (node->op == "Gather") return gather_bytes(node);
    return node->op == "MatMulInteger" && lower_integer(node, "MatMul");
  }

 private:
  // DequantizeLinear(bytes), whose parameters may be those of an axis.
  Value* dequantize(const Node* node, Value* bytes, Value* scale, Value* zero_point, int axis) {
    Attributes attributes;
    attributes.set("axis", int64_t{axis});
    return add_operation(graph_, node->name, "DequantizeLinear", {bytes, scale, zero_point}, attributes,
                         DType::kFloat32, bytes->dims);
  }

  // The axis of the right operand that the output's columns or channels come from; -1: not known.
  static int channel_axis(const Node* node, const Value* w) {
    return node->op.find("Conv") != std::string::npos ? 0 : w->rank() - 1;
  }

  // The weights as real numbers; null: their scale and zero point are no numbers for all, or per channel. One of them
  // may be either.
  Value* real_weights(const Node* node, Value* w, Value* scale, Value* zero_point) {
    auto scales = parameter(scale);
    const int axis = channel_axis(node, w);
    if (!scales || axis < 0 || !is_bytes(w)) return nullptr;
    auto zeros = zero_point == nullptr ? std::vector<double>{0} : parameter(zero_point).value_or(std::vector<double>());
    const int64_t channels = static_dim(w, axis);
    const auto fits = [&](const std::vector<double>& numbers) {
      return numbers.size() == 1 || std::ssize(numbers) == channels;
    };
    if (!fits(*scales) || !fits(zeros)) return nullptr;
    const bool is_alike =
        zero_point == nullptr || (scales->size() == zeros.size() && scale->rank() == zero_point->rank());
    if (is_alike) return dequantize(node, w, scale, zero_point, axis);
    if (channels <= 0) return nullptr;
    scales->resize(static_cast<size_t>(channels), scales->front());
    zeros.resize(static_cast<size_t>(channels), zeros.front());
    return dequantize(node, w, add_numbers(graph_, w->name, DType::kFloat32, {channels}, *scales),
                      add_numbers(graph_, w->name, w->dtype, {channels}, zeros), axis);
  }

  bool lower_linear(Node* node, const char* op) {
    Value* const x = node->inputs[0];
    Value* const w = node->inputs[3];
    Value* const bias = node->input(8);
    const auto x_scale = number_of(node->inputs[1]), y_scale = number_of(node->inputs[6]);
    if (!x_scale || !y_scale || !number_of(node->inputs[2]) || !number_of(node->inputs[7])) return false;
    if (node->inputs[1]->dtype != DType::kFloat32 || node->inputs[4]->dtype != DType::kFloat32) return false;
    if (!is_bytes(x) || !is_bytes(node->output()) || node->inputs[2]->rank() != node->inputs[1]->rank()) return false;
    if (bias != nullptr && !bias->is_constant()) return false;
    Value* real_w = real_weights(node, w, node->inputs[4], node->inputs[5]);
    if (real_w == nullptr) return false;
    std::vector<Value*> inputs = {dequantize(node, x, node->inputs[1], node->inputs[2], 0), real_w};
    if (bias != nullptr) inputs.push_back(real_bias(bias, *x_scale, *parameter(node->inputs[4])));
    Value* product =
        add_operation(graph_, node->name, op, inputs, node->attributes, DType::kFloat32, node->output()->dims);
    replace_node(graph_, node, "QuantizeLinear", {product, node->inputs[6], node->inputs[7]});
    return true;
  }

  bool gather_bytes(Node* node) {
    const Node* real = produced_by(node->inputs[0], "DequantizeLinear");
    const auto params = real == nullptr ? std::nullopt : byte_params(*real);
    // What is constant is folded, and costs nothing then.
    if (!params || !real->inputs[0]->is_constant() || node->inputs[1]->is_constant()) return false;
    Value* table = unsigned_bytes(real->inputs[0]);
    Value* bytes = add_operation(graph_, node->name, "Gather", {table, node->inputs[1]}, node->attributes,
                                 DType::kUInt8, node->output()->dims);
    Value* scale = add_numbers(graph_, table->name, DType::kFloat32, {}, {static_cast<double>(params->scale)});
    Value* zero_point = add_numbers(graph_, table->name, DType::kUInt8, {}, {static_cast<double>(params->zero_point)});
    replace_node(graph_, node, "DequantizeLinear", {bytes, scale, zero_point});
    return true;
  }

  // Constant signed bytes moved by 128, as kernels want them.
  Value* unsigned_bytes(Value* bytes) {
    if (bytes->dtype == DType::kUInt8) return bytes;
    Value*& moved = moved_[bytes];
    if (moved != nullptr) return moved;
    Tensor result(DType::kUInt8, bytes->constant->shape());
    const auto* from = bytes->constant->data<int8_t>();
    std::transform(from, from + result.elements(), result.data<uint8_t>(),
                   [](int8_t number) { return static_cast<uint8_t>(number + 128); });
    return moved = graph_.add_constant(graph_.unique_name(bytes->name), std::move(result));
  }

  Value* real_bias(const Value* bias, double x_scale, const std::vector<double>& scales) {
    std::vector<double> numbers = *numbers_of(bias);
    for (size_t i = 0; i < numbers.size(); ++i) numbers[i] *= x_scale * scales[scales.size() == 1 ? 0 : i];
    return add_numbers(graph_, bias->name, DType::kFloat32, bias->constant->shape(), numbers);
  }

  // Mul(Cast(sums), x_scale * w_scale), whichever way round: the node, and the scale of w (null: 1). x_scale is that of
  // `dynamic`.
  struct Scaling {
    Node* node = nullptr;
    Value* w_scale = nullptr;
  };
  std::optional<Scaling> scaling_of(const Node* node, const Node* dynamic) const {
    Node* cast = only_user(graph_, node->output());
    if (cast == nullptr || cast->op != "Cast" || cast->output()->dtype != DType::kFloat32) return std::nullopt;
    Node* multiply = only_user(graph_, cast->output());
    if (multiply == nullptr || multiply->op != "Mul") return std::nullopt;
    Value* const x_scale = dynamic->outputs[1];
    Value* factor = multiply->inputs[multiply->inputs[0] == cast->output() ? 1 : 0];
    if (factor == x_scale) return Scaling{multiply, nullptr};
    Node* product = produced_by(factor, "Mul");
    if (product == nullptr) return std::nullopt;
    if (product->inputs[0] == x_scale) return Scaling{multiply, product->inputs[1]};
    return product->inputs[1] == x_scale ? std::optional(Scaling{multiply, product->inputs[0]}) : std::nullopt;
  }

  bool lower_integer(Node* node, const char* op) {
    Node* dynamic = produced_by(node->inputs[0], "DynamicQuantizeLinear");
    Value* const w = node->inputs[1];
    if (dynamic == nullptr || node->input(2) != dynamic->output(2) || dynamic->output(2) == nullptr) return false;
    const auto scaling = dynamic->output(1) == nullptr ? std::nullopt : scaling_of(node, dynamic);
    if (!scaling || !w->is_constant() || !is_bytes(w) || !same_dims(node->output(), scaling->node->output()))
      return false;
    Value* scale = scaling->w_scale;
    auto scales = scale == nullptr ? std::vector<double>{1} : numbers_of(scale).value_or(std::vector<double>());
    if (scales.empty() || (scale != nullptr && scale->dtype != DType::kFloat32)) return false;
    const int axis = channel_axis(node, w);
    Value* const zero_point = node->input(3);
    auto zeros = zero_point == nullptr ? std::vector<double>{0} : parameter(zero_point).value_or(std::vector<double>());
    // The scales of a convolution's channels have the shape [C, 1, 1] or so.
    const int64_t channels = static_dim(w, axis);
    const bool fits = channels > 0 && (scales.size() == 1 || static_cast<int64_t>(scales.size()) == channels) &&
                      (zeros.size() == 1 || static_cast<int64_t>(zeros.size()) == channels);
    if (!fits || !is_along_channels(node, scale, scales.size())) return false;
    scales.resize(static_cast<size_t>(channels), scales[0]);
    zeros.resize(static_cast<size_t>(channels), zeros[0]);
    Value* real_w = dequantize(node, w, add_numbers(graph_, w->name, DType::kFloat32, {channels}, scales),
                               add_numbers(graph_, w->name, w->dtype, {channels}, zeros), axis);
    Value* x = dynamic->inputs[0];
    Value*& real_x = real_[dynamic];
    if (real_x == nullptr)
      real_x = add_operation(graph_, dynamic->name, "hussar.DynamicFakeQuantize", {x}, {}, x->dtype, x->dims);
    Node* product = replace_node(graph_, scaling->node, op, {real_x, real_w}, node->attributes);
    product->name = node->name;
    return true;
  }

  // Whether several scales lie along the output's channels (columns).
  static bool is_along_channels(const Node* node, const Value* scale, size_t count) {
    if (count == 1) return true;
    const int rank = node->output()->rank();
    const int wanted = channel_axis(node, node->inputs[1]) == 0 ? 1 : rank - 1;
    const Shape& shape = scale->constant->shape();
    for (int i = 0; i < shape.rank(); ++i) {
      if (shape[i] != 1 && i + rank - shape.rank() != wanted) return false;
    }
    return rank >= shape.rank();
  }

  Graph& graph_;
  std::map<const Node*, Value*> real_;
  std::map<const Value*, Value*> moved_;
};

Result<int> run(PassContext& context) {
  Lowering lowering(context.graph);
  return rewrite_each(context.graph, [&](Node* node) { return lowering.visit(node); });
}

}  // namespace

extern const Pass lower_quantized_pass = {
    .name = "lower_quantized",
    .summary = "QLinearConv(x, w) => QuantizeLinear(Conv(DequantizeLinear(x), DequantizeLinear(w)))",
    .run = run};

}  // namespace hussar
