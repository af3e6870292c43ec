// Attention on what INT8 products make runs on bytes:
//   Attention(q, k, v) of MatMul8s  =>  QuantizedAttention(q8, k8, v8), whose bytes the products write
// On a GPU, where a kernel of it takes them.
//   Attention(q, k, v), ranges of every run  =>  QuantizedAttention(QuantizeHeads(q, k, v))
// Scales are folded into the products' own factors and biases, and so cost nothing: queries and keys have one per head,
// values one per column. Two more changes of what is stored make it finer, and change no result but by rounding:
// - A column of the queries is divided and the same column of the keys multiplied, so that both have the same range.
// - Keys are stored less the middle of their range per column: that adds one number to all scores of a query.
#include <algorithm>
#include <cmath>
#include <map>

#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/products.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

constexpr float kMostSteps = 127;
// Ranges below it do not count: their reciprocals would leave no room in the exponents.
constexpr float kNothing = 1e-15F;
constexpr int64_t kZeroPoint = 128;

// How a product's real numbers become bytes: round((y - shift) / unit), per column.
struct Columns {
  const ChannelBounds* bounds = nullptr;
  std::vector<float> units, shifts;

  float middle(int64_t column) const {
    const auto i = static_cast<size_t>(column);
    return bounds->low[i] / 2 + bounds->high[i] / 2;
  }
  float half_width(int64_t column) const {
    const auto i = static_cast<size_t>(column);
    return bounds->high[i] / 2 - bounds->low[i] / 2;
  }
  float magnitude(int64_t column) const {
    const auto i = static_cast<size_t>(column);
    return std::max(std::fabs(bounds->low[i]), std::fabs(bounds->high[i]));
  }
};

struct Form {
  int64_t heads, kv_heads, head_dim, v_head_dim;
  int64_t offsets[3];
};

// Inputs of both forms of attention; with bytes, the three scales come before them.
constexpr size_t kMask = 3, kStarts = 4;
constexpr const char* kOffsets[] = {"q_offset", "k_offset", "v_offset"};

Form form_of(const Attributes& attributes) {
  Form form{};
  form.heads = attributes.get_int("heads", 1);
  form.kv_heads = attributes.get_int("kv_heads", form.heads);
  form.head_dim = attributes.get_int("head_dim", 1);
  form.v_head_dim = attributes.get_int("v_head_dim", form.head_dim);
  for (size_t i = 0; i < 3; ++i) form.offsets[i] = attributes.get_int(kOffsets[i], 0);
  return form;
}

// How far samples of other data may exceed those of the calibration.
constexpr float kMargin = 1.1F;
// The largest of few samples says little about a column: the larger the others of its head are, the more room it gets,
// up to a quarter.
constexpr float kMostWidening = 1.25F;

// What there is room for in the columns of a head, from their largest magnitudes.
std::vector<float> room_for(std::vector<float> magnitudes) {
  const float most = *std::max_element(magnitudes.begin(), magnitudes.end());
  for (float& magnitude : magnitudes)
    magnitude = kMargin * std::min(std::sqrt(magnitude) * std::sqrt(most), kMostWidening * magnitude);
  return magnitudes;
}

// Of what has no range at all, any will do.
float scale_for(float magnitude) { return magnitude > kNothing ? magnitude / kMostSteps : 1.0F; }

Attributes byte_attributes(const Node& attention) {
  Attributes attributes = attention.attributes;
  for (const char* gone : {"head_major", "k_transposed", "softcap"}) attributes.erase(gone);
  for (const char* zero_point : {"q_zero_point", "k_zero_point", "v_zero_point"})
    attributes.set(zero_point, kZeroPoint);
  return attributes;
}

// Why no kernel of a GPU would take the attention on bytes; "": one does.
std::string refusal_of_device(const Node& attention, const Target& target) {
  Graph graph;
  std::vector<Value*> inputs;
  for (size_t i = 0; i < 3; ++i) inputs.push_back(graph.add_value("bytes", DType::kUInt8, attention.inputs[i]->dims));
  for (size_t i = 0; i < 3; ++i) inputs.push_back(graph.add_value("scales", DType::kFloat32, Dims{Dim(1)}));
  for (size_t i : {kMask, kStarts}) {
    const Value* value = attention.input(i);
    inputs.push_back(value == nullptr ? nullptr : graph.add_value(value->name, value->dtype, value->dims));
  }
  Value* y = graph.add_value("y", DType::kFloat32, attention.outputs[0]->dims);
  const Node* node =
      graph.add_node("hussar.QuantizedAttention", attention.name, inputs, {y}, byte_attributes(attention));
  const Choice choice = choose(Problem{*node, target});
  if (choice.tactic() != nullptr && choice.tactic()->place == target.place) return "";
  std::string reason = "no kernel of the GPU takes its bytes";
  for (const Rival& rival : choice.rivals) {
    if (rival.refusal && rival.tactic->place == target.place) reason += ": " + std::string(*rival.refusal);
  }
  return reason;
}

// Why attention has no form on bytes, wherever these come from; "": it has one.
std::string refusal_of_form(const Node& attention, const Quantization& quantization) {
  const Attributes& attributes = attention.attributes;
  const bool is_plain = attributes.get_int("head_major", 0) == 0 && attributes.get_int("k_transposed", 0) == 0;
  if (!is_plain || attention.program) return "its operands are not rows of products";
  if (attributes.get_float("softcap", 0) != 0) return "it has a softcap";
  const std::string* kept = entry_of(quantization.float_nodes, attention);
  return kept == nullptr ? "" : *kept;
}

// Without a calibration: bytes around zero, by the largest magnitudes of the run.
//   Attention(q, k, v)  =>  QuantizedAttention(QuantizeHeads(q, k, v))
std::string refusal_of_run(const Node& attention, const Quantization& quantization, Place place) {
  const std::string reason = refusal_of_form(attention, quantization);
  if (!reason.empty()) return reason;
  if (place != Place::kHost || quantization.row_scales)
    return "the ranges of its queries, keys and values are those of the run";
  if (attention.input(kStarts) != nullptr) return "its sequences are packed";
  for (size_t i = 0; i < 3; ++i) {
    const Value* value = attention.inputs[i];
    if (value->dtype != DType::kFloat32 || value->rank() != 3) return "its operands are not rows of products";
  }
  return "";
}

void quantize_in_run(Graph& graph, Node* attention, const Quantization& quantization) {
  const Form form = form_of(attention->attributes);
  const int64_t heads[] = {form.heads, form.kv_heads, form.kv_heads};
  std::vector<Value*> made;
  for (size_t i = 0; i < 3; ++i) {
    const Value* value = attention->inputs[i];
    Dims dims = *value->dims;
    dims[2] = Dim(heads[i] * (i == 2 ? form.v_head_dim : form.head_dim));
    made.push_back(graph.add_value(graph.unique_name(value->name + "_bytes"), DType::kUInt8, std::move(dims)));
  }
  for (size_t i = 0; i < 3; ++i) {
    const Dim scales(heads[i] * (i == 2 ? form.v_head_dim : 1));
    made.push_back(
        graph.add_value(graph.unique_name(attention->inputs[i]->name + "_scale"), DType::kFloat32, Dims{scales}));
  }
  Attributes columns;
  columns.set("heads", form.heads);
  columns.set("kv_heads", form.kv_heads);
  columns.set("head_dim", form.head_dim);
  columns.set("v_head_dim", form.v_head_dim);
  for (size_t i = 0; i < 3; ++i) columns.set(kOffsets[i], form.offsets[i]);
  const std::vector<Value*> operands(attention->inputs.begin(), attention->inputs.begin() + 3);
  graph.add_node("hussar.QuantizeHeads", "quantize heads of " + attention->outputs[0]->name, operands, made,
                 std::move(columns));
  std::vector<Value*> inputs = made;
  if (attention->input(kMask) != nullptr) inputs.push_back(attention->inputs[kMask]);
  Attributes attributes = byte_attributes(*attention);
  for (const char* offset : kOffsets) attributes.erase(offset);
  const std::string* note = entry_of(quantization.notes, *attention);
  Node* bytes = replace_node(graph, attention, "hussar.QuantizedAttention", inputs, std::move(attributes));
  if (note != nullptr) bytes->note = *note;
}

class Attention {
 public:
  Attention(Graph& graph, Node* node, const Quantization& quantization)
      : graph_(graph), node_(node), quantization_(quantization), form_(form_of(node->attributes)) {}

  // "": it can be rewritten.
  std::string refusal() {
    if (std::string reason = refusal_of_form(*node_, quantization_); !reason.empty()) return reason;
    const int64_t widths[] = {form_.heads * form_.head_dim, form_.kv_heads * form_.head_dim,
                              form_.kv_heads * form_.v_head_dim};
    for (size_t i = 0; i < 3; ++i) {
      const int64_t begin = form_.offsets[i], end = begin + widths[i];
      for (size_t j = 0; j < i; ++j) {
        const bool is_apart =
            node_->inputs[i] != node_->inputs[j] || begin >= form_.offsets[j] + widths[j] || end <= form_.offsets[j];
        if (!is_apart) return "its queries, keys and values share columns";
      }
      std::string reason = refusal_of(node_->inputs[i], end);
      if (!reason.empty()) return reason;
    }
    return "";
  }

  void rewrite() {
    Tensor q_scales(DType::kFloat32, {form_.heads}), k_scales(DType::kFloat32, {form_.kv_heads});
    Tensor v_scales(DType::kFloat32, {form_.kv_heads * form_.v_head_dim});
    for (int64_t head = 0; head < form_.kv_heads; ++head) {
      quantize_scores(head, q_scales.data<float>(), k_scales.data<float>()[head]);
      quantize_values(head, v_scales.data<float>() + head * form_.v_head_dim);
    }
    std::map<Value*, Value*> bytes;
    std::vector<Value*> inputs;
    for (size_t i = 0; i < 3; ++i) {
      Value* value = node_->inputs[i];
      if (bytes.count(value) == 0) bytes[value] = write_bytes(value, columns_.at(value));
      inputs.push_back(bytes.at(value));
    }
    const std::string& name = node_->name;
    inputs.push_back(graph_.add_constant(graph_.unique_name(name + "/q_scale"), std::move(q_scales)));
    inputs.push_back(graph_.add_constant(graph_.unique_name(name + "/k_scale"), std::move(k_scales)));
    inputs.push_back(graph_.add_constant(graph_.unique_name(name + "/v_scale"), std::move(v_scales)));
    if (node_->input(kStarts) != nullptr) {
      inputs.insert(inputs.end(), {nullptr, node_->inputs[kStarts]});
    } else if (node_->input(kMask) != nullptr) {
      inputs.push_back(node_->inputs[kMask]);
    }
    const std::string* note = entry_of(quantization_.notes, *node_);
    Node* attention = replace_node(graph_, node_, "hussar.QuantizedAttention", inputs, byte_attributes(*node_));
    if (note != nullptr) attention->note = *note;
  }

 private:
  // Also remembers the columns of the value, of which the attention reads those below `end`.
  std::string refusal_of(Value* value, int64_t end) {
    const Node* product = value->producer;
    const bool is_int8 = product != nullptr && product->op == "hussar.QuantizedMatMul";
    if (!is_int8) return "its queries, keys or values are not made by a product in INT8";
    const bool is_alone =
        !graph_.is_output(value) && value->slice_of == nullptr && value != node_->input(kMask) &&
        std::all_of(value->users.begin(), value->users.end(), [&](const Node* user) { return user == node_; });
    const Value* bias = product->input(3);
    const bool is_simple = !product->program && can_write_bytes(*product) &&
                           (bias == nullptr || (bias->is_constant() && bias->dtype == DType::kFloat32));
    if (!is_alone || !is_simple) return "its queries, keys or values are more than a product with a bias";
    const int64_t width = product->inputs[2]->constant->elements();
    const auto& channels = quantization_.channels;
    const auto it = channels.find(value->name);
    const bool is_known = it != channels.end() && std::ssize(it->second.low) == width &&
                          std::ssize(it->second.high) == width && end <= width;
    if (!is_known) return "nothing is known of the ranges of its columns";
    Columns& columns = columns_[value];
    columns.bounds = &it->second;
    columns.units.assign(static_cast<size_t>(width), 1.0F);
    columns.shifts.assign(static_cast<size_t>(width), 0.0F);
    return "";
  }

  std::vector<float> room_of(size_t input, int64_t head, int64_t dim) const {
    const Columns& columns = columns_.at(node_->inputs[input]);
    std::vector<float> magnitudes;
    for (int64_t i = form_.offsets[input] + head * dim; i < form_.offsets[input] + (head + 1) * dim; ++i)
      magnitudes.push_back(input == 1 ? columns.half_width(i) : columns.magnitude(i));
    return room_for(std::move(magnitudes));
  }

  void quantize_values(int64_t head, float* v_scales) {
    const std::vector<float> room = room_of(2, head, form_.v_head_dim);
    float* const units = columns_.at(node_->inputs[2]).units.data() + form_.offsets[2] + head * form_.v_head_dim;
    for (size_t i = 0; i < room.size(); ++i) units[i] = v_scales[i] = scale_for(room[i]);
  }

  // The units of a head of the keys and of the queries that it meets.
  void quantize_scores(int64_t kv_head, float* q_scales, float& k_scale) {
    Columns& keys = columns_.at(node_->inputs[1]);
    const int64_t group = form_.heads / form_.kv_heads, first_head = kv_head * group;
    const auto dim = static_cast<size_t>(form_.head_dim);
    const std::vector<float> keys_room = room_of(1, kv_head, form_.head_dim);
    std::vector<std::vector<float>> queries_room;
    for (int64_t head = first_head; head < first_head + group; ++head)
      queries_room.push_back(room_of(0, head, form_.head_dim));
    std::vector<float> divisors(dim, 1.0F);  // of the queries
    float most_key = 0;
    for (size_t d = 0; d < dim; ++d) {
      float most_query = 0;
      for (const std::vector<float>& room : queries_room) most_query = std::max(most_query, room[d]);
      if (most_query > kNothing && keys_room[d] > kNothing)
        divisors[d] = std::sqrt(most_query) / std::sqrt(keys_room[d]);
      most_key = std::max(most_key, keys_room[d] * divisors[d]);
    }
    k_scale = scale_for(most_key);
    const int64_t first_key = form_.offsets[1] + kv_head * form_.head_dim;
    for (size_t d = 0; d < dim; ++d) {
      keys.units[static_cast<size_t>(first_key) + d] = k_scale / divisors[d];
      keys.shifts[static_cast<size_t>(first_key) + d] = keys.middle(first_key + static_cast<int64_t>(d));
    }
    std::vector<float>& units = columns_.at(node_->inputs[0]).units;
    for (int64_t i = 0; i < group; ++i) {
      const std::vector<float>& room = queries_room[static_cast<size_t>(i)];
      const auto first = static_cast<size_t>(form_.offsets[0] + (first_head + i) * form_.head_dim);
      float most = 0;
      for (size_t d = 0; d < dim; ++d) most = std::max(most, room[d] / divisors[d]);
      q_scales[first_head + i] = scale_for(most);
      for (size_t d = 0; d < dim; ++d) units[first + d] = q_scales[first_head + i] * divisors[d];
    }
  }

  // The product writes bytes in the units of its columns. They have a name of their own: their value is not the
  // model's.
  Value* write_bytes(Value* value, const Columns& columns) {
    Node* product = value->producer;
    const Value* bias = product->input(3);
    Tensor scales(DType::kFloat32, {std::ssize(columns.units)}), biases(DType::kFloat32, {std::ssize(columns.units)});
    for (size_t i = 0; i < columns.units.size(); ++i) {
      const float own = bias == nullptr ? 0 : bias->constant->data<float>()[i];
      scales.data<float>()[i] = product->inputs[2]->constant->data<float>()[i] / columns.units[i];
      biases.data<float>()[i] = (own - columns.shifts[i]) / columns.units[i];
    }
    const std::string name = product->inputs[1]->name;
    graph_.set_input(product, 2, graph_.add_constant(graph_.unique_name(name + "_scale"), std::move(scales)));
    Value* addend = graph_.add_constant(graph_.unique_name(name + "_bias"), std::move(biases));
    graph_.set_input(product, 3, addend);
    set_byte_output(product, {1, static_cast<int32_t>(kZeroPoint), DType::kUInt8});
    Value* bytes = graph_.add_value(graph_.unique_name(value->name + "_units"), DType::kUInt8, value->dims);
    bytes->layout = value->layout;
    product->outputs[0] = bytes;
    bytes->producer = product;
    value->producer = nullptr;
    return bytes;
  }

  Graph& graph_;
  Node* node_;
  const Quantization& quantization_;
  Form form_;
  std::map<Value*, Columns> columns_;
};

Result<int> run(PassContext& context) {
  if (context.quantization == nullptr) return 0;
  return rewrite_each(context.graph, [&](Node* node) {
    if (node->op != "hussar.Attention") return false;
    if (context.quantization->fp8) {
      node->note = no_int8("attention is multiplied in FP16", true);
      return false;
    }
    if (context.quantization->is_dynamic) {
      const std::string reason = refusal_of_run(*node, *context.quantization, context.target.place);
      if (reason.empty()) {
        quantize_in_run(context.graph, node, *context.quantization);
      } else {
        node->note = no_int8(reason);
      }
      return reason.empty();
    }
    Attention attention(context.graph, node, *context.quantization);
    std::string reason = attention.refusal();
    const bool is_on_host = context.target.place == Place::kHost;
    if (reason.empty() && is_on_host && node->input(kStarts) != nullptr) reason = "its sequences are packed";
    if (reason.empty() && !is_on_host) reason = refusal_of_device(*node, context.target);
    if (reason.empty()) {
      attention.rewrite();
    } else {
      node->note = no_int8(reason);
    }
    return reason.empty();
  });
}

}  // namespace

extern const Pass quantize_attention_pass = {
    .name = "quantize_attention",
    .summary = "Attention(MatMul8(x)) => QuantizedAttention(bytes of MatMul8(x))",
    .run = run,
    .after = "quantize_products"};

}  // namespace hussar
