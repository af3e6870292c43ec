// DeformConv (Zhu et al. 2019): a 2-D convolution whose taps are moved by learned offsets and weighted by a mask.
// offset: [N][offset_group * Kh * Kw * 2][Oh][Ow] as (y, x) pairs, mask: [N][offset_group * Kh * Kw][Oh][Ow]. Samples
// are bilinear, zero outside.
#include "ops/conv.h"

namespace hussar {

// Attributes that infer_conv does not see: fails unless the offsets and the mask belong to the output.
static Status check_operand(const InferContext& context, size_t input, const Dim& channels) {
  const Dims* dims = context.dims(input);
  const Dims* output = &*context.outputs[0].dims;
  if (dims == nullptr) return {};
  auto differ = [](const Dim& a, const Dim& b) { return a.is_constant() && b.is_constant() && !(a == b); };
  bool fits = dims->size() == 4 && !differ((*dims)[0], (*output)[0]) && !differ((*dims)[1], channels) &&
              !differ((*dims)[2], (*output)[2]) && !differ((*dims)[3], (*output)[3]);
  if (!fits)
    return context.fail("input {} of shape {} does not belong to an output of shape {}", input, to_string(*dims),
                        to_string(*output));
  return {};
}

static Status infer(InferContext& context) {
  int64_t groups = context.attributes.get_int("offset_group", 1);
  if (groups < 1 || groups > 1 << 20) return context.fail("offset_group is {}", groups);
  HUSSAR_TRY(infer_conv(context, 0, 1, 3, context.dtype(0)));
  if (context.dims(0) == nullptr || context.dims(1) == nullptr) return {};
  if (context.rank(0) != 4) return context.fail("x must have rank 4");
  const Dim& channels = (*context.dims(0))[1];
  if (channels.is_constant() && channels.value() % groups != 0) {
    return context.fail("{} channels in {} offset groups", channels.value(), groups);
  }
  Dim taps = (*context.dims(1))[2] * (*context.dims(1))[3] * Dim(groups);
  HUSSAR_TRY(check_operand(context, 2, taps * Dim(2)));
  return check_operand(context, 4, taps);
}

static double bilinear(const double* plane, int64_t height, int64_t width, double y, double x) {
  if (!(y > -1 && x > -1 && y < static_cast<double>(height) && x < static_cast<double>(width))) return 0;
  double top = std::floor(y), left = std::floor(x), sum = 0;
  for (int corner = 0; corner < 4; ++corner) {
    auto row = static_cast<int64_t>(top) + corner / 2, column = static_cast<int64_t>(left) + corner % 2;
    if (row < 0 || column < 0 || row >= height || column >= width) continue;
    double down = corner / 2 == 0 ? 1 - (y - top) : y - top, across = corner % 2 == 0 ? 1 - (x - left) : x - left;
    sum += down * across * plane[row * width + column];
  }
  return sum;
}

static Status evaluate(EvalContext& context) {
  ConvShape shape = HUSSAR_TRY(conv_shape(context.node, context.shape(0), context.shape(1), context.output().shape()));
  auto x = context.read<double>(0), w = context.read<double>(1), offset = context.read<double>(2);
  auto y = context.write<double>();
  const Window& window = shape.window;
  int64_t taps = window.kernel[0] * window.kernel[1], positions = shape.output.elements();
  int64_t channels = context.shape(0)[1], outputs = shape.groups * shape.outputs, plane = shape.input.elements();
  int64_t offset_groups = context.attributes.get_int("offset_group", 1);
  int64_t per_offset_group = channels / offset_groups;
  std::vector<double> mask(static_cast<size_t>(offset.size() / 2), 1), bias(static_cast<size_t>(outputs), 0);
  if (context.has(4)) load_elements<double>(context.input(4), 0, context.input(4).elements(), mask.data());
  if (context.has(3)) load_elements<double>(context.input(3), 0, outputs, bias.data());
  std::vector<double> samples(static_cast<size_t>(w.size() == 0 ? 0 : channels * taps));
  for (int64_t at = 0; at < shape.batch * positions; ++at) {
    int64_t n = at / positions, position = at % positions;
    int64_t row = position / shape.output[1], column = position % shape.output[1];
    for (size_t s = 0; s < samples.size(); ++s) {
      int64_t c = static_cast<int64_t>(s) / taps, tap = static_cast<int64_t>(s) % taps;
      int64_t k = (n * offset_groups + c / per_offset_group) * taps + tap;
      auto base_y = static_cast<double>(row * window.strides[0] - window.pads_begin[0] +
                                        tap / window.kernel[1] * window.dilations[0]);
      auto base_x = static_cast<double>(column * window.strides[1] - window.pads_begin[1] +
                                        tap % window.kernel[1] * window.dilations[1]);
      double down = base_y + offset[2 * k * positions + position];
      double across = base_x + offset[(2 * k + 1) * positions + position];
      samples[s] = mask[k * positions + position] *
                   bilinear(x.data() + (n * channels + c) * plane, shape.input[0], shape.input[1], down, across);
    }
    for (int64_t m = 0; m < outputs; ++m) {
      double sum = bias[m];
      int64_t first = m / shape.outputs * shape.inputs * taps, count = samples.empty() ? 0 : shape.inputs * taps;
      for (int64_t i = 0; i < count; ++i) sum += w[m * count + i] * samples[first + i];
      y[(n * outputs + m) * positions + position] = sum;
    }
  }
  return {};
}

static double flops(const Node& node) { return conv_flops(node, 1); }

extern const OpDef deform_conv_op = {
    .name = "DeformConv", .min_inputs = 3, .max_inputs = 5, .infer = infer, .evaluate = evaluate, .flops = flops};

}  // namespace hussar
