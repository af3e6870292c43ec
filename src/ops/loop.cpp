// Loop: runs its body until the trip count M or the condition ends it. Inputs: M, condition, initial states, then
// `captures` outer values that every iteration sees. The body maps (iteration, condition, states, captures) to
// (condition, states, slices); the slices of all iterations are stacked along a new axis 0.
#include "ops/control_flow.h"
#include "ops/op_def.h"

namespace hussar {
namespace {

struct LoopInputs {
  size_t given;  // M, condition and states; captures follow
  size_t states;
};

// M and the condition may be missing altogether when there are no states.
Result<LoopInputs> split_inputs(const Node& node) {
  int64_t captures = node.attributes.get_int("captures", 0);
  auto count = static_cast<int64_t>(node.inputs.size());
  HUSSAR_CHECK(captures >= 0 && captures <= count, ErrorCode::kInvalidModel, "{}: {} captures in {} inputs",
               describe(node), captures, count);
  auto given = static_cast<size_t>(count - captures);
  return LoopInputs{given, given > 2 ? given - 2 : 0};
}

// Bodies declare the iteration number and the condition as scalars or as one-element vectors.
Shape scalar_shape(const Graph& body, size_t input) {
  return input < body.inputs.size() && body.inputs[input]->rank() == 1 ? Shape{1} : Shape{};
}

ValueInfo scalar_info(const Graph& body, size_t input, DType dtype) {
  ValueInfo info;
  info.dtype = dtype;
  Shape shape = scalar_shape(body, input);
  info.dims = Dims(shape.begin(), shape.end());
  return info;
}

bool is_true(const Tensor& tensor) {
  return tensor.dtype() == DType::kBool && tensor.elements() == 1 && *tensor.data<uint8_t>() != 0;
}

// Whether the body passes its condition on or always wants to go on.
bool never_stops(const Graph& body) {
  const Value* result = body.outputs.empty() ? nullptr : body.outputs[0];
  while (result != nullptr && result->producer != nullptr && result->producer->op == "Identity")
    result = result->producer->input(0);
  if (result == nullptr || body.inputs.size() < 2) return false;
  return result == body.inputs[1] || (result->is_constant() && is_true(*result->constant));
}

Dim trip_count(const InferContext& context, const LoopInputs& inputs, const Graph& body) {
  bool has_condition = inputs.given > 1 && context.has(1);
  if (has_condition) {
    const Tensor* condition = context.constant(1);
    if (condition != nullptr && condition->elements() == 1 && !is_true(*condition)) return Dim(0);
    if (condition == nullptr) return context.fresh();
  }
  if (inputs.given == 0 || !context.has(0) || !never_stops(body)) return context.fresh();
  auto limit = context.elements(0);
  return limit && limit->size() == 1 ? max((*limit)[0], Dim(0)) : context.fresh();
}

}  // namespace

static Status infer(InferContext& context) {
  LoopInputs inputs = HUSSAR_TRY(split_inputs(context.node));
  const Graph* body = context.node.body("body");
  if (body == nullptr) return context.fail("has no body");
  std::vector<ValueInfo> arguments = {scalar_info(*body, 0, DType::kInt64), scalar_info(*body, 1, DType::kBool)};
  for (size_t i = 2; i < context.input_count(); ++i) {
    if (i < inputs.given && !context.has(i)) return context.fail("state {} has no initial value", i - 2);
  }
  for (size_t i = std::min<size_t>(2, inputs.given); i < context.input_count(); ++i)
    arguments.push_back(context.info(i));
  if (body->inputs.size() != arguments.size()) {
    return context.fail("the body takes {} inputs, {} are given", body->inputs.size(), arguments.size());
  }
  auto results = HUSSAR_TRY(infer_loop_body(context, arguments, {2, 1, inputs.states}));
  if (context.output_count() + 1 > results.size()) return context.fail("the body gives too few outputs");
  Dim trips = trip_count(context, inputs, *body);
  for (size_t i = 0; i < context.output_count(); ++i) {
    if (i < inputs.states) {
      context.outputs[i].dtype = arguments[i + 2].dtype;
      context.outputs[i].dims = arguments[i + 2].dims;
      continue;
    }
    context.outputs[i].dtype = results[i + 1].dtype;
    if (!results[i + 1].dims) continue;
    Dims dims = *results[i + 1].dims;
    dims.insert(dims.begin(), trips);
    context.outputs[i].dims = std::move(dims);
  }
  return {};
}

static Status evaluate(EvalContext& context) {
  LoopInputs inputs = HUSSAR_TRY(split_inputs(context.node));
  const Graph* body = context.node.body("body");
  if (body == nullptr) return context.fail("has no body");
  int64_t limit = std::numeric_limits<int64_t>::max();
  if (inputs.given > 0 && context.has(0)) {
    const Tensor& count = context.input(0);
    if (count.elements() != 1) return context.fail("the trip count has {} elements", count.elements());
    load_elements<int64_t>(count, 0, 1, &limit);
  }
  bool go_on = inputs.given < 2 || context.number(1, 1) != 0;
  int64_t iteration = 0;
  uint8_t condition = 1;
  Loan arguments(context.workspace().lists);
  arguments->push_back(Tensor::view(DType::kInt64, scalar_shape(*body, 0), &iteration));
  arguments->push_back(Tensor::view(DType::kBool, scalar_shape(*body, 1), &condition));
  for (size_t i = std::min<size_t>(2, inputs.given); i < context.input_count(); ++i) {
    arguments->push_back(context.input(i));
  }
  const std::span<Tensor> states = std::span(*arguments).subspan(2, inputs.states);
  CarriedStates carried(context.workspace());
  StackedSlices slices(context, states.size());
  for (; go_on && iteration < limit; ++iteration) {
    auto results = HUSSAR_TRY(context.run_body("body", *arguments));
    if (results.size() < 1 + states.size() + slices.count()) return context.fail("the body gave too few outputs");
    double next = 0;
    if (results[0].elements() != 1) return context.fail("the body's condition has {} elements", results[0].elements());
    load_elements<double>(results[0], 0, 1, &next);
    go_on = next != 0;
    HUSSAR_TRY(slices.add(results.subspan(1 + states.size())));
    carried.carry(results.subspan(1, states.size()), states);
  }
  for (size_t i = 0; i < context.output_count(); ++i) {
    if (!context.wants(i)) continue;
    if (i < states.size()) {
      context.copy_output(i, states[i]);
    } else {
      if (1 + i >= body->outputs.size()) return context.fail("the body gives too few outputs");
      HUSSAR_TRY(slices.stack(i, 0, false, *body->outputs[1 + i]));
    }
  }
  return {};
}

extern const OpDef loop_op = {.name = "Loop",
                              .min_inputs = 0,
                              .max_inputs = -1,
                              .min_outputs = 0,
                              .max_outputs = -1,
                              .traits = kSizesOutputs,
                              .infer = infer,
                              .evaluate = evaluate};

}  // namespace hussar
