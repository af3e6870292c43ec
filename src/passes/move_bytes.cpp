// What is only moved between INT8 products is moved as bytes:
//   QuantizedConv -> MaxPool -> QuantizeLinear -> QuantizedConv
//     => QuantizedConv -> QuantizeLinear -> MaxPool -> QuantizedConv
// so that store_bytes finds the QuantizeLinear behind the product. Values that movers connect share one scale, since
// Concat has one for all of its inputs. Rounding commutes with what moves elements, or chooses the largest.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

#include "passes/pass.h"
#include "passes/support/byte_operands.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"
#include "tactics/choose.h"

namespace hussar {
namespace {

// A common scale may be larger than what a reader asked for by this factor: it loses one bit of eight at most, when it
// shares its bytes with what is twice as large.
constexpr float kMostWidening = 2;

size_t data_inputs(const Node& node) { return node.op == "Concat" ? node.inputs.size() : 1; }

// Padding with zeros, whose byte is the zero point, or with elements of the input.
bool pads_with_bytes(const Node& node) {
  if (node.op != "Pad" || node.program) return false;
  const bool is_constant = node.attributes.get_string("mode", "constant") == "constant";
  return !is_constant || node.input(2) == nullptr || number_of(node.input(2)) == 0.0;
}

// How the readers of a group of values want their bytes.
struct Wanted {
  std::vector<QuantParams> params;
  bool is_exact = false;  // the model says so: another scale would be another model
};

// One that suits all. nullopt: there is none, or nobody wants any.
std::optional<QuantParams> common_params(const Wanted& wanted) {
  if (wanted.params.empty()) return std::nullopt;
  const QuantParams& first = wanted.params[0];
  auto is_first = [&](const QuantParams& other) { return same_params(first, other); };
  if (std::all_of(wanted.params.begin(), wanted.params.end(), is_first)) return first;
  if (wanted.is_exact) return std::nullopt;
  auto is_other = [&](const QuantParams& other) { return other.dtype != first.dtype; };
  if (std::any_of(wanted.params.begin(), wanted.params.end(), is_other)) return std::nullopt;
  auto low_of = [](const QuantParams& params) { return static_cast<float>(-params.zero_point) * params.scale; };
  auto high_of = [](const QuantParams& params) { return static_cast<float>(255 - params.zero_point) * params.scale; };
  float low = 0, high = 0;
  for (const QuantParams& params : wanted.params) {
    low = std::min(low, low_of(params));
    high = std::max(high, high_of(params));
  }
  QuantParams common{(high - low) / 255, 0, first.dtype};
  common.zero_point = static_cast<int32_t>(std::clamp(std::round(-low / common.scale), 0.0F, 255.0F));
  for (const QuantParams& params : wanted.params) {
    if (low_of(params) == low && high_of(params) == high) common = params;
  }
  for (const QuantParams& params : wanted.params) {
    if (common.scale > kMostWidening * params.scale) return std::nullopt;
  }
  return common;
}

class Movers {
 public:
  Movers(Graph& graph, const Target& target, const Quantization* quantization)
      : graph_(graph), target_(target), quantization_(quantization) {
    for (const auto& node : graph.nodes()) {
      if (can_move_bytes(*node)) able_.push_back(node.get());
    }
  }

  int run() {
    // Each round takes away the movers for which there is no common scale, and so what depends on them.
    do {
      find();
    } while (!group());
    for (Node* node : able_) {
      if (movers_.count(node) > 0) move(node);
    }
    for (Value* value : values_) read(value);
    return static_cast<int>(movers_.size());
  }

 private:
  // ---- what could be bytes ----

  DType byte_type() const { return quantization_ != nullptr ? quantization_->dtype() : DType::kUInt8; }

  bool can_move_bytes(Node& node) const {
    const bool nearest = node.op == "Resize" && node.attributes.get_string("mode", "nearest") == "nearest";
    if (!nearest && node.op != "Concat" && node.op != "Split" && !only_moves(node) && !pads_with_bytes(node))
      return false;
    if (node.program || (node.op == "MaxPool" && node.output(1) != nullptr)) return false;
    std::vector<Value*> values;
    for (size_t i = 0; i < data_inputs(node); ++i) values.push_back(node.inputs[i]);
    values.insert(values.end(), node.outputs.begin(), node.outputs.end());
    for (const Value* value : values) {
      if (value == nullptr || value->dtype != DType::kFloat32 || value->is_constant() || value->slice_of != nullptr)
        return false;
    }
    for (Value* value : values) value->dtype = byte_type();
    const bool has_kernel = has_own_kernel(Problem{node, target_});
    for (Value* value : values) value->dtype = DType::kFloat32;
    return has_kernel;
  }

  // Reads bytes already; they are given.
  static Node* dequantize_of(const Value* value) {
    Node* node = produced_by(value, "DequantizeLinear");
    return node != nullptr && node->inputs[0]->dtype == DType::kUInt8 && byte_params(*node) ? node : nullptr;
  }

  bool is_quantize(const Node& node, const Value* value) const {
    const auto params = params_of(node);
    return node.op == "QuantizeLinear" && node.inputs[0] == value && params && node.output()->dtype == params->dtype &&
           can_divide_by(*params);
  }
  // Of what is quantized.
  std::optional<QuantParams> params_of(const Node& node) const {
    return quantized_params(node, quantization_ != nullptr && quantization_->fp8);
  }

  // What is known of the value's own range: for who computes with it.
  std::optional<QuantParams> own_params(const Value* value) const {
    for (const Node* user : value->users) {
      if (is_quantize(*user, value)) return params_of(*user);
    }
    if (const Node* dequantize = dequantize_of(value)) return byte_params(*dequantize);
    const QuantParams* known = quantization_ == nullptr ? nullptr : quantization_->find(value->name);
    if (known != nullptr) return *known;
    const Node* producer = value->producer;
    const bool keeps_range = producer != nullptr && movers_.count(value->producer) > 0 && producer->op != "Concat";
    return keeps_range ? own_params(producer->inputs[0]) : std::nullopt;
  }

  bool all_users_take_bytes(const Value* value) const {
    return std::all_of(value->users.begin(), value->users.end(), [&](const Node* user) {
      if (is_quantize(*user, value)) return true;
      if (movers_.count(user) > 0) {
        const auto other = user->inputs.begin() + static_cast<std::ptrdiff_t>(data_inputs(*user));
        return std::find(other, user->inputs.end(), value) == user->inputs.end();
      }
      return can_read_bytes(*user, value, byte_type()) && own_params(value).has_value();
    });
  }

  bool can_be_bytes(const Value* value) const {
    const Node* producer = value->producer;
    if (producer == nullptr || graph_.is_output(value) || value->users.empty() || value->slice_of != nullptr)
      return false;
    const bool is_made =
        can_round(*value->producer, target_) || dequantize_of(value) != nullptr || movers_.count(value->producer) > 0;
    return is_made && all_users_take_bytes(value);
  }

  bool stays_mover(const Node& node) const {
    auto is_bytes = [&](const Value* value) { return is_bytes_.count(value) > 0; };
    if (!std::all_of(node.outputs.begin(), node.outputs.end(), is_bytes)) return false;
    // What a Concat reads may be quantized for it: that reads no more than to quantize its result.
    return std::any_of(node.inputs.begin(), node.inputs.begin() + static_cast<std::ptrdiff_t>(data_inputs(node)),
                       is_bytes);
  }

  void find() {
    movers_.clear();
    values_.clear();
    is_bytes_.clear();
    for (Node* node : able_) {
      if (banned_.count(node) == 0) movers_.insert(node);
    }
    for (const auto& node : graph_.nodes()) {
      for (const Value* value : node->outputs) {
        if (value != nullptr && value->dtype == DType::kFloat32) is_bytes_.insert(value);
      }
    }
    for (size_t before = 0; before != is_bytes_.size() + movers_.size();) {
      before = is_bytes_.size() + movers_.size();
      std::erase_if(is_bytes_, [&](const Value* value) { return !can_be_bytes(value); });
      std::erase_if(movers_, [&](const Node* node) { return !stays_mover(*node); });
    }
    for (const auto& node : graph_.nodes()) {
      for (Value* value : node->outputs) {
        if (is_bytes_.count(value) > 0) values_.push_back(value);
      }
    }
  }

  // ---- which of them share a scale ----

  const Value* root_of(const Value* value) const {
    while (leader_.at(value) != value) value = leader_.at(value);
    return value;
  }

  Wanted wanted_of(const Value* value) const {
    Wanted wanted;
    for (const Node* user : value->users) {
      if (is_quantize(*user, value)) {
        wanted.params.push_back(*params_of(*user));
        wanted.is_exact = wanted.is_exact || !can_change(*user->output());
      } else if (movers_.count(user) == 0) {
        wanted.params.push_back(*own_params(value));
      }
    }
    if (const Node* dequantize = dequantize_of(value)) {
      wanted.params.push_back(*byte_params(*dequantize));
      wanted.is_exact = true;
    }
    return wanted;
  }

  // Whether all who read the bytes may read others.
  static bool can_change(const Value& bytes) {
    return std::all_of(bytes.users.begin(), bytes.users.end(), [&](const Node* user) {
      return is_int8_product(*user) && user->inputs[0] == &bytes && user->note != kQuantizedInModel;
    });
  }

  // Whether every mover has found a scale; those that have not are left to real numbers.
  bool group() {
    leader_.clear();
    wanted_.clear();
    for (const Value* value : values_) {
      leader_[value] = value;
      wanted_[value] = wanted_of(value);
    }
    const size_t banned = banned_.size();
    for (Node* node : able_) {
      if (movers_.count(node) > 0 && !join(*node)) banned_.insert(node);
    }
    if (banned_.size() == banned) {
      for (const Node* mover : movers_) {
        if (!params_of(mover->output())) banned_.insert(mover);
      }
    }
    return banned_.size() == banned;
  }

  // All that the mover reads and writes gets one scale.
  bool join(const Node& mover) {
    std::vector<const Value*> roots;
    Wanted all;
    auto add = [&](const Value* value) {
      if (is_bytes_.count(value) == 0) return;
      const Value* root = root_of(value);
      if (std::find(roots.begin(), roots.end(), root) != roots.end()) return;
      roots.push_back(root);
      const Wanted& more = wanted_.at(root);
      all.params.insert(all.params.end(), more.params.begin(), more.params.end());
      all.is_exact = all.is_exact || more.is_exact;
    };
    for (size_t i = 0; i < data_inputs(mover); ++i) add(mover.inputs[i]);
    for (const Value* output : mover.outputs) add(output);
    if (!all.params.empty() && !common_params(all)) return false;
    for (const Value* root : roots) leader_[root] = roots[0];
    wanted_[roots[0]] = std::move(all);
    return true;
  }

  std::optional<QuantParams> params_of(const Value* value) const { return common_params(wanted_.at(root_of(value))); }

  // ---- rewriting ----

  // The bytes of a value that stays as it is for others.
  Value* quantized(Value* value, const QuantParams& params) {
    const Node* dequantize = dequantize_of(value);
    if (dequantize != nullptr && same_params(*byte_params(*dequantize), params)) return dequantize->inputs[0];
    Value*& bytes = bytes_[{value, params.scale, params.zero_point}];
    if (bytes != nullptr) return bytes;
    for (const Node* user : value->users) {
      if (is_quantize(*user, value) && same_params(*params_of(*user), params)) return bytes = user->output();
    }
    bytes = graph_.add_value(graph_.unique_name(value->name + "_bytes"), params.dtype, value->dims);
    bytes->layout = value->layout;
    Tensor scale(DType::kFloat32, Shape{}), zero_point(params.dtype, Shape{});
    scale.data<float>()[0] = params.scale;
    zero_point.data<uint8_t>()[0] = static_cast<uint8_t>(params.zero_point);
    graph_.add_node("QuantizeLinear", "quantize " + value->name,
                    {value, graph_.add_constant(graph_.unique_name(value->name + "_scale"), std::move(scale)),
                     graph_.add_constant(graph_.unique_name(value->name + "_zero"), std::move(zero_point))},
                    {bytes});
    return bytes;
  }

  bool is_moved(const Value* value) const { return movers_.count(value->producer) > 0; }

  void move(Node* mover) {
    const QuantParams params = *params_of(mover->output());
    for (size_t i = 0; i < data_inputs(*mover); ++i) {
      Value* input = mover->inputs[i];
      if (!is_moved(input)) graph_.set_input(mover, i, quantized(input, params));
    }
    if (mover->op == "Pad") set_padding(mover, params);
    for (Value* output : mover->outputs) output->dtype = params.dtype;
  }

  void set_padding(Node* pad, const QuantParams& params) {
    Value* zero = add_numbers(graph_, pad->name + "_zero", params.dtype, Shape{}, {double(params.zero_point)});
    if (pad->inputs.size() > 2) return graph_.set_input(pad, 2, zero);
    graph_.append_input(pad, zero);
  }

  // Who reads the value reads the bytes that it has become.
  void read(Value* value) {
    const auto params = params_of(value);
    const bool is_source = !is_moved(value);
    // Nothing that is moved: store_bytes sees to it.
    if (!params ||
        (is_source && bytes_.count({value, params->scale, params->zero_point}) == 0 && dequantize_of(value) == nullptr))
      return;
    Value* bytes = is_source ? quantized(value, *params) : value;
    const std::vector<Node*> users = value->users;
    // A product may multiply the value and add it, too: what it adds comes first, while it can be told apart.
    for (Node* user : users) {
      if (!is_source && user->op != "QuantizeLinear" && can_read_bytes(*user, value, byte_type()))
        read_bytes(graph_, user, value, bytes, *params);
    }
    for (Node* user : users) {
      if (user->op == "QuantizeLinear" && user->output() != bytes) {
        set_scale_of_readers(*user->output(), *params);
        graph_.replace_uses(user->output(), bytes);
        unlink_unused(graph_, user);
      }
    }
  }

  static void set_scale_of_readers(const Value& bytes, const QuantParams& params) {
    for (Node* user : bytes.users) {
      if (!is_int8_product(*user) || user->inputs[0] != &bytes) continue;
      user->attributes.set("x_scale", params.scale);
      user->attributes.set("x_zero_point", int64_t{params.zero_point});
    }
  }

  Graph& graph_;
  Target target_;
  const Quantization* quantization_;
  std::vector<Node*> able_;  // producers first
  std::set<const Node*> banned_;
  std::set<const Node*> movers_;
  std::set<const Value*> is_bytes_;
  std::vector<Value*> values_;  // the same, producers first
  std::map<const Value*, const Value*> leader_;
  std::map<const Value*, Wanted> wanted_;  // of leaders
  std::map<std::tuple<Value*, float, int32_t>, Value*> bytes_;
};

Result<int> run(PassContext& context) {
  HUSSAR_TRY(context.graph.sort());
  return Movers(context.graph, context.target, context.quantization).run();
}

}  // namespace

extern const Pass move_bytes_pass = {
    .name = "move_bytes",
    .summary = "QuantizedConv -> MaxPool -> QuantizeLinear => QuantizedConv -> QuantizeLinear -> MaxPool",
    .run = run,
    .after = "quantize_products"};

}  // namespace hussar
