// DFT: the discrete Fourier transform along one axis of x [...][1 or 2], whose last axis holds real (and imaginary)
// parts. Inputs: x, dft_length, axis. One-sided: the first length / 2 + 1 frequencies; inverted, it reads those and
// gives real numbers.
#include "ops/axis.h"
#include "ops/evaluate.h"
#include "ops/fourier.h"

namespace hussar {

constexpr int64_t kMaxLength = int64_t{1} << 26;

// Before opset 20 the axis was an attribute with another default.
static Status upgrade(UpgradeContext& context) {
  if (context.opset >= 20 || context.node.inputs.empty() || context.node.input(2) != nullptr) return {};
  Tensor axis(DType::kInt64, {});
  axis.data<int64_t>()[0] = 1;
  context.graph.set_input(&context.node, 2,
                          context.graph.add_constant(context.graph.unique_name(context.node.name), std::move(axis)));
  return {};
}

static Status infer(InferContext& context) {
  DType dtype = context.dtype(0);
  if (context.dims(0) == nullptr) return context.set_unknown(0, dtype), Status();
  Dims output = *context.dims(0);
  if (output.size() < 2) return context.fail("x has rank {}, at least 2 is needed", output.size());
  bool onesided = context.attributes.get_int("onesided", 0) != 0,
       inverse = context.attributes.get_int("inverse", 0) != 0;
  const Dim& parts = output.back();
  if (parts.is_constant() && !parts.is(1) && !parts.is(2))
    return context.fail("the last axis has {} elements instead of 1 or 2", parts.value());
  auto axes = context.has(2) ? context.integers(2) : std::optional<Ints>(Ints{-2});
  if (!axes) return context.set_rank(0, dtype, context.rank(0)), Status();
  if (axes->size() != 1) return context.fail("axis must be one number");
  int axis = HUSSAR_TRY(context.normalize_axis((*axes)[0], context.rank(0)));
  if (axis == context.rank(0) - 1) return context.fail("the last axis cannot be transformed");
  Dim length = output[axis];
  if (context.has(1)) {
    auto given = context.elements(1);
    if (given && given->size() != 1) return context.fail("dft_length must be one number");
    length = given ? (*given)[0] : context.fresh();
  } else if (onesided && inverse) {
    length = (length - Dim(1)) * Dim(2);
  }
  if (length.is_constant() && (length.value() < 1 || length.value() > kMaxLength))
    return context.fail("the length is {}", length.value());
  output[axis] = onesided && !inverse ? floor_div(length, Dim(2)) + Dim(1) : length;
  output.back() = Dim(onesided && inverse ? 1 : 2);
  context.set(0, dtype, std::move(output));
  return {};
}

static Status evaluate(EvalContext& context) {
  if (!context.output().valid()) return context.fail("dft_length or axis are malformed");
  bool onesided = context.attributes.get_int("onesided", 0) != 0,
       inverse = context.attributes.get_int("inverse", 0) != 0;
  const Shape& shape = context.shape(0);
  Shape output = context.output().shape();
  auto axis = static_cast<int64_t>(context.number(2, -2));
  if (axis < 0) axis += shape.rank();
  AxisSplit from = split_at(shape, axis), to = split_at(output, axis);
  int64_t parts = shape[shape.rank() - 1], out_parts = output[output.rank() - 1];
  int64_t length = context.has(1)        ? static_cast<int64_t>(context.number(1, 1))
                   : onesided && inverse ? 2 * (from.length - 1)
                                         : from.length;
  FourierTransform transform(length, inverse);
  auto x = context.read<double>(0);
  auto y = context.write<double>();
  std::vector<std::complex<double>> line;
  for (int64_t outer = 0; outer < from.outer; ++outer) {
    for (int64_t inner = 0; inner < from.inner / parts; ++inner) {
      line.clear();
      for (int64_t n = 0; n < std::min(from.length, length); ++n) {
        const double* value = x.data() + ((outer * from.length + n) * from.inner) + inner * parts;
        line.emplace_back(value[0], parts == 2 ? value[1] : 0);
      }
      if (onesided && inverse) {
        // The missing frequencies are the conjugates of the given ones.
        line.resize(static_cast<size_t>(std::min(length / 2 + 1, from.length)));
        for (auto k = static_cast<int64_t>(line.size()); k < length; ++k) {
          line.push_back(length - k < from.length ? std::conj(line[length - k]) : 0);
        }
      }
      for (int64_t k = 0; k < to.length; ++k) {
        std::complex<double> value = transform.point(line, k);
        double* out = y.data() + (outer * to.length + k) * to.inner + inner * out_parts;
        out[0] = value.real();
        if (out_parts == 2) out[1] = value.imag();
      }
    }
  }
  return {};
}

constexpr AttributeInput kAttributeInputs[] = {{"axis", 2, 20}};

extern const OpDef dft_op = {.name = "DFT",
                             .min_inputs = 1,
                             .max_inputs = 3,
                             .attribute_inputs = kAttributeInputs,
                             .upgrade = upgrade,
                             .infer = infer,
                             .evaluate = evaluate};

}  // namespace hussar
