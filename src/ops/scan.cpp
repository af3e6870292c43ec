// Scan: runs its body once per slice of its scan inputs. Inputs: initial states, `num_scan_inputs` scan inputs, then
// `captures` outer values that every iteration sees. The body maps (states, slices, captures) to (states, slices); the
// slices that it gives are stacked along a new axis.
#include "ops/control_flow.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

struct ScanInputs {
  size_t states, scans;
  Ints input_axes, input_directions, output_axes, output_directions;  // one per scan input or scan output
};

Result<ScanInputs> split_inputs(const Node& node) {
  const Attributes& attributes = node.attributes;
  auto count = static_cast<int64_t>(node.inputs.size());
  int64_t captures = attributes.get_int("captures", 0), scans = attributes.get_int("num_scan_inputs", 0);
  HUSSAR_CHECK(captures >= 0 && captures <= count && scans >= 1 && scans <= count - captures, ErrorCode::kInvalidModel,
               "{}: {} scan inputs and {} captures in {} inputs", describe(node), scans, captures, count);
  ScanInputs inputs{static_cast<size_t>(count - captures - scans), static_cast<size_t>(scans), {}, {}, {}, {}};
  size_t outputs = std::max(node.outputs.size(), inputs.states) - inputs.states;
  auto read = [&](const char* name, size_t wanted) -> Result<Ints> {
    Ints values = attributes.get_ints(name);
    if (values.empty()) values.assign(wanted, 0);
    HUSSAR_CHECK(values.size() >= wanted, ErrorCode::kInvalidModel, "{}: {} has {} values, {} are needed",
                 describe(node), name, values.size(), wanted);
    return values;
  };
  inputs.input_axes = HUSSAR_TRY(read("scan_input_axes", inputs.scans));
  inputs.input_directions = HUSSAR_TRY(read("scan_input_directions", inputs.scans));
  inputs.output_axes = HUSSAR_TRY(read("scan_output_axes", outputs));
  inputs.output_directions = HUSSAR_TRY(read("scan_output_directions", outputs));
  return inputs;
}

}  // namespace

// Opset 8 had a batch axis and sequence lengths: another operator.
static Status upgrade(UpgradeContext& context) {
  HUSSAR_CHECK(context.opset >= 9, ErrorCode::kInvalidModel,
               "{}: Scan of opset 8 is not supported; export with opset 9 or newer", describe(context.node));
  return {};
}

static Status infer(InferContext& context) {
  ScanInputs inputs = HUSSAR_TRY(split_inputs(context.node));
  std::vector<ValueInfo> arguments;
  Dim length = context.fresh();
  for (size_t i = 0; i < context.input_count(); ++i) {
    arguments.push_back(context.info(i));
    if (i < inputs.states + inputs.scans && !context.has(i)) return context.fail("input {} is missing", i);
    if (i < inputs.states || i >= inputs.states + inputs.scans) continue;
    ValueInfo& slice = arguments.back();
    slice.constant = nullptr;
    slice.elements.reset();
    if (!slice.dims) continue;
    if (slice.dims->empty()) return context.fail("scan input {} is a scalar", i - inputs.states);
    int axis = HUSSAR_TRY(context.normalize_axis(inputs.input_axes[i - inputs.states], context.rank(i)));
    Dim extent = (*slice.dims)[axis];
    if (length.is_constant() && extent.is_constant() && !(length == extent)) {
      return context.fail("scan inputs have the lengths {} and {}", length.value(), extent.value());
    }
    if (!length.is_constant()) length = extent;
    slice.dims->erase(slice.dims->begin() + axis);
  }
  const Graph* body = context.node.body("body");
  if (body == nullptr || body->inputs.size() != arguments.size())
    return context.fail("the body does not take {} inputs", arguments.size());
  auto results = HUSSAR_TRY(infer_loop_body(context, arguments, {0, 0, inputs.states}));
  if (context.output_count() > results.size()) return context.fail("the body gives too few outputs");
  for (size_t i = 0; i < context.output_count(); ++i) {
    if (i < inputs.states) {
      context.outputs[i].dtype = arguments[i].dtype;
      context.outputs[i].dims = arguments[i].dims;
      continue;
    }
    context.outputs[i].dtype = results[i].dtype;
    if (!results[i].dims) continue;
    Dims dims = *results[i].dims;
    int axis =
        HUSSAR_TRY(context.normalize_axis(inputs.output_axes[i - inputs.states], static_cast<int>(dims.size()) + 1));
    dims.insert(dims.begin() + axis, length);
    context.outputs[i].dims = std::move(dims);
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  ScanInputs inputs = HUSSAR_TRY(split_inputs(context.node));
  const Graph* body = context.node.body("body");
  if (body == nullptr) return context.fail("has no body");
  std::vector<int> axes;
  int64_t length = -1;
  for (size_t i = 0; i < inputs.scans; ++i) {
    const Shape& shape = context.shape(inputs.states + i);
    int64_t axis = inputs.input_axes[i] < 0 ? inputs.input_axes[i] + shape.rank() : inputs.input_axes[i];
    if (axis < 0 || axis >= shape.rank())
      return context.fail("axis {} is out of range for rank {}", axis, shape.rank());
    axes.push_back(static_cast<int>(axis));
    if (length >= 0 && shape[axes.back()] != length)
      return context.fail("scan inputs have the lengths {} and {}", length, shape[axes.back()]);
    length = shape[axes.back()];
  }
  std::vector<Tensor> states, captures;
  for (size_t i = 0; i < inputs.states; ++i) states.push_back(context.input(i));
  for (size_t i = inputs.states + inputs.scans; i < context.input_count(); ++i) captures.push_back(context.input(i));
  std::vector<std::vector<Tensor>> slices(std::max(context.output_count(), inputs.states) - inputs.states);
  for (int64_t t = 0; t < length; ++t) {
    std::vector<Tensor> arguments = states;
    for (size_t i = 0; i < inputs.scans; ++i) {
      arguments.push_back(
          slice_at(context.input(inputs.states + i), axes[i], inputs.input_directions[i] != 0 ? length - 1 - t : t));
    }
    arguments.insert(arguments.end(), captures.begin(), captures.end());
    auto results = HUSSAR_TRY(context.run_body("body", std::move(arguments)));
    if (results.size() < states.size() + slices.size()) return context.fail("the body gave too few outputs");
    for (size_t i = 0; i < states.size(); ++i) states[i] = results[i];
    for (size_t i = 0; i < slices.size(); ++i) {
      if (context.wants(states.size() + i)) slices[i].push_back(results[states.size() + i]);
    }
  }
  for (size_t i = 0; i < context.output_count(); ++i) {
    if (i < states.size()) {
      context.set_output(i, states[i]);
    } else if (context.wants(i)) {
      if (i >= body->outputs.size()) return context.fail("the body gives too few outputs");
      size_t k = i - states.size();
      context.set_output(i, HUSSAR_TRY(stack(context, slices[k], inputs.output_axes[k],
                                             inputs.output_directions[k] != 0, *body->outputs[i])));
    }
  }
  return {};
}

extern const OpDef scan_op = {.name = "Scan",
                              .min_inputs = 1,
                              .max_inputs = -1,
                              .min_outputs = 0,
                              .max_outputs = -1,
                              .upgrade = upgrade,
                              .infer = infer,
                              .evaluate = evaluate};

}  // namespace hussar
