// RNN: h = f(w x + r h + biases).
#include "ops/rnn.h"

namespace hussar {

static const Strings& activations() {
  static const Strings kNames = {"Tanh"};
  return kNames;
}

static Status infer(InferContext& context) { return infer_rnn(context, 1, activations()); }

static void step(const RnnDirection& direction, const std::vector<double>& gates, std::vector<double>& h,
                 std::vector<double>&) {
  std::vector<double> next(h.size());
  for (int64_t j = 0; j < direction.hidden; ++j) {
    next[j] = direction.activate(0, gates[j] + direction.recur(j, h.data()) + direction.r_bias[j]);
  }
  h = std::move(next);
}

static Status evaluate(EvalContext& context) { return evaluate_rnn(context, 1, activations(), step); }
static double flops(const Node& node) { return rnn_flops(node, 1); }

extern const OpDef rnn_op = {.name = "RNN",
                             .min_inputs = 3,
                             .max_inputs = 6,
                             .min_outputs = 0,
                             .max_outputs = 2,
                             .infer = infer,
                             .evaluate = evaluate,
                             .flops = flops};

}  // namespace hussar
