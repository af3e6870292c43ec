// Sums of integers whose scales are elsewhere, or nowhere, are products of real numbers that are integers:
//   MatMulInteger(a, w, z) -> Cast -> Mul(c)  =>  MatMul(DequantizeLinear(a, 1, z), c * (w - w_zero))
//   MatMulInteger(a, w, z) -> sums            =>  Cast<int32>(Round(MatMul(DequantizeLinear(a, 1, z), w - w_zero)))
// quantize_products finds the bytes again. A float holds a sum below 2^24 exactly; where one may be larger, the weights
// are cut in two: sums = 16 * sums(high) + sums(low). A zero point that is not one constant is subtracted behind the
// product, times the sums of the columns. What DynamicQuantizeLinear feeds has its own pattern (lower_quantized).
#include <algorithm>
#include <cmath>

#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

constexpr double kExactBelow = 1 << 24;
// So much is left for two factors whose product is 1 but for its rounding, before a sum rounds to another integer.
constexpr double kExactWithScale = 1 << 21;
constexpr double kDigit = 16;

bool is_bytes(const Value* value) { return value->dtype == DType::kUInt8 || value->dtype == DType::kInt8; }

Attributes cast_to(DType dtype) {
  Attributes attributes;
  attributes.set("to", static_cast<int64_t>(dtype));
  return attributes;
}

// Weights less their zero points, in the order of the constant.
struct Weights {
  Shape shape;
  int64_t channels, stride;  // stride: elements from one channel to the next
  std::vector<double> numbers;

  int64_t channel_of(size_t i) const { return static_cast<int64_t>(i) / stride % channels; }
  std::vector<double> sums(bool magnitudes) const {
    std::vector<double> result(static_cast<size_t>(channels));
    for (size_t i = 0; i < numbers.size(); ++i)
      result[static_cast<size_t>(channel_of(i))] += magnitudes ? std::fabs(numbers[i]) : numbers[i];
    return result;
  }
  // A zero point that quantize_products computes apart makes the parts larger than their sum.
  double largest_sum() const {
    const std::vector<double> magnitudes = sums(true);
    const bool fits = std::all_of(numbers.begin(), numbers.end(), [](double v) { return v >= -128 && v <= 127; });
    const double apart = fits ? 0 : 128.0 * static_cast<double>(numbers.size()) / static_cast<double>(channels);
    return *std::max_element(magnitudes.begin(), magnitudes.end()) + apart;
  }
};

class IntegerProduct {
 public:
  IntegerProduct(Graph& graph, const Target& target, Node* node)
      : graph_(graph), target_(target), node_(node), is_conv_(node->op == "ConvInteger") {}

  bool lower() {
    if (!read_weights() || !read_activations()) return false;
    if (fold_factor()) return true;
    return target_.place == Place::kHost && write_sums();
  }

 private:
  int output_rank() const { return node_->output()->rank(); }

  // Of w's zero points and of factors: one number, or one per channel along the output's channels.
  std::optional<std::vector<double>> per_channel(const Value* value, int64_t channels, int trailing) const {
    auto numbers = numbers_of(value);
    if (!numbers || numbers->empty()) return std::nullopt;
    const Shape& shape = value->constant->shape();
    if (numbers->size() > 1) {
      const int axis = shape.rank() - 1 - trailing;
      if (std::ssize(*numbers) != channels || axis < 0 || shape[axis] != channels || shape.rank() > output_rank())
        return std::nullopt;
    }
    numbers->resize(static_cast<size_t>(channels), numbers->front());
    return numbers;
  }

  bool read_weights() {
    Value* w = node_->inputs[1];
    auto numbers = is_bytes(w) ? numbers_of(w) : std::nullopt;
    if (!numbers || numbers->empty()) return false;
    const Shape& shape = w->constant->shape();
    if (is_conv_ ? shape.rank() < 3 : shape.rank() != 2) return false;
    const int64_t channels = shape[is_conv_ ? 0 : 1];
    weights_ = {shape, channels, is_conv_ ? shape.elements() / channels : 1, std::move(*numbers)};
    if (const Value* zero = node_->input(3)) {
      const auto zeros = per_channel(zero, channels, 0);
      if (!zeros) return false;
      for (size_t i = 0; i < weights_.numbers.size(); ++i)
        weights_.numbers[i] -= (*zeros)[static_cast<size_t>(weights_.channel_of(i))];
    }
    return true;
  }

  bool has_padding() const {
    const Ints pads = node_->attributes.get_ints("pads");
    const std::string automatic = node_->attributes.get_string("auto_pad", "NOTSET");
    return (automatic != "NOTSET" && automatic != "VALID") ||
           std::any_of(pads.begin(), pads.end(), [](int64_t pad) { return pad != 0; });
  }

  bool read_activations() {
    const Value* a = node_->inputs[0];
    Value* zero = node_->input(2);
    if (!is_bytes(a) || !a->dims || a->rank() < 2 || !node_->output()->dims) return false;
    const auto number = zero == nullptr ? std::optional(0.0) : number_of(zero);
    const double lowest = a->dtype == DType::kInt8 ? -128 : 0;
    zero_ = number.value_or(0);
    quantize_ = number ? quantizer() : nullptr;
    if (quantize_ != nullptr) scale_ = static_cast<double>(byte_params(*quantize_)->scale);
    largest_ = std::max(std::fabs(lowest - zero_), std::fabs(lowest + 255 - zero_));
    if (number) return true;
    // Padding is the zero point, so it must be known to the convolution.
    if (!zero->dims || zero->rank() > output_rank() || (is_conv_ && has_padding())) return false;
    const bool is_one = std::all_of(zero->dims->begin(), zero->dims->end(), [](const Dim& dim) { return dim.is(1); });
    const bool is_row = !is_conv_ && (zero->rank() == 1 || (zero->rank() > 1 && zero->dims->back().is(1)));
    own_zero_ = is_one || is_row ? zero : nullptr;
    splits_rows_ = !is_one && zero->rank() == 1;
    return own_zero_ != nullptr;
  }

  int32_t unsigned_zero() const {
    return static_cast<int32_t>(zero_) + (node_->inputs[0]->dtype == DType::kInt8 ? 128 : 0);
  }

  // What makes the bytes, with the same zero point: other readers then find one pair, not two.
  Node* quantizer() const {
    Node* quantize = produced_by(node_->inputs[0], "QuantizeLinear");
    const auto params = quantize == nullptr ? std::nullopt : byte_params(*quantize);
    return params && params->zero_point == unsigned_zero() ? quantize : nullptr;
  }

  Value* make(const char* op, std::vector<Value*> inputs, Attributes attributes, DType dtype, Dims dims) {
    return add_operation(graph_, node_->name, op, std::move(inputs), std::move(attributes), dtype, std::move(dims));
  }
  Value* reals(const Shape& shape, const std::vector<double>& numbers) {
    return add_numbers(graph_, node_->inputs[1]->name, DType::kFloat32, shape, numbers);
  }

  // The bytes as real numbers, in units of scale_.
  Value* activations() {
    if (x_ != nullptr) return x_;
    Value* a = node_->inputs[0];
    if (quantize_ != nullptr)
      return x_ = make("DequantizeLinear", {a, quantize_->inputs[1], quantize_->input(2)}, {}, DType::kFloat32,
                       *a->dims);
    if (a->dtype == DType::kUInt8 && !is_conv_) {
      Value* one = add_numbers(graph_, a->name, DType::kFloat32, Shape{}, {1});
      Value* zero = add_numbers(graph_, a->name, DType::kUInt8, Shape{}, {zero_});
      return x_ = make("DequantizeLinear", {a, one, zero}, {}, DType::kFloat32, *a->dims);
    }
    Value* real = make("Cast", {a}, cast_to(DType::kFloat32), DType::kFloat32, *a->dims);
    if (zero_ != 0) {
      Value* zero = add_numbers(graph_, a->name, DType::kFloat32, Shape{}, {zero_});
      real = make("Sub", {real, zero}, {}, DType::kFloat32, *a->dims);
    }
    return x_ = add_fake_quantize(graph_, node_->name, real, QuantParams{1, unsigned_zero(), DType::kUInt8});
  }

  Value* product(const Weights& weights, const std::vector<double>& factors) {
    Value* x = activations();
    std::vector<double> numbers = weights.numbers;
    for (size_t i = 0; i < numbers.size(); ++i) {
      const double factor = factors[static_cast<size_t>(weights.channel_of(i))] / scale_;
      // As a model's own DequantizeLinear rounds them.
      numbers[i] = static_cast<double>(static_cast<float>(numbers[i]) * static_cast<float>(factor));
    }
    return make(is_conv_ ? "Conv" : "MatMul", {x, reals(weights.shape, numbers)}, node_->attributes, DType::kFloat32,
                *node_->output()->dims);
  }

  // The sums with these weights as real numbers; `is_exact` when they are below 2^24.
  Value* sums(const Weights& weights, bool is_exact) {
    Value* y = product(weights, std::vector<double>(static_cast<size_t>(weights.channels), 1));
    if (own_zero_ != nullptr) {
      Dims dims = *own_zero_->dims;
      Value* zero = make("Cast", {own_zero_}, cast_to(DType::kFloat32), DType::kFloat32, dims);
      if (splits_rows_) {
        dims.push_back(Dim(1));
        zero = make("Unsqueeze", {zero, add_integers(graph_, own_zero_->name, {1})}, {}, DType::kFloat32, dims);
      }
      Shape columns{weights.channels};
      for (int i = 2; is_conv_ && i < output_rank(); ++i) columns.push_back(1);
      Value* lacks =
          add_operation(graph_, node_->name, "Mul", {zero, reals(columns, weights.sums(false))}, {}, DType::kFloat32);
      y = make("Sub", {y, lacks}, {}, DType::kFloat32, *node_->output()->dims);
    }
    return is_exact ? make("Round", {y}, {}, DType::kFloat32, *node_->output()->dims) : y;
  }

  bool is_exact(const Weights& weights) const {
    return weights.largest_sum() * largest_ < (scale_ == 1 ? kExactBelow : kExactWithScale);
  }

  // Mul(Cast(sums), c) is one product.
  bool fold_factor() {
    Node* cast = only_user(graph_, node_->output());
    if (own_zero_ != nullptr || cast == nullptr || cast->op != "Cast" || cast->output()->dtype != DType::kFloat32)
      return false;
    Node* multiply = only_user(graph_, cast->output());
    if (multiply == nullptr || multiply->op != "Mul" || multiply->program) return false;
    const Value* factor = multiply->inputs[multiply->inputs[0] == cast->output() ? 1 : 0];
    if (factor->dtype != DType::kFloat32 || !same_dims(node_->output(), multiply->output())) return false;
    const auto factors = per_channel(factor, weights_.channels, is_conv_ ? output_rank() - 2 : 0);
    if (!factors) return false;
    return bypass(graph_, multiply, product(weights_, *factors));
  }

  Value* integers(const Weights& weights) {
    return make("Cast", {sums(weights, true)}, cast_to(DType::kInt32), DType::kInt32, *node_->output()->dims);
  }

  bool write_sums() {
    if (is_exact(weights_)) {
      Value* y = sums(weights_, true);
      read_reals(y);
      if (graph_.use_count(node_->output()) > 0)
        replace_node(graph_, node_, "Cast", {y}, cast_to(DType::kInt32))->name = node_->name;
      return true;
    }
    Weights high = weights_, low = weights_;
    for (size_t i = 0; i < weights_.numbers.size(); ++i) {
      high.numbers[i] = std::nearbyint(weights_.numbers[i] / kDigit);
      low.numbers[i] -= kDigit * high.numbers[i];
    }
    if (!is_exact(high) || !is_exact(low)) return false;
    Value* digit = add_numbers(graph_, node_->name, DType::kInt32, Shape{}, {kDigit});
    Value* large = make("Mul", {integers(high), digit}, {}, DType::kInt32, *node_->output()->dims);
    replace_node(graph_, node_, "Add", {large, integers(low)});
    return true;
  }

  // Who wants the sums as floats needs no integers between.
  void read_reals(Value* y) {
    const std::vector<Node*> users = node_->output()->users;
    for (Node* user : users) {
      if (user->op == "Cast" && !user->program && user->output()->dtype == DType::kFloat32) bypass(graph_, user, y);
    }
  }

  Graph& graph_;
  const Target& target_;
  Node* node_;
  bool is_conv_;
  Weights weights_;
  double zero_ = 0, largest_ = 0, scale_ = 1;
  const Node* quantize_ = nullptr;
  Value* own_zero_ = nullptr;  // a zero point that the product does not know
  bool splits_rows_ = false;   // it is one per row
  Value* x_ = nullptr;
};

Result<int> run(PassContext& context) {
  return rewrite_each(context.graph, [&](Node* node) {
    const bool is_product = node->op == "MatMulInteger" || node->op == "ConvInteger";
    return is_product && !node->program && IntegerProduct(context.graph, context.target, node).lower();
  });
}

}  // namespace

extern const Pass lower_integer_pass = {
    .name = "lower_integer",
    .summary = "MatMulInteger(a, w, z) => Cast<int32>(Round(MatMul(DequantizeLinear(a, 1, z), w)))",
    .run = run,
    .after = "lower_quantized"};

}  // namespace hussar
