// Decides what becomes of each product, writes that down as changes of the ONNX file, and drops what they leave unused.
#include "compile/export_qdq.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "base/error.h"
#include "base/memory.h"
#include "compile/precision.h"
#include "compile/qdq_model.h"
#include "compile/write_edited.h"
#include "onnx/edit.h"
#include "passes/support/smoothable.h"

namespace hussar {
namespace {

// The first versions of the format in which there is opset 13, and in which initializers need not be inputs, too.
constexpr int64_t kIrOfOpset13 = 7, kIrOfInitializers = 4;

// The divisors of a row of what the product reads.
std::vector<float> divisors_of(const Node& product, const Smoothing& smoothing) {
  return product.op == "Conv" ? per_row_element(product, smoothing.divisors) : smoothing.divisors;
}

// How a product is quantized.
struct Form {
  QuantParams input;
  const Smoothing* smoothing = nullptr;
  // What the calibration found for it, where that holds here, too.
  const ProductCalibration* known = nullptr;
};

class Exporter {
 public:
  Exporter(const QdqModel& model, const Calibration& calibration, const QdqOptions& options)
      : model_(model), calibration_(calibration), options_(options) {
    const auto& nodes = model.proto.graph.nodes;
    for (size_t index = 0; index < nodes.size(); ++index) {
      for (std::string_view output : nodes[index].outputs) producers_[output] = index;
    }
    for (const auto& value : model.imported.values()) values_[value->name] = value.get();
    for (const QdqProduct& product : model.products) products_[product.node] = &product;
  }

  Result<QdqReport> run(const std::string& model_path, const std::string& output_path) {
    report_.opset_before = model_.opset;
    report_.opset = HUSSAR_TRY(opset_for_qdq(model_));
    if (report_.opset != model_.opset) edit_.opset = report_.opset;
    edit_.least_ir_version = edit_.opset != 0 ? kIrOfOpset13 : kIrOfInitializers;
    HUSSAR_TRY(find_kept());
    names_ = HUSSAR_TRY(names_of(model_.proto.graph));
    find_smoothings();
    for (const QdqProduct& product : model_.products) {
      std::string reason;
      if (auto form = form_of(product, reason))
        quantize(product, *form);
      else
        report_.left_out.emplace_back(product.name(), reason);
    }
    HUSSAR_CHECK(report_.quantized > 0, ErrorCode::kUsage, "{}: no product can be quantized{}", model_path,
                 report_.left_out.empty()
                     ? ": its main graph has no Conv, MatMul or Gemm with constant FP32 weights"
                     : fmt::format("; '{}': {}", report_.left_out[0].first, report_.left_out[0].second));
    report_.inputs = static_cast<int64_t>(inputs_.size());
    HUSSAR_TRY(drop_unused());
    report_.bytes = HUSSAR_TRY(write_edited(model_.proto, model_.file->bytes(), edit_, model_path, output_path));
    return std::move(report_);
  }

 private:
  // ---- decisions
  Status find_kept();
  bool is_kept(const QdqProduct& product) const { return kept_.count(&product) > 0; }
  void find_smoothings();
  bool can_smooth(const Value& value) const;
  bool can_divide(const Value& value, const Smoothing& smoothing) const;
  std::optional<Form> form_of(const QdqProduct& product, std::string& reason) const;
  const Range* range_of(const QdqProduct& product) const;
  const ProductCalibration* known_of(const QdqProduct& product, const Form& form) const;

  // ---- changes
  void quantize(const QdqProduct& product, const Form& form);
  std::string quantized_input(size_t reader, const std::string& x, const QuantParams& params);
  std::string divided_input(size_t reader, const Value& x, const Smoothing& smoothing);
  std::string quantized_weights(const QdqProduct& product, const Form& form);
  void smooth_normalization(const Value& value, const Smoothing& smoothing);
  bool correct_bias(const QdqProduct& product, const std::vector<float>& bias);
  bool replace_bias(size_t node, size_t input, const Value* old, const std::vector<float>& bias,
                    const std::string& name);
  Status drop_unused();

  std::vector<std::string>& inputs_of(size_t node);
  std::string add_initializer(const std::string& prefix, const Tensor& tensor);
  std::string unique(const std::string& prefix);

  const QdqModel& model_;
  const Calibration& calibration_;
  const QdqOptions& options_;
  QdqReport report_;
  onnx::ModelEdit edit_;
  std::map<std::string_view, size_t> producers_;
  std::map<std::string_view, const Value*> values_;
  std::map<const Node*, const QdqProduct*> products_;
  std::set<const QdqProduct*> kept_;
  std::map<std::string_view, const Smoothing*> smoothings_;
  std::map<std::string_view, std::string> divided_;  // by the value: what it is called where it is divided
  std::set<std::string_view> names_;
  std::set<std::string> new_names_;
  std::map<std::tuple<std::string, float, int32_t>, std::string> inputs_;
  std::map<std::tuple<std::string, int64_t, const Smoothing*, const ProductCalibration*>, std::string> weights_;
};

Status Exporter::find_kept() {
  for (const std::string& name : options_.fp32_nodes) {
    bool is_seen = false;
    for (const QdqProduct& product : model_.products) {
      const Node* compiled = product.compiled;
      const bool is_named =
          product.name() == name || product.node->outputs[0]->name == name ||
          (compiled != nullptr && (names_part(compiled->name, name) || compiled->outputs[0]->name == name));
      if (is_named) kept_.insert(&product);
      is_seen = is_seen || is_named;
    }
    // Other nodes are in FP32 anyway.
    for (const onnx::NodeProto& node : model_.proto.graph.nodes)
      is_seen = is_seen || node.name == name || (!node.outputs.empty() && node.outputs[0] == name);
    HUSSAR_CHECK(is_seen, ErrorCode::kUsage, "--precision names '{}', which is no node of the model", name);
  }
  return {};
}

// Where nobody but quantized products, whose weights are multiplied, reads what the normalization gives.
bool Exporter::can_smooth(const Value& value) const {
  const Node* norm = value.producer;
  if (norm == nullptr || !is_normalization(*norm) || smoothable_channels(model_.imported, value) == 0) return false;
  if (model_.imported.is_output(&value) || producers_.count(value.name) == 0) return false;
  for (size_t i = 1; i <= 2; ++i) {
    const Value* vector = norm->input(i);
    const bool is_constant = vector != nullptr && vector->is_constant() && vector->dtype == DType::kFloat32;
    if (vector != nullptr && !(is_constant && value.dims->back().is(vector->constant->elements()))) return false;
  }
  const onnx::NodeProto& node = model_.proto.graph.nodes[producers_.at(value.name)];
  if (node.inputs.size() < 2 || node.outputs[0] != value.name) return false;
  return std::all_of(value.users.begin(), value.users.end(), [&](const Node* user) {
    auto it = products_.find(user);
    return it != products_.end() && multiplies_channels(*user, value) && !is_kept(*it->second) &&
           it->second->weights.elements <= kQuantizedDepth;
  });
}

// By a node of its own, for the products that read it as images, or as rows.
bool Exporter::can_divide(const Value& value, const Smoothing& smoothing) const {
  const auto channels = static_cast<int64_t>(smoothing.divisors.size());
  if (!value.dims) return false;
  const bool are_images = value.rank() >= 3 && (*value.dims)[1].is(channels);
  const bool are_rows = value.rank() >= 2 && value.dims->back().is(channels);
  return std::all_of(value.users.begin(), value.users.end(), [&](const Node* user) {
    auto it = products_.find(user);
    if (it == products_.end()) return true;
    if (user->inputs[0] != &value) return false;
    if (user->op == "Conv") return are_images;
    return are_rows && it->second->weights.elements == channels && user->attributes.get_int("transA", 0) == 0;
  });
}

void Exporter::find_smoothings() {
  for (const auto& [name, smoothing] : calibration_.smoothings) {
    auto it = values_.find(name);
    const Value* value = it == values_.end() ? nullptr : it->second;
    const bool folds = value != nullptr && can_smooth(*value) &&
                       value->dims->back().is(static_cast<int64_t>(smoothing.divisors.size()));
    if (!folds && (value == nullptr || !can_divide(*value, smoothing))) {
      ++report_.smoothings_left_out;
      continue;
    }
    smoothings_[name] = &smoothing;
    if (folds) {
      smooth_normalization(*value, smoothing);
    } else {
      divided_[name];
    }
    ++report_.smoothed;
  }
}

const Range* Exporter::range_of(const QdqProduct& product) const {
  auto find = [&](const std::string& name) -> const Range* {
    auto it = calibration_.tensors.find(name);
    return it == calibration_.tensors.end() ? nullptr : &it->second.range;
  };
  const Range* range = find(product.node->inputs[0]->name);
  return range == nullptr && product.compiled != nullptr ? find(counted_input(*product.compiled)->name) : range;
}

std::optional<Form> Exporter::form_of(const QdqProduct& product, std::string& reason) const {
  if (is_kept(product)) {
    reason = "asked for";
    return std::nullopt;
  }
  if (product.weights.elements > kQuantizedDepth) {
    reason = "sums over so many elements may overflow";
    return std::nullopt;
  }
  Form form;
  auto smoothing = smoothings_.find(product.node->inputs[0]->name);
  if (smoothing != smoothings_.end()) form.smoothing = smoothing->second;
  const Range* range = form.smoothing != nullptr ? &form.smoothing->range : range_of(product);
  if (range == nullptr) {
    reason = "nothing is known of the range of its input";
    return std::nullopt;
  }
  form.input = params_of(*range, options_.activations);
  form.known = known_of(product, form);
  return form;
}

// Corrections and roundings are those of what hussar multiplies: they hold where that is the same.
const ProductCalibration* Exporter::known_of(const QdqProduct& product, const Form& form) const {
  if (!product.first_channel || form.input.dtype != DType::kUInt8) return nullptr;
  const Node& compiled = *product.compiled;
  auto it = calibration_.products.find(compiled.outputs[0]->name);
  if (it == calibration_.products.end()) return nullptr;
  const ProductCalibration& known = it->second;
  ProductWeights weights = *product_weights(compiled);
  const bool fits = known.scale == form.input.scale && known.zero_point == form.input.zero_point &&
                    (known.bias.empty() || static_cast<int64_t>(known.bias.size()) == weights.channels) &&
                    (known.flips.empty() || known.flips.size() == flip_bytes(weights));
  if (!fits) return nullptr;
  Tensor holder;
  if (form.smoothing != nullptr) {
    holder = Tensor(DType::kFloat32, compiled.inputs[1]->constant->shape());
    weights = scale_weights(weights, divisors_of(compiled, *form.smoothing), holder.data<float>());
  }
  return quantize_weights(compiled, weights).fingerprint() == known.weights ? &known : nullptr;
}

std::string Exporter::unique(const std::string& prefix) {
  std::string name = prefix;
  for (int next = 2; names_.count(name) > 0 || !new_names_.insert(name).second; ++next)
    name = fmt::format("{}_{}", prefix, next);
  return name;
}

std::string Exporter::add_initializer(const std::string& prefix, const Tensor& tensor) {
  std::string name = unique(prefix);
  edit_.initializers.push_back(onnx::encode_tensor(name, tensor));
  return name;
}

std::vector<std::string>& Exporter::inputs_of(size_t node) {
  auto [it, is_new] = edit_.inputs.try_emplace(node);
  const onnx::NodeProto& proto = model_.proto.graph.nodes[node];
  if (is_new) it->second.assign(proto.inputs.begin(), proto.inputs.end());
  return it->second;
}

void Exporter::quantize(const QdqProduct& product, const Form& form) {
  std::string x(model_.proto.graph.nodes[product.index].inputs[0]);
  if (form.smoothing != nullptr && divided_.count(x) > 0) {
    x = divided_input(product.index, *product.node->inputs[0], *form.smoothing);
  }
  const std::string input = quantized_input(product.index, x, form.input);
  const std::string weights = quantized_weights(product, form);
  inputs_of(product.index)[0] = input;
  inputs_of(product.index)[1] = weights;
  if (form.known != nullptr && !form.known->bias.empty()) {
    const auto begin = form.known->bias.begin() + *product.first_channel;
    std::vector<float> bias(begin, begin + product.weights.channels);
    // What follows multiplies the bias, too.
    for (size_t i = 0; i < product.factors.size(); ++i) bias[i] /= product.factors[i];
    if (correct_bias(product, bias)) ++report_.corrected_biases;
  }
  ++report_.quantized;
}

// x divided per channel, before the first of those that read it so.
std::string Exporter::divided_input(size_t reader, const Value& x, const Smoothing& smoothing) {
  std::string& result = divided_.at(x.name);
  if (!result.empty()) return result;
  Shape shape{static_cast<int64_t>(smoothing.divisors.size())};
  const bool are_images = model_.proto.graph.nodes[reader].op_type == "Conv";
  for (int axis = 2; are_images && axis < x.rank(); ++axis) shape.push_back(1);
  Tensor factors(DType::kFloat32, shape);
  for (size_t i = 0; i < smoothing.divisors.size(); ++i) factors.data<float>()[i] = 1 / smoothing.divisors[i];
  const std::string name = add_initializer(x.name + "_factors", factors);
  result = unique(x.name + "_divided");
  edit_.nodes_before[reader].push_back(onnx::encode_node("Mul", unique(x.name + "_Mul"), {x.name, name}, {result}));
  return result;
}

// x as bytes and back, before the first of those that read it so.
std::string Exporter::quantized_input(size_t reader, const std::string& x, const QuantParams& params) {
  std::string& result = inputs_[{x, params.scale, params.zero_point}];
  if (!result.empty()) return result;
  Tensor scale(DType::kFloat32, Shape{}), zero_point(params.dtype, Shape{});
  scale.data<float>()[0] = params.scale;
  zero_point.data<uint8_t>()[0] = static_cast<uint8_t>(params.zero_point);
  const std::string scale_name = add_initializer(x + "_scale", scale);
  const std::string zero_name = add_initializer(x + "_zero_point", zero_point);
  const std::string bytes = unique(x + "_quantized");
  result = unique(x + "_dequantized");
  auto& nodes = edit_.nodes_before[reader];
  nodes.push_back(
      onnx::encode_node("QuantizeLinear", unique(x + "_QuantizeLinear"), {x, scale_name, zero_name}, {bytes}));
  nodes.push_back(
      onnx::encode_node("DequantizeLinear", unique(x + "_DequantizeLinear"), {bytes, scale_name, zero_name}, {result}));
  return result;
}

std::string Exporter::quantized_weights(const QdqProduct& product, const Form& form) {
  const std::string w(model_.proto.graph.nodes[product.index].inputs[1]);
  const bool has_flips = form.known != nullptr && !form.known->flips.empty();
  std::string& result = weights_[{w, product.axis, form.smoothing, has_flips ? form.known : nullptr}];
  if (!result.empty()) return result;
  const Shape& shape = product.node->inputs[1]->constant->shape();
  ProductWeights weights = product.weights;
  Tensor holder;
  if (form.smoothing != nullptr) {
    holder = Tensor(DType::kFloat32, shape);
    weights = scale_weights(weights, divisors_of(*product.node, *form.smoothing), holder.data<float>());
  }
  const std::vector<float> scales = weight_scales(weights);
  Tensor numbers(DType::kInt8, shape);
  for (int64_t channel = 0; channel < weights.channels; ++channel) {
    for (int64_t i = 0; i < weights.elements; ++i) {
      const float weight = weights.at(channel, i), scale = scales[static_cast<size_t>(channel)];
      const int8_t nearest = quantize_weight(weight, scale);
      const auto bit = static_cast<size_t>((product.first_channel.value_or(0) + channel) * weights.elements + i);
      const bool is_flipped = has_flips && (form.known->flips[bit / 8] >> bit % 8 & 1) != 0;
      numbers.data<int8_t>()[channel * weights.channel_stride + i * weights.element_stride] =
          is_flipped ? static_cast<int8_t>(other_neighbour(weight / scale, nearest)) : nearest;
    }
  }
  const Shape channels{weights.channels};
  const std::vector<std::string> inputs = {
      add_initializer(w + "_quantized", numbers),
      add_initializer(w + "_scale", Tensor::from<float>(DType::kFloat32, channels, scales)),
      add_initializer(w + "_zero_point", Tensor(DType::kInt8, channels))};
  result = unique(w + "_dequantized");
  edit_.nodes_before[product.index].push_back(onnx::encode_node("DequantizeLinear", unique(w + "_DequantizeLinear"),
                                                                inputs, {result}, {{"axis", product.axis}}));
  return result;
}

// Scale and bias of the normalization alone: others may use the same constants.
void Exporter::smooth_normalization(const Value& value, const Smoothing& smoothing) {
  const size_t index = producers_.at(value.name);
  std::vector<std::string>& inputs = inputs_of(index);
  for (size_t i = 1; i <= 2 && i < inputs.size(); ++i) {
    const Value* vector = value.producer->input(i);
    if (vector == nullptr) continue;
    Tensor divided = vector->constant->clone();
    for (size_t k = 0; k < smoothing.divisors.size(); ++k) divided.data<float>()[k] /= smoothing.divisors[k];
    inputs[i] = add_initializer(inputs[i] + "_smoothed", divided);
  }
}

// False: it has no bias that could gain something.
bool Exporter::correct_bias(const QdqProduct& product, const std::vector<float>& bias) {
  const Node& node = *product.node;
  const std::string prefix = std::string(product.name()) + "_bias";
  if (node.op == "Conv") return replace_bias(product.index, 2, node.input(2), bias, prefix);
  if (node.op == "Gemm") {
    for (const char* name : {"alpha", "beta"}) {
      if (node.attributes.get_float(name, 1.0F) != 1.0F) return false;
    }
    return replace_bias(product.index, 2, node.input(2), bias, prefix);
  }
  // What is added to a product, and to nothing else.
  const Value* output = node.outputs[0];
  if (model_.imported.use_count(output) != 1 || output->users.empty() || output->users[0]->op != "Add") return false;
  const Node& add = *output->users[0];
  const size_t side = add.inputs[0] == output ? 1 : 0;
  auto index = producers_.find(add.outputs[0]->name);
  if (add.inputs[side] == output || index == producers_.end()) return false;
  const onnx::NodeProto& proto = model_.proto.graph.nodes[index->second];
  if (proto.op_type != "Add" || !proto.domain.empty() || proto.inputs[1 - side] != output->name) return false;
  return add.inputs[side]->is_constant() && replace_bias(index->second, side, add.inputs[side], bias, prefix);
}

// old: null where there is none.
bool Exporter::replace_bias(size_t node, size_t input, const Value* old, const std::vector<float>& bias,
                            const std::string& name) {
  const auto channels = static_cast<int64_t>(bias.size());
  Tensor sum(DType::kFloat32, {channels});
  if (old != nullptr) {
    if (!old->is_constant() || old->dtype != DType::kFloat32 || old->constant->elements() != channels) return false;
    const Shape& shape = old->constant->shape();
    if (shape.rank() < 1 || shape[shape.rank() - 1] != channels) return false;
    sum = old->constant->clone();
  }
  for (size_t i = 0; i < bias.size(); ++i) sum.data<float>()[i] += bias[i];
  std::vector<std::string>& inputs = inputs_of(node);
  inputs.resize(std::max(inputs.size(), input + 1));
  inputs[input] = add_initializer(old != nullptr ? inputs[input] + "_corrected" : name, sum);
  return true;
}

// Initializers, and nodes that computed weights, which had users before the changes and have none now.
Status Exporter::drop_unused() {
  const onnx::GraphProto& graph = model_.proto.graph;
  std::map<std::string_view, int64_t> uses;
  std::set<std::string_view> lost;
  for (const onnx::ValueProto& output : graph.outputs) ++uses[output.name];
  for (size_t index = 0; index < graph.nodes.size(); ++index) {
    const onnx::NodeProto& node = graph.nodes[index];
    for (std::string_view name : HUSSAR_TRY(names_in_bodies(node))) ++uses[name];
    auto changed = edit_.inputs.find(index);
    if (changed == edit_.inputs.end()) {
      for (std::string_view name : node.inputs) ++uses[name];
      continue;
    }
    for (const std::string& name : changed->second) {
      if (names_.count(name) > 0) ++uses[*names_.find(name)];
    }
    lost.insert(node.inputs.begin(), node.inputs.end());
  }
  // What was quantized or divided has a new reader.
  for (const auto& [key, dequantized] : inputs_) {
    if (auto name = names_.find(std::get<0>(key)); name != names_.end()) ++uses[*name];
  }
  for (const auto& [name, divided] : divided_) uses[name] += divided.empty() ? 0 : 1;
  std::vector<std::string_view> work(lost.begin(), lost.end());
  while (!work.empty()) {
    const std::string_view name = work.back();
    work.pop_back();
    if (name.empty() || uses[name] > 0) continue;
    auto producer = producers_.find(name);
    if (producer == producers_.end()) {
      edit_.dropped_values.emplace(name);
      continue;
    }
    const onnx::NodeProto& node = graph.nodes[producer->second];
    const bool is_used = std::any_of(node.outputs.begin(), node.outputs.end(),
                                     [&](std::string_view output) { return !output.empty() && uses[output] > 0; });
    if (is_used || !edit_.dropped_nodes.insert(producer->second).second) continue;
    edit_.dropped_values.insert(node.outputs.begin(), node.outputs.end());
    for (std::string_view input : node.inputs) {
      --uses[input];
      work.push_back(input);
    }
  }
  edit_.dropped_values.erase("");
  return {};
}

}  // namespace

Status check_can_export_qdq(const std::string& model_path, const std::string& output_path) {
  HUSSAR_TRY(check_output_path(model_path, output_path));
  HUSSAR_TRY(opset_for_qdq(HUSSAR_TRY(read_qdq_model(model_path))));
  return {};
}

Result<QdqReport> export_qdq(const std::string& model_path, const Calibration& calibration,
                             const std::string& calibration_name, const std::string& output_path,
                             const QdqOptions& options) {
  HUSSAR_TRY(check_output_path(model_path, output_path));
  const QdqModel model = HUSSAR_TRY(open_qdq_model(model_path, options.shapes));
  HUSSAR_TRY(check_is_of_model(calibration, model.fingerprint, calibration_name));
  return catching("export the model",
                  [&] { return Exporter(model, calibration, options).run(model_path, output_path); });
}

}  // namespace hussar
