// LSTM (Hochreiter and Schmidhuber 1997) with peepholes, gates in the order input, output, forget, cell.
#include "ops/rnn.h"

namespace hussar {

static const Strings& activations() {
  static const Strings kNames = {"Sigmoid", "Tanh", "Tanh"};
  return kNames;
}

static Status infer(InferContext& context) { return infer_rnn(context, 4, activations()); }

static Status evaluate(EvalContext& context) {
  bool coupled = context.attributes.get_int("input_forget", 0) != 0;
  auto step = [&](const RnnDirection& direction, const std::vector<double>& gates, std::vector<double>& h,
                  std::vector<double>& c) {
    int64_t hidden = direction.hidden;
    std::vector<double> next(h.size());
    for (int64_t j = 0; j < hidden; ++j) {
      auto gate = [&](int64_t which) {
        int64_t row = which * hidden + j;
        return gates[row] + direction.recur(row, h.data()) + direction.r_bias[row];
      };
      double input = direction.activate(0, gate(0) + direction.peephole[j] * c[j]);
      double forget = coupled ? 1 - input : direction.activate(0, gate(2) + direction.peephole[2 * hidden + j] * c[j]);
      c[j] = forget * c[j] + input * direction.activate(1, gate(3));
      double output = direction.activate(0, gate(1) + direction.peephole[hidden + j] * c[j]);
      next[j] = output * direction.activations[2](c[j]);
    }
    h = std::move(next);
  };
  return evaluate_rnn(context, 4, activations(), step);
}

static double flops(const Node& node) { return rnn_flops(node, 4); }

extern const OpDef lstm_op = {.name = "LSTM",
                              .min_inputs = 3,
                              .max_inputs = 8,
                              .min_outputs = 0,
                              .max_outputs = 3,
                              .infer = infer,
                              .evaluate = evaluate,
                              .flops = flops};

}  // namespace hussar
