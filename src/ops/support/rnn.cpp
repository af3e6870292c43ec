// Inference and the time loop of recurrent operators.
#include "ops/rnn.h"

#include <cctype>

namespace hussar {
namespace {

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

// The activation functions that ONNX names; alpha and beta are taken from the lists in the order of use.
Result<Activation> make_activation(const Node& node, const std::string& spelling, const Floats& alphas,
                                   size_t& next_alpha, const Floats& betas, size_t& next_beta) {
  std::string name = lower(spelling);
  auto alpha = [&](double otherwise) {
    return next_alpha < alphas.size() ? static_cast<double>(alphas[next_alpha++]) : otherwise;
  };
  auto beta = [&](double otherwise) {
    return next_beta < betas.size() ? static_cast<double>(betas[next_beta++]) : otherwise;
  };
  if (name == "sigmoid") return Activation([](double x) { return 1 / (1 + std::exp(-x)); });
  if (name == "tanh") return Activation([](double x) { return std::tanh(x); });
  if (name == "relu") return Activation([](double x) { return x < 0 ? 0 : x; });
  if (name == "softsign") return Activation([](double x) { return x / (1 + std::abs(x)); });
  if (name == "softplus")
    return Activation([](double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); });
  if (name == "leakyrelu") return Activation([a = alpha(0.01)](double x) { return x < 0 ? a * x : x; });
  if (name == "thresholdedrelu") return Activation([a = alpha(1)](double x) { return x > a ? x : 0; });
  if (name == "elu") return Activation([a = alpha(1)](double x) { return x < 0 ? a * std::expm1(x) : x; });
  if (name == "affine") return Activation([a = alpha(1), b = beta(0)](double x) { return a * x + b; });
  if (name == "scaledtanh") return Activation([a = alpha(1), b = beta(1)](double x) { return a * std::tanh(b * x); });
  if (name == "hardsigmoid")
    return Activation([a = alpha(0.2), b = beta(0.5)](double x) { return std::clamp(a * x + b, 0.0, 1.0); });
  return fail(ErrorCode::kInvalidModel, "{}: unknown activation '{}'", describe(node), spelling);
}

Result<std::vector<Activation>> read_activations(const Node& node, int64_t directions, const Strings& defaults) {
  Strings names = node.attributes.get_strings("activations");
  if (names.empty()) {
    for (int64_t d = 0; d < directions; ++d) names.insert(names.end(), defaults.begin(), defaults.end());
  }
  // RNN's default lists two names even for one direction.
  HUSSAR_CHECK(names.size() >= defaults.size() * static_cast<size_t>(directions), ErrorCode::kInvalidModel,
               "{}: {} activations are given, {} are needed", describe(node), names.size(),
               defaults.size() * static_cast<size_t>(directions));
  Floats alphas = node.attributes.get_floats("activation_alpha"), betas = node.attributes.get_floats("activation_beta");
  size_t next_alpha = 0, next_beta = 0;
  std::vector<Activation> result;
  for (const std::string& name : names) {
    result.push_back(HUSSAR_TRY(make_activation(node, name, alphas, next_alpha, betas, next_beta)));
  }
  return result;
}

Result<int64_t> read_directions(const Node& node) {
  std::string direction = lower(node.attributes.get_string("direction", "forward"));
  HUSSAR_CHECK(direction == "forward" || direction == "reverse" || direction == "bidirectional",
               ErrorCode::kInvalidModel, "{}: unknown direction '{}'", describe(node), direction);
  return direction == "bidirectional" ? 2 : 1;
}

Status check_operand(const InferContext& context, size_t input, const Dims& wanted) {
  const Dims* dims = context.dims(input);
  if (dims == nullptr) return {};
  bool fits = dims->size() == wanted.size();
  for (size_t i = 0; fits && i < wanted.size(); ++i) {
    fits = !(*dims)[i].is_constant() || !wanted[i].is_constant() || (*dims)[i] == wanted[i];
  }
  if (!fits) return context.fail("input {} has the shape {} instead of {}", input, to_string(*dims), to_string(wanted));
  return {};
}

}  // namespace

Status infer_rnn(InferContext& context, int64_t gates, const Strings& defaults) {
  int64_t directions = HUSSAR_TRY(read_directions(context.node));
  HUSSAR_TRY(read_activations(context.node, directions, defaults));
  bool batch_first = context.attributes.get_int("layout", 0) != 0;
  if (context.rank(0) >= 0 && context.rank(0) != 3) return context.fail("x must have rank 3");
  for (size_t i : {1, 2}) {
    if (context.rank(i) >= 0 && context.rank(i) != 3) return context.fail("input {} must have rank 3", i);
  }
  const Dims* x = context.dims(0);
  Dim steps = x != nullptr ? (*x)[batch_first ? 1 : 0] : context.fresh();
  Dim batch = x != nullptr ? (*x)[batch_first ? 0 : 1] : context.fresh();
  int64_t declared = context.attributes.get_int("hidden_size", 0);
  Dim hidden = context.dims(2) != nullptr ? (*context.dims(2))[2] : declared > 0 ? Dim(declared) : context.fresh();
  if (hidden.is_constant() && declared > 0 && !hidden.is(declared))
    return context.fail("hidden_size does not fit the weights");
  Dim rows = Dim(gates) * hidden, d(directions);
  if (x != nullptr) HUSSAR_TRY(check_operand(context, 1, {d, rows, (*x)[2]}));
  HUSSAR_TRY(check_operand(context, 2, {d, rows, hidden}));
  HUSSAR_TRY(check_operand(context, 3, {d, Dim(2) * rows}));
  HUSSAR_TRY(check_operand(context, 4, {batch}));
  Dims state = batch_first ? Dims{batch, d, hidden} : Dims{d, batch, hidden};
  HUSSAR_TRY(check_operand(context, 5, state));
  HUSSAR_TRY(check_operand(context, 6, state));
  HUSSAR_TRY(check_operand(context, 7, {d, Dim(3) * hidden}));
  context.set(0, context.dtype(0), batch_first ? Dims{batch, steps, d, hidden} : Dims{steps, d, batch, hidden});
  context.set(1, context.dtype(0), state);
  context.set(2, context.dtype(0), state);
  return {};
}

namespace {

// An optional input as doubles; zeros when it is omitted.
std::vector<double> read_or_zero(const EvalContext& context, size_t input, int64_t count) {
  std::vector<double> values(static_cast<size_t>(count), 0);
  if (context.has(input)) load_elements<double>(context.input(input), 0, count, values.data());
  return values;
}

struct RnnSizes {
  int64_t steps, batch, inputs, hidden, directions;
  bool batch_first;

  int64_t x_offset(int64_t t, int64_t b) const { return (batch_first ? b * steps + t : t * batch + b) * inputs; }
  int64_t state_offset(int64_t d, int64_t b) const {
    return (batch_first ? b * directions + d : d * batch + b) * hidden;
  }
  int64_t y_offset(int64_t t, int64_t d, int64_t b) const {
    return (batch_first ? (b * steps + t) * directions + d : (t * directions + d) * batch + b) * hidden;
  }
};

void store(EvalContext& context, size_t output, const std::vector<double>& values) {
  if (context.wants(output))
    store_elements<double>(context.output(output), 0, context.output(output).elements(), values.data());
}

}  // namespace

Status evaluate_rnn(EvalContext& context, int64_t gates, const Strings& defaults, const RnnStep& step) {
  const Shape& shape = context.shape(0);
  int64_t directions = HUSSAR_TRY(read_directions(context.node));
  std::vector<Activation> activations = HUSSAR_TRY(read_activations(context.node, directions, defaults));
  bool reverse = lower(context.attributes.get_string("direction", "forward")) == "reverse";
  bool batch_first = context.attributes.get_int("layout", 0) != 0;
  RnnSizes sizes{
      shape[batch_first ? 1 : 0], shape[batch_first ? 0 : 1], shape[2], context.shape(2)[2], directions, batch_first};
  int64_t rows = gates * sizes.hidden, states = directions * sizes.batch * sizes.hidden;
  auto x = context.read<double>(0), w = context.read<double>(1), r = context.read<double>(2);
  std::vector<double> bias = read_or_zero(context, 3, directions * 2 * rows);
  std::vector<double> h_states = read_or_zero(context, 5, states), c_states = read_or_zero(context, 6, states);
  std::vector<double> peepholes = read_or_zero(context, 7, directions * 3 * sizes.hidden);
  std::vector<double> y(static_cast<size_t>(sizes.steps * states), 0), gate_values(static_cast<size_t>(rows));
  Ints lengths = context.has(4) ? context.integers(4) : Ints(static_cast<size_t>(sizes.batch), sizes.steps);
  double clip = context.attributes.get_float("clip", std::numeric_limits<float>::infinity());
  if (!(clip >= 0)) return context.fail("clip is {}", clip);
  for (int64_t d = 0; d < directions; ++d) {
    const double* d_bias = bias.data() + d * 2 * rows;
    RnnDirection direction{sizes.hidden,
                           r.data() + d * rows * sizes.hidden,
                           d_bias + rows,
                           peepholes.data() + d * 3 * sizes.hidden,
                           activations.data() + d * static_cast<int64_t>(defaults.size()),
                           clip};
    for (int64_t b = 0; b < sizes.batch; ++b) {
      if (lengths[b] < 0 || lengths[b] > sizes.steps)
        return context.fail("sequence length {} of {} steps", lengths[b], sizes.steps);
      auto state = sizes.state_offset(d, b);
      std::vector<double> h(h_states.begin() + state, h_states.begin() + state + sizes.hidden);
      std::vector<double> c(c_states.begin() + state, c_states.begin() + state + sizes.hidden);
      for (int64_t s = 0; s < lengths[b]; ++s) {
        int64_t t = reverse || d == 1 ? lengths[b] - 1 - s : s;
        const double* in = x.data() + sizes.x_offset(t, b);
        for (int64_t row = 0; row < rows; ++row) {
          const double* weights = w.data() + (d * rows + row) * sizes.inputs;
          gate_values[row] = d_bias[row];
          for (int64_t k = 0; k < sizes.inputs; ++k) gate_values[row] += weights[k] * in[k];
        }
        step(direction, gate_values, h, c);
        std::copy(h.begin(), h.end(), y.begin() + sizes.y_offset(t, d, b));
      }
      std::copy(h.begin(), h.end(), h_states.begin() + state);
      std::copy(c.begin(), c.end(), c_states.begin() + state);
    }
  }
  store(context, 0, y);
  store(context, 1, h_states);
  store(context, 2, c_states);
  return {};
}

double rnn_flops(const Node& node, int64_t gates) {
  auto x = node.input(0) != nullptr ? node.input(0)->static_shape() : std::nullopt;
  auto r = node.input(2) != nullptr ? node.input(2)->static_shape() : std::nullopt;
  if (!x || !r || x->rank() != 3 || r->rank() != 3) return 0;
  auto tokens = static_cast<double>((*x)[0] * (*x)[1]), hidden = static_cast<double>((*r)[2]);
  return 2 * tokens * static_cast<double>((*r)[0] * gates) * hidden * (static_cast<double>((*x)[2]) + hidden);
}

}  // namespace hussar
