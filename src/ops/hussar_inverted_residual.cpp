// hussar.InvertedResidual: Conv -> activation -> depthwise Conv -> activation -> 1x1 Conv, as in MobileNetV2 (Sandler
// et al. 2018). The first or the last convolution may be missing. Passes form it so that a kernel can keep what lies
// between the convolutions in its caches.
//
// Inputs: x [N][C][H][W], depthwise filter [M][1][kh][kw], its bias [M], expansion filter [M][C][kh][kw], its bias [M],
// projection filter [F][M][1][1], its bias [F]; all but x and the depthwise filter are optional.
// Attributes: depthwise_strides, depthwise_pads, depthwise_dilations, expand_strides, expand_pads, expand_dilations as
// Conv has them (explicit pads only). expand_activation and depthwise_activation, if there is one: {op, p0, p1} of the
// vector program's step in tensor/program.h, with the constant p0 as second argument. An activation of the last
// convolution is the node's own fused program.
#include "ops/builder.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

enum Input : size_t { kX, kDepthwise, kDepthwiseBias, kExpand, kExpandBias, kProject, kProjectBias };

Attributes conv_attributes(const Attributes& attributes, const std::string& prefix) {
  Attributes own;
  for (const char* name : {"strides", "pads", "dilations"}) {
    if (const Ints* list = attributes.find<Ints>(prefix + name)) own.set(name, *list);
  }
  return own;
}

Result<Value*> activate(Builder& builder, Value* value, const std::string& name) {
  const Floats step = builder.attributes.get_floats(name);
  if (step.empty()) return value;
  Program program{};
  program.step_count = 1;
  bool known = step.size() == 3 && step[0] >= 0 && step[0] < static_cast<float>(kProgramOpCount);
  if (known) {
    const auto op = static_cast<ProgramOp>(static_cast<int>(step[0]));
    program.steps[0] = {op, 0, 0, ProgramSource::kConstant, 0, {}, step[1], step[2]};
  }
  if (!known || !is_valid(program)) return builder.fail("unknown {}", name);
  Value* result = builder.make(kPointwise, {value});
  result->producer->program = program;
  result->producer->program_inputs = 1;
  return result;
}

Status expand(Builder& builder) {
  const Attributes& attributes = builder.attributes;
  const Value* filter = builder.input(kDepthwise);
  if (filter->rank() != 4 || !(*filter->dims)[0].is_constant())
    return builder.fail("the depthwise filter has no shape");
  Value* value = builder.input(kX);
  if (builder.has(kExpand)) {
    value = builder.make("Conv", {value, builder.input(kExpand), builder.input(kExpandBias)},
                         conv_attributes(attributes, "expand_"));
    value = HUSSAR_TRY(activate(builder, value, "expand_activation"));
  }
  Attributes depthwise = conv_attributes(attributes, "depthwise_");
  depthwise.set("group", (*filter->dims)[0].value());
  value = builder.make("Conv", {value, builder.input(kDepthwise), builder.input(kDepthwiseBias)}, depthwise);
  if (builder.has(kProject)) {
    value = HUSSAR_TRY(activate(builder, value, "depthwise_activation"));
    value = builder.make("Conv", {value, builder.input(kProject), builder.input(kProjectBias)});
  }
  if (builder.node.program) {
    std::vector<Value*> operands = {value};
    const auto first = builder.node.inputs.begin() + builder.node.program_inputs;
    operands.insert(operands.end(), first, builder.node.inputs.end());
    value = builder.make(kPointwise, operands);
    value->producer->program = builder.node.program;
    value->producer->program_inputs = 1;
  }
  builder.result(0, value);
  return {};
}

// The pixels between the first and the depthwise convolution.
double middle_pixels(const Node& node, const Shape& x, const Shape& filter) {
  double pixels = static_cast<double>(x[0]);
  const Ints strides = node.attributes.get_ints("expand_strides", {1, 1});
  const Ints dilations = node.attributes.get_ints("expand_dilations", {1, 1});
  const Ints pads = node.attributes.get_ints("expand_pads", {0, 0, 0, 0});
  if (strides.size() != 2 || dilations.size() != 2 || pads.size() != 4) return 0;
  for (size_t axis = 0; axis < 2; ++axis) {
    const auto at = static_cast<int>(axis) + 2;
    const int64_t reach = x[at] + pads[axis] + pads[axis + 2] - dilations[axis] * (filter[at] - 1) - 1;
    pixels *= static_cast<double>(reach / std::max<int64_t>(strides[axis], 1) + 1);
  }
  return pixels;
}

double flops(const Node& node) {
  auto shape_of = [&](size_t i) { return node.input(i) != nullptr ? node.input(i)->static_shape() : std::nullopt; };
  auto x = shape_of(kX), depthwise = shape_of(kDepthwise), expand = shape_of(kExpand), project = shape_of(kProject);
  auto y = node.output() != nullptr ? node.output()->static_shape() : std::nullopt;
  if (!x || !depthwise || !y || x->rank() != 4 || y->rank() != 4 || depthwise->rank() != 4) return 0;
  const double pixels = static_cast<double>((*y)[0] * (*y)[2] * (*y)[3]);
  double total = 2 * pixels * static_cast<double>(depthwise->elements());
  if (project) total += 2 * pixels * static_cast<double>(project->elements());
  if (expand && expand->rank() == 4) {
    total += 2 * middle_pixels(node, *x, *expand) * static_cast<double>(expand->elements());
  }
  return total;
}

}  // namespace

extern const OpDef hussar_inverted_residual_op = {
    .name = "hussar.InvertedResidual", .min_inputs = 2, .max_inputs = 7, .expand = expand, .flops = flops};

}  // namespace hussar
