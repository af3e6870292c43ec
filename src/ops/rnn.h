// What RNN, GRU and LSTM share: shapes, directions, sequence lengths, activations.
//
// Inputs: x [T][B][I], w [D][G*H][I], r [D][G*H][H], b [D][2*G*H], sequence_lens [B], initial_h [D][B][H], and for LSTM
// initial_c [D][B][H] and p [D][3*H]. Outputs: y [T][D][B][H], y_h [D][B][H], y_c [D][B][H]. With layout 1 the batch
// axis of x, y and the states comes first. D is 1 or 2, G the number of gates, H the hidden size.
#pragma once
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

using Activation = std::function<double(double)>;

// One direction of the cell.
struct RnnDirection {
  int64_t hidden;
  const double* r;         // [G*H][H]
  const double* r_bias;    // [G*H]
  const double* peephole;  // [3*H]
  const Activation* activations;
  double clip;

  // An activation's argument, limited to [-clip, clip].
  double activate(int which, double x) const { return activations[which](std::clamp(x, -clip, clip)); }
  // Row `row` of r times h.
  double recur(int64_t row, const double* h) const {
    double sum = 0;
    for (int64_t k = 0; k < hidden; ++k) sum += r[row * hidden + k] * h[k];
    return sum;
  }
};

// Advances the states h [H] and c [H] by one time step. gates: [G*H], w x + w_bias.
using RnnStep = std::function<void(const RnnDirection& direction, const std::vector<double>& gates,
                                   std::vector<double>& h, std::vector<double>& c)>;

// `defaults`: the activations of one direction.
Status infer_rnn(InferContext& context, int64_t gates, const Strings& defaults);
Status evaluate_rnn(EvalContext& context, int64_t gates, const Strings& defaults, const RnnStep& step);
double rnn_flops(const Node& node, int64_t gates);

}  // namespace hussar
