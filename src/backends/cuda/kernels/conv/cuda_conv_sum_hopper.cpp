// cuda_conv_sum_hopper: hussar.ConvSum and hussar.QuantizedConvSum whose convolutions are 1x1, the first of them with
// stride 1, on Hopper: one product whose blocks of k come from the first picture and then from windows of the second.
// Sums of bytes, whose scales differ, are kept apart and added as numbers.
#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_windows.h"

namespace hussar {
namespace {

using namespace cuda;

// One of the two convolutions as a node of its own, the first one with the program. It makes the result of the sum.
Node part_of(const Node& node, bool is_shortcut) {
  const size_t each = inputs_of_part(node.op), first = is_shortcut ? each : 0;
  Node part;
  part.op = parts_of_conv_sum(node.op);
  part.name = node.name;
  part.attributes = part_attributes(node.attributes, is_shortcut);
  for (size_t i = 0; i < each; ++i) part.inputs.push_back(node.input(first + i));
  part.outputs = node.outputs;
  if (is_shortcut || !node.program) {
    while (part.inputs.back() == nullptr) part.inputs.pop_back();
  } else {
    part.inputs.insert(part.inputs.end(), node.inputs.begin() + node.program_inputs, node.inputs.end());
    part.program = node.program;
    part.program_inputs = static_cast<int32_t>(each);
  }
  // Of what the result is, the first one knows.
  for (const char* name : {"y_scale", "y_zero_point", "y_type"}) {
    if (const auto it = node.attributes.all().find(name); it != node.attributes.all().end())
      part.attributes.set(name, it->second);
  }
  return part;
}

bool is_one_by_one(const Convolution& conv) {
  return conv.taps() == 1 && conv.pads[0] == 0 && conv.pads[1] == 0 && conv.pads[2] == 0;
}

Refusal check_shortcut(const Problem& problem) {
  if (Refusal refusal = check_window_product(problem)) return refusal;
  const auto conv = convolution(problem.node);
  if (!conv || !is_one_by_one(*conv)) return "the shortcut is not 1x1";
  return check_window_engine(*conv);
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  if (Refusal refusal = refuse_op(problem, {kConvSum, kQuantizedConvSum})) return refusal;
  const size_t each = inputs_of_part(node.op);
  const bool has_places =
      node.program ? node.program_inputs == static_cast<int32_t>(2 * each) : node.inputs.size() <= 2 * each;
  for (size_t i : {size_t{0}, size_t{1}, each - 2, each, each + 1, 2 * each - 2}) {
    if (!has_places || node.input(i) == nullptr) return "inputs";
  }
  const Node first = part_of(node, false), shortcut = part_of(node, true);
  if (Refusal refusal = check_dense_product(Problem{first, problem.target})) return refusal;
  if (Refusal refusal = check_shortcut(Problem{shortcut, problem.target})) return refusal;
  if (shortcut.inputs[0]->dtype != first.inputs[0]->dtype) return "dtype";
  return check_hopper(Problem{first, problem.target});
}

HopperOperands operands_of(DType dtype, int64_t k, const Convolution& shortcut) {
  return {dtype, k, false, shortcut.channels, !shortcut.is_pointwise()};
}

// What predictions and tiles need to know of a node.
struct Work {
  DenseProduct product;
  HopperOperands operands;
  double least;  // microseconds, in any tile
};
Result<Work> work_of(const Problem& problem) {
  const Node first = part_of(problem.node, false), second = part_of(problem.node, true);
  const Convolution shortcut = HUSSAR_TRY(convolution(second));
  const DenseProduct product = HUSSAR_TRY(dense_product(first));
  const HopperOperands operands = operands_of(problem.dtype(0), product.k, shortcut);
  return Work{product, operands, memory_cost(problem)};
}

double cost(const Problem& problem) {
  const auto work = work_of(problem);
  return work ? std::max(work->least, hopper_time(work->product, work->operands)) : 1e9;
}

std::vector<Configuration> configurations(const Problem& problem) {
  const auto work = work_of(problem);
  return work ? hopper_configurations(problem.node, work->product, work->operands, work->least)
              : std::vector<Configuration>();
}

Status pack(Packing& packing) {
  const Work work = HUSSAR_TRY(work_of(Problem{packing.node, packing.target}));
  if (packing.node.op == kQuantizedConvSum) make_two_tables(packing);
  return attach_hopper(packing, work.product, work.operands, {});
}

Status unpack(Packing& packing) {
  forget_hopper(packing.node);
  return packing.node.op == kQuantizedConvSum ? forget_two_tables(packing) : Status();
}

struct State {
  HopperLaunch launch;
  TileMap x, second_x;
  WindowMap windows;  // where rows of the shortcut are these
  WindowSteps steps;
  int32_t second_input;
  bool has_windows;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const std::string_view op = parts_of_conv_sum(step.op);
  const size_t each = inputs_of_part(step.op);
  const Operand &x = prepare.inputs[0], &y = prepare.outputs[0], &second_x = prepare.inputs[each];
  const DenseProduct product =
      HUSSAR_TRY(dense_product(op, part_attributes(step.attributes, false), x, prepare.inputs[1], y));
  const Convolution shortcut =
      HUSSAR_TRY(convolution(op, part_attributes(step.attributes, true), second_x, prepare.inputs[each + 1].shape, y));
  bool fits = is_one_by_one(shortcut) && !check_window_engine(shortcut) && shortcut.batch == y.shape[0];
  for (int axis = 0; axis < 3; ++axis)
    fits = fits && (shortcut.output[axis] - 1) * shortcut.strides[axis] < shortcut.input[axis];
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               step.name);
  HUSSAR_TRY(prepare_hopper(prepare, product, operands_of(x.dtype, product.k, shortcut), state.launch));
  state.x = hopper_rows(product, x.dtype, state.launch);
  state.has_windows = !shortcut.is_pointwise();
  if (state.has_windows)
    put_windows(shortcut, state.launch, x.dtype, state.windows, state.steps);
  else
    state.second_x = hopper_rows(window_product(shortcut), x.dtype, state.launch);
  state.second_input = static_cast<int32_t>(each);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.launch.sizes.m == 0) return {};
  Queue& queue = queue_of(run.device);
  TensorMap x = HUSSAR_TRY(queue.encode(state.x, run.inputs[0].data));
  const std::byte* shortcut = run.inputs[static_cast<size_t>(state.second_input)].data;
  TensorMap second_x =
      HUSSAR_TRY(state.has_windows ? queue.encode(state.windows, shortcut) : queue.encode(state.second_x, shortcut));
  WindowSteps steps = state.steps;
  return launch_hopper(run, state.launch, x, state.has_windows ? &steps : nullptr, &second_x);
}

}  // namespace

extern const Kernel cuda_conv_sum_hopper_kernel = {.name = "cuda_conv_sum_hopper",
                                                   .place = Place::kDevice,
                                                   .state_bytes = sizeof(State),
                                                   .prepare = prepare,
                                                   .run = run};
extern const Tactic cuda_conv_sum_hopper_tactic = {.kernel = "cuda_conv_sum_hopper",
                                                   .place = Place::kDevice,
                                                   .supports = supports,
                                                   .cost = cost,
                                                   .configurations = configurations,
                                                   .pack = pack,
                                                   .unpack = unpack};

}  // namespace hussar
