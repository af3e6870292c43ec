// Pairs of QuantizeLinear and DequantizeLinear become one node between real numbers, which later passes see through:
//   DequantizeLinear(Reshape(QuantizeLinear(x, s, z)), s, z)  =>  Reshape(hussar.FakeQuantize<s, z>(x))
// One is enough for values that are only moved: it stands where they are made.
#include <map>

#include "passes/pass.h"
#include "passes/support/fake_quantize.h"
#include "passes/support/rewrite.h"

namespace hussar {
namespace {

class Pairs {
 public:
  explicit Pairs(Graph& graph) : graph_(graph) {}

  int run() {
    const int joined = rewrite_each(graph_, [&](Node* node) { return join(node); });
    return joined + rewrite_each(graph_, [&](Node* node) { return raise(node); });
  }

 private:
  // The QuantizeLinear behind the operators that move its bytes, which go to `moves`, the last one first.
  static Node* quantizer_of(const Value* bytes, std::vector<Node*>& moves) {
    while (bytes != nullptr && bytes->producer != nullptr && only_moves(*bytes->producer)) {
      moves.push_back(bytes->producer);
      bytes = bytes->producer->inputs[0];
    }
    return produced_by(bytes, "QuantizeLinear");
  }

  bool join(Node* dequantize) {
    std::vector<Node*> moves;
    const auto params = dequantize->op == "DequantizeLinear" ? byte_params(*dequantize) : std::nullopt;
    Node* quantize = params ? quantizer_of(dequantize->inputs[0], moves) : nullptr;
    const auto given = quantize == nullptr ? std::nullopt : byte_params(*quantize);
    if (!given || !same_params(*params, *given)) return false;
    Value*& real = reals_[quantize->output()];
    if (real == nullptr) real = add_fake_quantize(graph_, quantize->name, quantize->inputs[0], *params);
    Value* moved = real;
    for (auto move = moves.rbegin(); move != moves.rend(); ++move) {
      std::vector<Value*> inputs = (*move)->inputs;
      inputs[0] = moved;
      moved = add_operation(graph_, (*move)->name, (*move)->op, inputs, (*move)->attributes, DType::kFloat32,
                            (*move)->output()->dims);
    }
    return bypass(graph_, dequantize, moved);
  }

  // Values that are quantized already, and only moved since, need no second FakeQuantize with the same parameters; one
  // without a first moves up to where they are made.
  bool raise(Node* node) {
    const auto params = fake_quantize_params(*node);
    if (!params) return false;
    Value* value = node->inputs[0];
    bool is_shared = false;
    while (value->producer != nullptr && only_moves(*value->producer)) {
      is_shared = is_shared || only_user(graph_, value) == nullptr;
      value = value->producer->inputs[0];
    }
    const auto first = value->producer == nullptr ? std::nullopt : params_of_values(*value->producer);
    if (first && same_params(*first, *params)) return bypass(graph_, node, node->inputs[0]);
    // Of a constant, such as a table of embeddings, only a part may be read.
    if (value == node->inputs[0] || value->is_constant() || is_shared || only_user(graph_, value) == nullptr ||
        is_multiplied(node->output()))
      return false;
    Node* move = only_user(graph_, value);
    if (move->op == "MaxPool" || !bypass(graph_, node, node->inputs[0])) return false;
    graph_.set_input(move, 0, add_fake_quantize(graph_, node->name, value, *params));
    return true;
  }

  // Of nodes whose results are bytes in disguise.
  static std::optional<QuantParams> params_of_values(const Node& node) {
    return node.op == "DequantizeLinear" ? byte_params(node) : fake_quantize_params(node);
  }

  Graph& graph_;
  std::map<const Value*, Value*> reals_;
};

Result<int> run(PassContext& context) { return Pairs(context.graph).run(); }

}  // namespace

extern const Pass recognise_fake_quantize_pass = {
    .name = "recognise_fake_quantize",
    .summary = "DequantizeLinear(QuantizeLinear(x, s, z), s, z) => hussar.FakeQuantize<s, z>(x)",
    .run = run};

}  // namespace hussar
