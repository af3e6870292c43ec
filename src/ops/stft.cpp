// STFT: Fourier transforms of overlapping windowed frames of a signal [B][L][1 or 2], giving [B][frames][bins][2].
// Inputs: signal, frame_step, window, frame_length.
#include "ops/evaluate.h"
#include "ops/fourier.h"
#include "ops/infer.h"
#include "ops/op_def.h"

namespace hussar {

constexpr int64_t kMaxLength = int64_t{1} << 26;

static Status infer(InferContext& context) {
  DType dtype = context.dtype(0);
  const Dims* signal = context.dims(0);
  if (signal != nullptr &&
      (signal->size() != 3 || ((*signal)[2].is_constant() && !(*signal)[2].is(1) && !(*signal)[2].is(2)))) {
    return context.fail("a signal of shape {}", to_string(*signal));
  }
  auto step = context.integers(1);
  if (step && (step->size() != 1 || (*step)[0] < 1)) return context.fail("frame_step must be one positive number");
  if (context.rank(2) >= 0 && context.rank(2) != 1) return context.fail("the window must have rank 1");
  Dim length = context.fresh();
  auto given = context.elements(3);
  if (given && given->size() != 1) return context.fail("frame_length must be one number");
  if (given)
    length = (*given)[0];
  else if (!context.has(3) && context.dims(2) != nullptr)
    length = (*context.dims(2))[0];
  else if (!context.has(3) && !context.has(2) && signal != nullptr)
    length = (*signal)[1];
  if (length.is_constant() && (length.value() < 1 || length.value() > kMaxLength))
    return context.fail("frame_length is {}", length.value());
  if (context.dims(2) != nullptr && (*context.dims(2))[0].is_constant() && length.is_constant() &&
      !((*context.dims(2))[0] == length)) {
    return context.fail("a window of {} for frames of {}", (*context.dims(2))[0].value(), length.value());
  }
  Dim frames = signal != nullptr && step ? floor_div((*signal)[1] - length, Dim((*step)[0])) + Dim(1) : context.fresh();
  if (frames.is_constant() && frames.value() < 0) return context.fail("the signal is shorter than a frame");
  Dim bins = context.attributes.get_int("onesided", 1) != 0 ? floor_div(length, Dim(2)) + Dim(1) : length;
  context.set(0, dtype, {signal != nullptr ? (*signal)[0] : context.fresh(), frames, bins, Dim(2)});
  return {};
}

static Status evaluate(EvalContext& context) {
  if (!context.output().valid()) return context.fail("frame_step or frame_length are malformed");
  const Shape& shape = context.shape(0);
  Shape output = context.output().shape();
  auto step = static_cast<int64_t>(context.number(1, 1));
  int64_t length = context.has(3) ? context.integers(3)[0] : context.has(2) ? context.shape(2)[0] : shape[1];
  std::vector<double> window(static_cast<size_t>(length), 1);
  if (context.has(2)) load_elements<double>(context.input(2), 0, length, window.data());
  FourierTransform transform(length, false);
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  std::vector<std::complex<double>> line(static_cast<size_t>(length));
  for (int64_t frame = 0; frame < output[0] * output[1]; ++frame) {
    int64_t start = frame / output[1] * shape[1] + frame % output[1] * step;
    for (int64_t n = 0; n < length; ++n) {
      const double* value = x.data() + (start + n) * shape[2];
      line[n] = {value[0] * window[n], shape[2] == 2 ? value[1] * window[n] : 0};
    }
    for (int64_t k = 0; k < output[2]; ++k) {
      std::complex<double> value = transform.point(line, k);
      y[(frame * output[2] + k) * 2] = value.real();
      y[(frame * output[2] + k) * 2 + 1] = value.imag();
    }
  }
  return {};
}

extern const OpDef stft_op = {.name = "STFT", .min_inputs = 2, .max_inputs = 4, .infer = infer, .evaluate = evaluate};

}  // namespace hussar
