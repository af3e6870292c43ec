// GRU (Cho et al. 2014), gates in the order update z, reset r, hidden: h = (1 - z) * candidate + z * h.
#include "ops/rnn.h"

namespace hussar {

static const Strings& activations() {
  static const Strings kNames = {"Sigmoid", "Tanh"};
  return kNames;
}

static Status infer(InferContext& context) { return infer_rnn(context, 3, activations()); }

static Status evaluate(EvalContext& context) {
  bool linear_first = context.attributes.get_int("linear_before_reset", 0) != 0;
  auto step = [&](const RnnDirection& direction, const std::vector<double>& gates, std::vector<double>& h,
                  std::vector<double>&) {
    int64_t hidden = direction.hidden;
    std::vector<double> update(h.size()), reset(h.size()), reset_h(h.size()), next(h.size());
    for (int64_t j = 0; j < hidden; ++j) {
      update[j] = direction.activate(0, gates[j] + direction.recur(j, h.data()) + direction.r_bias[j]);
      reset[j] = direction.activate(
          0, gates[hidden + j] + direction.recur(hidden + j, h.data()) + direction.r_bias[hidden + j]);
      reset_h[j] = reset[j] * h[j];
    }
    for (int64_t j = 0; j < hidden; ++j) {
      int64_t row = 2 * hidden + j;
      double recurrent = linear_first ? reset[j] * (direction.recur(row, h.data()) + direction.r_bias[row])
                                      : direction.recur(row, reset_h.data()) + direction.r_bias[row];
      next[j] = (1 - update[j]) * direction.activate(1, gates[row] + recurrent) + update[j] * h[j];
    }
    h = std::move(next);
  };
  return evaluate_rnn(context, 3, activations(), step);
}

static double flops(const Node& node) { return rnn_flops(node, 3); }

extern const OpDef gru_op = {.name = "GRU",
                             .min_inputs = 3,
                             .max_inputs = 6,
                             .min_outputs = 0,
                             .max_outputs = 2,
                             .infer = infer,
                             .evaluate = evaluate,
                             .flops = flops};

}  // namespace hussar
