// Scan: runs its body once per slice of its scan inputs. Inputs: initial states, `num_scan_inputs` scan inputs, then
// `captures` outer values that every iteration sees. The body maps (states, slices, captures) to (states, slices); the
// slices that it gives are stacked along a new axis. Opset 8 is read as a Scan over a batch of Scans.
#include "ops/builder.h"
#include "ops/control_flow.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

struct ScanInputs {
  size_t states, scans;
  // Null, or one per scan input or scan output.
  const Ints *input_axes, *input_directions, *output_axes, *output_directions;
};

int64_t value_at(const Ints* values, size_t index) { return values == nullptr ? 0 : (*values)[index]; }

Result<ScanInputs> split_inputs(const Node& node) {
  const Attributes& attributes = node.attributes;
  auto count = static_cast<int64_t>(node.inputs.size());
  int64_t captures = attributes.get_int("captures", 0), scans = attributes.get_int("num_scan_inputs", 0);
  HUSSAR_CHECK(captures >= 0 && captures <= count && scans >= 1 && scans <= count - captures, ErrorCode::kInvalidModel,
               "{}: {} scan inputs and {} captures in {} inputs", describe(node), scans, captures, count);
  ScanInputs inputs{static_cast<size_t>(count - captures - scans), static_cast<size_t>(scans), {}, {}, {}, {}};
  size_t outputs = std::max(node.outputs.size(), inputs.states) - inputs.states;
  auto read = [&](const char* name, size_t wanted) -> Result<const Ints*> {
    const Ints* values = attributes.find<Ints>(name);
    if (values == nullptr || values->empty()) return nullptr;
    HUSSAR_CHECK(values->size() >= wanted, ErrorCode::kInvalidModel, "{}: {} has {} values, {} are needed",
                 describe(node), name, values->size(), wanted);
    return values;
  };
  inputs.input_axes = HUSSAR_TRY(read("scan_input_axes", inputs.scans));
  inputs.input_directions = HUSSAR_TRY(read("scan_input_directions", inputs.scans));
  inputs.output_axes = HUSSAR_TRY(read("scan_output_axes", outputs));
  inputs.output_directions = HUSSAR_TRY(read("scan_output_directions", outputs));
  return inputs;
}

}  // namespace

// Between the Scan over a batch and the Scan over one of its sequences: the scan inputs end after `length` elements
// (a scalar), and the scan outputs are padded to the whole length again.
struct Trimming {
  Value* kept = nullptr;     // [1]: how many elements take part
  Value* missing = nullptr;  // [2]: the pads along the first axis

  Trimming(Builder& builder, Value* length, Value* sequence)
      : kept(builder.make("Reshape", {length, builder.integers({1})})) {
    Value* whole = builder.make("Shape", {sequence}, first_axis());
    kept = builder.make("Min", {builder.make("Max", {kept, builder.integers({0})}), whole});
    missing = builder.make("Concat", {builder.integers({0}), builder.make("Sub", {whole, kept})}, axis(0));
  }
  Value* trim(Builder& builder, Value* sequence) const {
    return builder.make("Slice", {sequence, builder.integers({0}), kept, builder.integers({0})});
  }
  Value* pad(Builder& builder, Value* sequence) const {
    return builder.make("Pad", {sequence, missing, nullptr, builder.integers({0})});
  }

 private:
  static Attributes axis(int64_t value) {
    Attributes attributes;
    attributes.set("axis", value);
    return attributes;
  }
  static Attributes first_axis() {
    Attributes attributes;
    attributes.set("start", int64_t{0});
    attributes.set("end", int64_t{1});
    return attributes;
  }
};

// The body of the Scan over the batch: the node's Scan over one sequence.
static std::unique_ptr<Graph> batch_body(Node& node, size_t states, size_t scans) {
  auto graph = std::make_unique<Graph>();
  Builder builder(*graph, node);
  auto add_input = [&graph](const Value* outer) {
    graph->inputs.push_back(graph->add_value(outer->name, outer->dtype));
    return graph->inputs.back();
  };
  Value* length = node.inputs[0] != nullptr ? add_input(node.inputs[0]) : nullptr;
  std::vector<Value*> inputs;
  for (size_t i = 1; i < node.inputs.size(); ++i) inputs.push_back(add_input(node.inputs[i]));
  std::optional<Trimming> trimming;
  if (length != nullptr) trimming.emplace(builder, length, inputs[states]);
  for (size_t i = states; trimming && i < states + scans; ++i) inputs[i] = trimming->trim(builder, inputs[i]);
  Attributes attributes = node.attributes;
  attributes.erase("directions");
  attributes.set("scan_input_directions", node.attributes.get_ints("directions"));
  size_t count = node.body("body")->outputs.size();
  graph->outputs = builder.make_many("Scan", inputs, count, attributes);
  graph->nodes().back()->bodies = std::move(node.bodies);
  for (size_t i = states; trimming && i < count; ++i) graph->outputs[i] = trimming->pad(builder, graph->outputs[i]);
  return graph;
}

// Opset 8 ran over a batch (axis 0) of sequences (axis 1), which may have lengths of their own: input 0.
static Status upgrade(UpgradeContext& context) {
  if (context.opset >= 9) return {};
  Node& node = context.node;
  auto count = static_cast<int64_t>(node.inputs.size()) - 1;
  int64_t captures = node.attributes.get_int("captures", 0), scans = node.attributes.get_int("num_scan_inputs", 0);
  HUSSAR_CHECK(scans >= 1 && scans <= count - captures && node.body("body") != nullptr, ErrorCode::kInvalidModel,
               "{}: {} scan inputs among {} inputs", describe(node), scans, count - captures);
  HUSSAR_CHECK(std::find(node.inputs.begin() + 1, node.inputs.end(), nullptr) == node.inputs.end(),
               ErrorCode::kInvalidModel, "{}: a state or scan input is missing", describe(node));
  auto states = static_cast<size_t>(count - captures - scans);
  std::unique_ptr<Graph> body = batch_body(node, states, static_cast<size_t>(scans));
  if (node.inputs[0] == nullptr) node.inputs.erase(node.inputs.begin());
  node.attributes.erase("directions");
  node.attributes.set("num_scan_inputs", static_cast<int64_t>(node.inputs.size()) - captures);
  node.bodies.clear();
  node.bodies.push_back({"body", std::move(body)});
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
    int axis = HUSSAR_TRY(context.normalize_axis(value_at(inputs.input_axes, i - inputs.states), context.rank(i)));
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
    int axis = HUSSAR_TRY(
        context.normalize_axis(value_at(inputs.output_axes, i - inputs.states), static_cast<int>(dims.size()) + 1));
    dims.insert(dims.begin() + axis, length);
    context.outputs[i].dims = std::move(dims);
  }
  return {};
}

// The axis of scan input `scan`, which all have the same length along theirs.
static Result<int> scan_axis(const EvalContext& context, const ScanInputs& inputs, size_t scan, int64_t& length) {
  const Shape& shape = context.shape(inputs.states + scan);
  int64_t axis = value_at(inputs.input_axes, scan);
  if (axis < 0) axis += shape.rank();
  if (axis < 0 || axis >= shape.rank()) return context.fail("axis {} is out of range for rank {}", axis, shape.rank());
  const int64_t own = shape[static_cast<int>(axis)];
  if (length >= 0 && own != length) return context.fail("scan inputs have the lengths {} and {}", length, own);
  length = own;
  return static_cast<int>(axis);
}

static Status evaluate(EvalContext& context) {
  ScanInputs inputs = HUSSAR_TRY(split_inputs(context.node));
  const Graph* body = context.node.body("body");
  if (body == nullptr) return context.fail("has no body");
  int64_t length = -1;
  size_t slice_bytes = 0;
  for (size_t i = 0; i < inputs.scans; ++i) {
    HUSSAR_TRY(scan_axis(context, inputs, i, length));
    if (length > 0) slice_bytes += aligned_size(context.input(inputs.states + i).bytes() / static_cast<size_t>(length));
  }
  Loan arguments(context.workspace().lists);
  arguments->assign(context.inputs().begin(), context.inputs().end());
  const std::span<Tensor> states = std::span(*arguments).first(inputs.states);
  Scratch<std::byte> memory(context.workspace(), static_cast<int64_t>(slice_bytes));
  CarriedStates carried(context.workspace());
  StackedSlices slices(context, states.size());
  for (int64_t t = 0; t < length; ++t) {
    std::byte* to = memory.data();
    for (size_t i = 0; i < inputs.scans; ++i) {
      const int64_t index = value_at(inputs.input_directions, i) != 0 ? length - 1 - t : t;
      const int axis = HUSSAR_TRY(scan_axis(context, inputs, i, length));
      Tensor& slice = (*arguments)[inputs.states + i];
      slice = slice_at(context.input(inputs.states + i), axis, index, to);
      to += aligned_size(slice.bytes());
    }
    auto results = HUSSAR_TRY(context.run_body("body", *arguments));
    if (results.size() < states.size() + slices.count()) return context.fail("the body gave too few outputs");
    HUSSAR_TRY(slices.add(results.subspan(states.size())));
    carried.carry(results.first(states.size()), states);
  }
  for (size_t i = 0; i < context.output_count(); ++i) {
    if (!context.wants(i)) continue;
    if (i < states.size()) {
      context.copy_output(i, states[i]);
    } else {
      if (i >= body->outputs.size()) return context.fail("the body gives too few outputs");
      const size_t k = i - states.size();
      HUSSAR_TRY(slices.stack(i, value_at(inputs.output_axes, k), value_at(inputs.output_directions, k) != 0,
                              *body->outputs[i]));
    }
  }
  return {};
}

extern const OpDef scan_op = {.name = "Scan",
                              .min_inputs = 1,
                              .max_inputs = -1,
                              .min_outputs = 0,
                              .max_outputs = -1,
                              .traits = kSizesOutputs,
                              .upgrade = upgrade,
                              .infer = infer,
                              .evaluate = evaluate};

}  // namespace hussar
