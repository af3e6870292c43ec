// MelWeightMatrix: triangular filters that turn a spectrum into mel bins, [dft_length / 2 + 1][num_mel_bins]. Inputs:
// num_mel_bins, dft_length, sample_rate, lower_edge_hertz, upper_edge_hertz.
#include "ops/evaluate.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

static Status infer(InferContext& context) {
  auto dtype = static_cast<DType>(context.attributes.get_int("output_datatype", 1));
  if (context.attributes.get_int("output_datatype", 1) > 255 || dtype_size(dtype) == 0)
    return context.fail("output_datatype is unknown");
  Dims output;
  for (size_t i : {1, 0}) {
    auto value = context.elements(i);
    if (value && value->size() != 1) return context.fail("input {} must be one number", i);
    output.push_back(value ? (*value)[0] : context.fresh());
    if (output.back().is_constant() && (output.back().value() < 0 || output.back().value() >= int64_t{1} << 31)) {
      return context.fail("input {} is {}", i, output.back().value());
    }
  }
  output[0] = floor_div(output[0], Dim(2)) + Dim(1);
  context.set(0, dtype, std::move(output));
  return {};
}

static Status evaluate(EvalContext& context) {
  if (!context.output().valid()) return context.fail("num_mel_bins or dft_length are malformed");
  Shape shape = context.output().shape();
  double length = context.number(1, 0), rate = context.number(2, 0);
  auto to_mel = [](double hertz) { return 2595 * std::log10(1 + hertz / 700); };
  double low = to_mel(context.number(3, 0)), high = to_mel(context.number(4, 0));
  // The spectrum bins of the edges of all triangles.
  std::vector<int64_t> bins(static_cast<size_t>(shape[1]) + 2);
  for (size_t i = 0; i < bins.size(); ++i) {
    double mel = low + static_cast<double>(i) * (high - low) / static_cast<double>(bins.size());
    double bin = std::floor((length + 1) * 700 * (std::pow(10, mel / 2595) - 1) / rate);
    if (!(bin >= 0 && bin < static_cast<double>(shape[0])))
      return context.fail("the frequencies exceed half the sample rate");
    bins[i] = static_cast<int64_t>(bin);
  }
  auto y = context.write<double>();
  for (int64_t i = 0; i < shape[1]; ++i) {
    int64_t left = bins[i], centre = bins[i + 1], right = bins[i + 2];
    if (left == centre) y[centre * shape[1] + i] = 1;
    for (int64_t j = left; left < centre && j <= centre; ++j) {
      y[j * shape[1] + i] = static_cast<double>(j - left) / static_cast<double>(centre - left);
    }
    for (int64_t j = centre; j < right; ++j) {
      y[j * shape[1] + i] = static_cast<double>(right - j) / static_cast<double>(right - centre);
    }
  }
  return {};
}

extern const OpDef mel_weight_matrix_op = {
    .name = "MelWeightMatrix", .min_inputs = 5, .max_inputs = 5, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
