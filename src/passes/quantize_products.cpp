// Convolutions and products with constant weights compute in INT8, or FP8, where the range of their input is known:
//   Conv(x, w){program}  =>  hussar.QuantizedConv(QuantizeLinear(x), round(w / s), s, bias){program}
// A model may say so itself: x is fake-quantized and w consists of 8-bit integers times a scale per output channel.
// Then these are taken as they are. Where the integers of a channel do not fit int8, since its zero point is another
// one, they are moved, and the product's program adds what it lacks then: offset * scale times a sum over what x gives
// to the output's element, which a product with ones computes. For others PassContext::quantization knows scale and
// zero point of x, or lets DynamicQuantizeLinear find them when the model runs, and the scales of w follow from the
// largest magnitude in each output channel. Every row of what a product reads may get a scale of its own (on GPUs):
//   MatMul(x, w){program}  =>  hussar.QuantizedMatMul(hussar.QuantizeRows(x).0, round(w / s), s, bias, .1){program}
// In FP8 both are float8e4m3fn, without zero points. Channels of what a
// normalization gives that are much larger or smaller than others are divided where PassContext::quantization has
// divisors, and the weights multiplied:
//   MatMul(LayerNormalization(a), w)  =>  hussar.QuantizedMatMul(QuantizeLinear(LayerNormalization(a), d * s), d * w)
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "ops/product_weights.h"
#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/products.h"
#include "passes/support/rewrite.h"
#include "passes/support/smoothable.h"
#include "passes/support/weight_grid.h"
#include "tactics/choose.h"
#include "tensor/row_term.h"

namespace hussar {
namespace {

// nullopt: not a product that has an INT8 form.
std::optional<ProductWeights> weights_of(const Node& node) {
  const bool has_layout =
      node.op != "Conv" || (node.input(0) != nullptr && node.inputs[0]->layout == Layout::kChannelsLast &&
                            node.outputs[0]->layout == Layout::kChannelsLast);
  return has_layout ? product_weights(node) : std::nullopt;
}

// What the integers of each output channel mean.
struct ChannelGrids {
  std::vector<float> scales;
  std::vector<int32_t> offsets;  // none: all are 0
};

// Those of the model; nullopt: its weights are not quantized, or not like this.
std::optional<ChannelGrids> grids_of_model(const ProductWeights& weights) {
  ChannelGrids grids;
  for (int64_t channel = 0; channel < weights.channels; ++channel) {
    const auto grid =
        grid_of({weights.data + channel * weights.channel_stride, weights.elements, weights.element_stride});
    if (!grid) return std::nullopt;
    grids.scales.push_back(grid->scale);
    grids.offsets.push_back(grid->offset);
  }
  const auto is_zero = [](int32_t offset) { return offset == 0; };
  if (std::all_of(grids.offsets.begin(), grids.offsets.end(), is_zero)) grids.offsets.clear();
  return grids;
}

// Of what a softmax, sigmoid or tanh gives: their ranges need no data.
std::optional<QuantParams> bounded_params(const Value& x, bool fp8) {
  const QuantParams positive = fp8 ? QuantParams{1 / kLargestFp8, 0, kFp8} : QuantParams{1.0F / 255, 0, DType::kUInt8};
  const Node* producer = x.producer;
  if (producer == nullptr) return std::nullopt;
  const bool has_steps = producer->program && producer->program->step_count > 0;
  const ProgramOp last = has_steps ? producer->program->steps[producer->program->step_count - 1].op : ProgramOp::kCopy;
  auto ends_with = [&](std::string_view op, ProgramOp step) { return has_steps ? last == step : producer->op == op; };
  if (!has_steps && producer->op == "Softmax") return positive;
  if (ends_with("Sigmoid", ProgramOp::kSigmoid) || ends_with("HardSigmoid", ProgramOp::kHardSigmoid)) return positive;
  if (ends_with("Tanh", ProgramOp::kTanh)) return fp8 ? positive : QuantParams{1.0F / 127, 128, DType::kUInt8};
  return std::nullopt;
}

// How a product reads x as bytes.
struct Bytes {
  QuantParams params;
  Value* real = nullptr;     // what is to be quantized
  Value* given = nullptr;    // the bytes, where the model has them
  Value* dynamic = nullptr;  // what gets scale and zero point when the model runs
  Node* move = nullptr;      // what moves fake-quantized numbers before, for nobody else
  Value* rows = nullptr;     // what gets a scale for each row when the model runs
  // Of the channels of what is to be quantized; null: none.
  const std::vector<float>* divisors = nullptr;
};

// A node as it was.
struct Before {
  std::string op;
  std::vector<Value*> inputs;
  Attributes attributes;
  std::optional<Program> program;
  int32_t program_inputs;
};

class Products {
 public:
  Products(Graph& graph, const Quantization* quantization, const Target& target)
      : graph_(graph), quantization_(quantization), target_(target) {}

  int run() {
    int rewrites = 0;
    for (Node* node : graph_.snapshot()) rewrites += lower_fake_quantize(graph_, node) ? 1 : 0;
    for (Node* node : graph_.snapshot()) rewrites += rewrite(node) ? 1 : 0;
    for (const auto& [quantizer, bytes] : quantizers_) read_bytes(quantizer, bytes);
    return rewrites;
  }

 private:
  struct Form {
    Bytes bytes;
    ChannelGrids grids;
    bool is_of_model = false;
    // The weights, where what they are multiplied with is divided.
    std::optional<ProductWeights> multiplied = {};
    Tensor holder = {};
  };

  bool rewrite(Node* node) {
    auto weights = weights_of(*node);
    if (!weights) {
      const bool is_product = node->op == "com.microsoft.FusedMatMul" && node->inputs[1]->is_constant();
      if (is_product && quantization_ != nullptr)
        node->note = refusal("its weights are no matrix, or it turns batches into rows");
      return false;
    }
    std::string reason;
    auto form = form_of(*node, *weights, reason);
    if (!reason.empty()) node->note = refusal(reason);
    if (!form) return false;
    if (target_.place == Place::kHost || form->is_of_model) {
      replace(node, form->multiplied.value_or(*weights), *form);
      return true;
    }
    const Before before{node->op, node->inputs, node->attributes, node->program, node->program_inputs};
    const double in_floats = predicted(*node);
    Node* product = replace(node, form->multiplied.value_or(*weights), *form);
    if (predicted(*product) <= in_floats) return true;
    // Measuring would tell, but the GPU may be elsewhere.
    const std::string note =
        refusal(fmt::format("predicted to take {:.0f} us, {:.0f} in floats", predicted(*product), in_floats));
    Node* again = replace_node(graph_, product, before.op, before.inputs, before.attributes);
    again->program = before.program;
    again->program_inputs = before.program_inputs;
    again->note = note;
    return true;
  }

  bool is_fp8() const { return quantization_ != nullptr && quantization_->fp8; }
  std::string refusal(std::string_view reason) const { return no_int8(reason, is_fp8()); }

  double predicted(const Node& node) const {
    const Choice choice = choose(Problem{node, target_});
    // What a GPU leaves to the host is no gain.
    const bool is_here = choice.rival() != nullptr && choice.tactic()->place == target_.place;
    return is_here ? choice.rival()->predicted : std::numeric_limits<double>::infinity();
  }

  // nullopt: it stays as it is, and perhaps there is a reason to tell.
  std::optional<Form> form_of(const Node& node, const ProductWeights& weights, std::string& reason) const {
    const auto bytes = bytes_of_model(node);
    if (!bytes && quantization_ == nullptr) return std::nullopt;
    const std::string* kept = quantization_ == nullptr ? nullptr : entry_of(quantization_->float_nodes, node);
    if (kept != nullptr) {
      reason = *kept;
      return std::nullopt;
    }
    if (weights.elements > kQuantizedDepth) {
      reason = "sums over so many elements may overflow";
      return std::nullopt;
    }
    if (bytes) {
      auto grids = grids_of_model(weights);
      const bool has_place =
          node.outputs[0]->dims.has_value() && (!node.program || has_room(*node.program, kRowTermSteps, 2));
      if (grids && (grids->offsets.empty() || has_place)) return Form{*bytes, std::move(*grids), true};
      reason =
          grids ? "its weights have zero points, and there is no room for them in the work that is fused into it"
                : "the model quantizes its input, but its weights are not 8-bit integers, less a zero point, times a "
                  "scale per output channel";
      return std::nullopt;
    }
    if (auto divided = divided_form(node, weights)) return divided;
    const QuantParams* params = quantization_->find(node.inputs[0]->name);
    const ChannelGrids grids{weight_scales(weights, is_fp8() ? kLargestFp8 : 127), {}};
    if (params != nullptr) return Form{{*params, node.inputs[0]}, grids};
    if (const auto bounded = bounded_params(*node.inputs[0], is_fp8())) return Form{{*bounded, node.inputs[0]}, grids};
    if (quantization_->is_dynamic) return form_of_run(node, grids, reason);
    reason = "nothing is known of the range of its input";
    return std::nullopt;
  }

  std::optional<Form> divided_form(const Node& node, const ProductWeights& weights) const {
    Value* x = node.inputs[0];
    auto it = quantization_->divisors.find(x->name);
    const QuantParams* params = quantization_->find(Quantization::smoothed_name(x->name));
    const bool is_known = it != quantization_->divisors.end() && params != nullptr && multiplies_channels(node, *x) &&
                          smoothable_channels(graph_, *x) == std::ssize(it->second);
    if (!is_known || x->layout != Layout::kPlain) return std::nullopt;
    Form form{{*params, x}, {}};
    form.bytes.divisors = &it->second;
    form.holder = Tensor(DType::kFloat32, {weights.channels * weights.elements});
    form.multiplied = scale_weights(weights, it->second, form.holder.data<float>());
    form.grids.scales = weight_scales(*form.multiplied, is_fp8() ? kLargestFp8 : 127);
    return form;
  }

  // Without a calibration.
  std::optional<Form> form_of_run(const Node& node, const ChannelGrids& grids, std::string& reason) const {
    Bytes bytes;
    const bool of_rows = quantization_->row_scales;
    (of_rows ? bytes.rows : bytes.dynamic) = node.inputs[0];
    if (!of_rows || node.op != "Conv") return Form{bytes, grids};
    reason = "GPUs find ranges of the run for the rows of matrix products, this is a convolution";
    return std::nullopt;
  }

  Node* replace(Node* node, const ProductWeights& weights, const Form& form) {
    const std::string name = node->inputs[1]->name;
    const bool fp8 = form.bytes.params.dtype == kFp8;
    Int8Weights quantized = fp8 ? quantize_weights_to_fp8(*node, weights, form.grids.scales)
                                : quantize_weights(*node, weights, form.grids.scales, form.grids.offsets);
    const ProductCorrection* correction =
        form.grids.offsets.empty() && !fp8 ? correction_of(*node, weights, quantized, form.bytes.params) : nullptr;
    if (correction != nullptr) flip_roundings(*node, weights, correction->flips, quantized);
    Value* numbers = graph_.add_constant(graph_.unique_name(name), std::move(quantized.numbers));
    Value* factors = graph_.add_constant(graph_.unique_name(name + "_scale"), std::move(quantized.scales));
    const bool is_dynamic = form.bytes.dynamic != nullptr || form.bytes.rows != nullptr;
    Value* bias = bias_of(node, weights.channels);
    std::vector<Value*> inputs = {is_dynamic ? nullptr : bytes_of(form.bytes), numbers, factors, bias};
    if (is_dynamic) {
      const std::vector<Value*>& of_run =
          form.bytes.rows != nullptr ? row_bytes_of(form.bytes.rows) : dynamic_bytes_of(form.bytes);
      inputs[0] = of_run[0];
      inputs.insert(inputs.end(), of_run.begin() + 1, of_run.end());
    }
    const auto own_inputs = static_cast<int32_t>(inputs.size());
    const std::optional<Program> program = node->program;
    for (size_t i = static_cast<size_t>(node->program_inputs); program && i < node->inputs.size(); ++i) {
      inputs.push_back(node->inputs[i]);
    }
    Attributes attributes = node->attributes;
    for (const char* gone : {"transA", "transB", "transBatchA", "transBatchB", "alpha"}) attributes.erase(gone);
    if (!is_dynamic) {
      attributes.set("x_scale", form.bytes.params.scale);
      attributes.set("x_zero_point", int64_t{form.bytes.params.zero_point});
    }
    if (correction != nullptr && !correction->bias.empty())
      attributes.set(kCorrectionAttribute, std::string(Quantization::name_before(node->outputs[0]->name)));
    const bool is_conv = node->op == "Conv";
    Node* product = replace_node(graph_, node, is_conv ? "hussar.QuantizedConv" : "hussar.QuantizedMatMul", inputs,
                                 std::move(attributes));
    const std::string* note = quantization_ == nullptr ? nullptr : entry_of(quantization_->notes, *product);
    if (form.is_of_model) product->note = kQuantizedInModel;
    if (note != nullptr) product->note = *note;
    product->program = program;
    product->program_inputs = program ? own_inputs : 0;
    if (!form.grids.offsets.empty()) add_offsets(product, own_inputs, form.grids);
    return product;
  }

  // The product's program adds what the product lacks first. All channels read the same, but for those of other groups:
  // then the sums are multiplied before, and have the output's shape.
  void add_offsets(Node* product, int32_t own_inputs, const ChannelGrids& grids) {
    const bool is_conv = product->op == "hussar.QuantizedConv";
    const bool has_groups = is_conv && product->attributes.get_int("group", 1) != 1;
    const auto channels = std::ssize(grids.scales);
    Tensor factors(DType::kFloat32, {channels});
    for (size_t i = 0; i < grids.scales.size(); ++i)
      factors.data<float>()[i] = static_cast<float>(grids.offsets[i]) * grids.scales[i];
    if (!product->program) {
      product->program = Program{};
      product->program_inputs = own_inputs;
    }
    Program& program = *product->program;
    const uint8_t first = program.operand_count;
    if (has_groups) {
      const ProgramStep add = {ProgramOp::kAdd, 0, 0, ProgramSource::kOperand, first, {}, 0, 0};
      put_in_front(program, &add, 1);
      graph_.append_input(product, add_sums(*product, own_inputs, std::move(factors)));
      program.operand_count = first + 1;
      return;
    }
    Ints column(static_cast<size_t>(is_conv ? product->outputs[0]->rank() - 1 : 1), 1);
    column[0] = channels;
    graph_.append_input(product, sums_of(*product, own_inputs));
    graph_.append_input(product, graph_.add_constant(graph_.unique_name(product->inputs[1]->name + "_offset"),
                                                     factors.reshaped(Shape(std::span(column)))));
    put_row_term(program, {first, first + 1});
    program.operand_count = first + 2;
  }

  // What all channels read, once for all products that read the same.
  Value* sums_of(const Node& product, int32_t own_inputs) {
    Tensor one(DType::kFloat32, {1});
    one.data<float>()[0] = 1;
    if (product.op == "hussar.QuantizedConv") return add_sums(product, own_inputs, std::move(one));
    Value*& sums = sums_[{product.inputs[0], own_inputs > 4 ? product.inputs[4] : nullptr,
                          product.attributes.get_float("x_scale", 1), product.attributes.get_int("x_zero_point", 0)}];
    if (sums == nullptr) sums = add_sums(product, own_inputs, std::move(one));
    return sums;
  }

  // The same product with ones for weights and as many channels as there are scales.
  Value* add_sums(const Node& product, int32_t own_inputs, Tensor scales) {
    const int channel_axis = product.op == "hussar.QuantizedConv" ? 0 : 1;
    Shape shape = product.inputs[1]->constant->shape();
    shape[channel_axis] = scales.elements();
    Tensor ones(DType::kInt8, shape);
    std::fill_n(ones.data<int8_t>(), ones.elements(), int8_t{1});
    const Value* y = product.outputs[0];
    Dims dims = *y->dims;
    dims[channel_axis == 0 ? 1 : dims.size() - 1] = scales.elements();
    std::vector<Value*> inputs(product.inputs.begin(), product.inputs.begin() + own_inputs);
    inputs[1] = graph_.add_constant(graph_.unique_name(product.inputs[1]->name + "_ones"), std::move(ones));
    inputs[2] = graph_.add_constant(graph_.unique_name(product.inputs[1]->name + "_one"), std::move(scales));
    inputs[3] = nullptr;
    Value* sums = graph_.add_value(graph_.unique_name(y->name + "_sums"), DType::kFloat32, std::move(dims));
    sums->layout = y->layout;
    Node* node = graph_.add_node(product.op, "sums for " + product.name, inputs, {sums}, product.attributes);
    node->note = "INT8: sums of what a product reads whose weights have zero points";
    return sums;
  }

  // How the model itself quantizes what the node multiplies: right before, or before something that only moves it.
  std::optional<Bytes> bytes_of_model(const Node& node) const {
    Value* const x = node.inputs[0];
    Value* value = x;
    Node* move = nullptr;
    bool is_shared = false;
    for (; value->producer != nullptr && only_moves(*value->producer); value = move->inputs[0]) {
      is_shared = is_shared || only_user(graph_, value) == nullptr;
      move = value->producer;
    }
    Node* producer = value->producer;
    if (producer == nullptr) return std::nullopt;
    if (value == x && producer->op == "DequantizeLinear" && producer->inputs[0]->dtype == DType::kUInt8) {
      if (auto params = byte_params(*producer)) return Bytes{*params, nullptr, producer->inputs[0]};
    }
    if (value == x && producer->op == "hussar.DynamicFakeQuantize")
      return Bytes{{}, nullptr, nullptr, producer->inputs[0]};
    auto params = fake_quantize_params(*producer);
    if (!params) return std::nullopt;
    if (value == x) return Bytes{*params, producer->inputs[0]};
    is_shared = is_shared || only_user(graph_, value) != move;
    return Bytes{*params, x, nullptr, nullptr, is_shared ? nullptr : move};
  }

  // Null when none is known for what the product becomes.
  const ProductCorrection* correction_of(const Node& node, const ProductWeights& weights, const Int8Weights& quantized,
                                         const QuantParams& input) const {
    if (quantization_ == nullptr) return nullptr;
    auto it = quantization_->corrections.find(Quantization::name_before(node.outputs[0]->name));
    if (it == quantization_->corrections.end()) return nullptr;
    const ProductCorrection& correction = it->second;
    const bool has_sizes =
        (correction.bias.empty() || static_cast<int64_t>(correction.bias.size()) == weights.channels) &&
        (correction.flips.empty() || correction.flips.size() == flip_bytes(weights));
    const bool fits = has_sizes && correction.input.scale == input.scale &&
                      correction.input.zero_point == input.zero_point && correction.weights == quantized.fingerprint();
    return fits ? &correction : nullptr;
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

  // x as bytes, once for all that read them alike.
  Value* bytes_of(const Bytes& form) {
    if (form.given != nullptr) return form.given;
    Value* x = form.real;
    const QuantParams& params = form.params;
    // Quantizing once is enough.
    if (form.move != nullptr) graph_.set_input(form.move, 0, form.move->inputs[0]->producer->inputs[0]);
    Value*& bytes = bytes_[{x, params.scale, params.zero_point, form.divisors}];
    if (bytes != nullptr) return bytes;
    bytes = graph_.add_value(graph_.unique_name(x->name + "_bytes"), params.dtype, x->dims);
    bytes->layout = x->layout;
    const auto [scale, zero_point] = constants_of(x->name, params, form.divisors);
    Node* quantize = graph_.add_node("QuantizeLinear", "quantize " + x->name, {x, scale, zero_point}, {bytes});
    if (form.divisors != nullptr) {
      quantize->attributes.set("axis", int64_t{-1});
      return bytes;
    }
    for (Node* user : x->users) {
      const auto own = fake_quantize_params(*user);
      if (own && same_params(*own, params)) quantizers_.emplace_back(user, bytes);
    }
    return bytes;
  }

  // Bytes, scale and zero point that are found when the model runs, once for all that read x.
  const std::vector<Value*>& dynamic_bytes_of(const Bytes& form) {
    Value* x = form.dynamic;
    std::vector<Value*>& values = dynamic_[x];
    if (!values.empty()) return values;
    values = {graph_.add_value(graph_.unique_name(x->name + "_bytes"), DType::kUInt8, x->dims),
              graph_.add_value(graph_.unique_name(x->name + "_scale"), DType::kFloat32, Dims{}),
              graph_.add_value(graph_.unique_name(x->name + "_zero"), DType::kUInt8, Dims{})};
    values[0]->layout = x->layout;
    graph_.add_node("DynamicQuantizeLinear", "quantize " + x->name, {x}, values);
    return values;
  }

  // Bytes and a scale for each row, once for all that read x.
  const std::vector<Value*>& row_bytes_of(Value* x) {
    std::vector<Value*>& values = dynamic_[x];
    if (!values.empty()) return values;
    Dims scales = *x->dims;
    scales.back() = Dim(1);
    values = {graph_.add_value(graph_.unique_name(x->name + "_bytes"), DType::kInt8, x->dims),
              graph_.add_value(graph_.unique_name(x->name + "_scale"), DType::kFloat32, std::move(scales))};
    graph_.add_node("hussar.QuantizeRows", "quantize " + x->name, {x}, values);
    return values;
  }

  // One scale and zero point, or one per divisor.
  std::pair<Value*, Value*> constants_of(const std::string& name, const QuantParams& params,
                                         const std::vector<float>* divisors = nullptr) {
    const Shape shape = divisors == nullptr ? Shape{} : Shape{std::ssize(*divisors)};
    Tensor scale(DType::kFloat32, shape), zero_point(params.dtype, shape);
    for (int64_t i = 0; i < scale.elements(); ++i) {
      scale.data<float>()[i] = divisors == nullptr ? params.scale : params.scale * (*divisors)[static_cast<size_t>(i)];
      zero_point.data<uint8_t>()[i] = static_cast<uint8_t>(params.zero_point);
    }
    return {graph_.add_constant(graph_.unique_name(name + "_scale"), std::move(scale)),
            graph_.add_constant(graph_.unique_name(name + "_zero"), std::move(zero_point))};
  }

  // Whoever else reads what `quantizer` gives reads the bytes, so that nothing reads the real numbers before it.
  void read_bytes(Node* quantizer, Value* bytes) {
    Value* y = quantizer->output();
    if (graph_.use_count(y) == 0) return;
    const QuantParams params = *fake_quantize_params(*quantizer);
    const auto [scale, zero_point] = constants_of(y->name, params);
    replace_node(graph_, quantizer, "DequantizeLinear", {bytes, scale, zero_point});
  }

  Graph& graph_;
  const Quantization* quantization_;
  const Target target_;
  std::map<std::tuple<Value*, float, int32_t, const std::vector<float>*>, Value*> bytes_;
  std::map<const Value*, std::vector<Value*>> dynamic_;
  std::map<std::tuple<Value*, Value*, float, int64_t>, Value*> sums_;
  std::vector<std::pair<Node*, Value*>> quantizers_;
};

Result<int> run(PassContext& context) { return Products(context.graph, context.quantization, context.target).run(); }

}  // namespace

extern const Pass quantize_products_pass = {
    .name = "quantize_products",
    .summary = "Conv(x, w) => hussar.QuantizedConv(QuantizeLinear(x), w8, scales, bias)",
    .run = run};

}  // namespace hussar
