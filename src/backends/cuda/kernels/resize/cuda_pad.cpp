// cuda_pad: Pad of any elements in the modes constant, reflect, edge and wrap; in one layout.
#include "backends/cuda/rows.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kModes[] = {"constant", "reflect", "edge", "wrap"};
constexpr std::string_view kRank = "hussar_loops";

int64_t mode_of(const Attributes& attributes) {
  const std::string mode = attributes.get_string("mode", "constant");
  const auto* found = std::find(std::begin(kModes), std::end(kModes), mode);
  return found == std::end(kModes) ? -1 : found - std::begin(kModes);
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {"Pad"})) return refusal;
  const Value& x = *problem.input(0);
  if (x.layout != problem.output()->layout) return "mixed layouts";
  if (x.rank() < 1) return "rank";
  if (!is_movable(x.dtype)) return "dtype";
  if (mode_of(problem.node.attributes) < 0) return "mode";
  for (size_t i : {size_t{1}, size_t{3}}) {
    if (problem.input(i) != nullptr && !problem.is_constant(i)) return "needs constant pads";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return memory_cost(problem); }

// The axes in the order of memory; the last counts words.
struct Loops {
  int rank = 0;
  int64_t word = 1;  // bytes
  int64_t input[kMaxRank], output[kMaxRank], before[kMaxRank], input_strides[kMaxRank], output_strides[kMaxRank];
};

int64_t integer_at(const Operand& operand, int64_t index) {
  return operand.dtype == DType::kInt32 ? operand.as<int32_t>()[index] : operand.as<int64_t>()[index];
}

// word: 0 for the widest that fits.
Loops loops_of(std::span<const Operand> inputs, const Operand& y, int64_t word) {
  const Operand& x = inputs[0];
  const int rank = x.shape.rank();
  const bool names_axes = inputs.size() > 3 && inputs[3].present();
  const int64_t listed = inputs[1].shape.elements() / 2;
  int64_t before[kMaxRank] = {}, in[kMaxRank] = {}, out[kMaxRank] = {};
  for (int64_t i = 0; i < listed; ++i) {
    before[axis_from_front(names_axes ? integer_at(inputs[3], i) : i, rank)] = integer_at(inputs[1], i);
  }
  strides_of(x, in);
  strides_of(y, out);
  Loops loops;
  const auto size = static_cast<int64_t>(dtype_size(x.dtype));
  auto add = [&](int axis) {
    const int at = loops.rank++;
    loops.input[at] = x.shape[axis];
    loops.output[at] = y.shape[axis];
    loops.before[at] = before[axis];
    loops.input_strides[at] = in[axis];
    loops.output_strides[at] = out[axis];
  };
  const bool is_last = x.layout == Layout::kChannelsLast && rank >= 3;
  add(0);
  for (int axis = is_last ? 2 : 1; axis < rank; ++axis) add(axis);
  if (is_last) add(1);
  // Elements of the last loop that stay together.
  const int last = loops.rank - 1;
  const bool stays = loops.input[last] == loops.output[last] && loops.before[last] == 0;
  int64_t widest = stays && word != size ? word_bytes(loops.input[last] * size) : size;
  for (int axis = 0; axis < last; ++axis) {
    while (loops.input_strides[axis] * size % widest != 0 || loops.output_strides[axis] * size % widest != 0)
      widest /= 2;
  }
  loops.word = word == 0 ? std::max(widest, size) : word;
  const int64_t together = std::max<int64_t>(loops.word / size, 1);
  if (loops.word > widest) return loops;  // prepare() refuses it
  loops.input[last] /= together;
  loops.output[last] /= together;
  for (int axis = 0; axis < last; ++axis) {
    loops.input_strides[axis] /= together;
    loops.output_strides[axis] /= together;
  }
  return loops;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  std::vector<Operand> inputs;
  for (const Value* value : node.inputs) inputs.push_back(value != nullptr ? operand_of(*value) : Operand{});
  const Value &x = *node.inputs[0], &y = *node.outputs[0];
  const auto size = static_cast<int64_t>(dtype_size(x.dtype));
  const bool is_known = x.static_shape().has_value() && y.static_shape().has_value();
  // A value to fill with is one element.
  const bool is_filled = node.input(2) != nullptr && mode_of(node.attributes) == 0;
  Loops loops = loops_of(inputs, operand_of(y), is_known && !is_filled ? 0 : size);
  while (offset_in_holder(x) * size % loops.word != 0 || offset_in_holder(y) * size % loops.word != 0) {
    loops.word /= 2;
  }
  node.attributes.set(kRank, Ints{loops.rank, loops.word});
  Defines defines;
  defines.set("RANK", loops.rank).set("WORD", word_of(loops.word)).set("MODE", mode_of(node.attributes));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "pad.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kRank);
  return {};
}

struct State {
  Launch launch;
  Loops loops;
  int64_t units;
};

Status prepare(Prepare& prepare) {
  const Ints form = prepare.step.attributes.get_ints(kRank);
  const auto size = static_cast<int64_t>(dtype_size(prepare.inputs[0].dtype));
  State& state = prepare.state_as<State>();
  bool fits = form.size() == 2 && form[1] >= size && form[1] <= 16;
  if (fits) {
    const Loops widest = loops_of(prepare.inputs, prepare.outputs[0], 0);
    fits = form[0] == widest.rank && (form[1] == size || widest.word % form[1] == 0);
    state.loops = loops_of(prepare.inputs, prepare.outputs[0], form[1]);
  }
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               prepare.step.name);
  state.units = 1;
  for (int axis = 0; axis < state.loops.rank; ++axis) state.units *= state.loops.output[axis];
  state.launch = HUSSAR_TRY(launch_for(prepare, "pad", state.units));
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  const Loops& loops = state.loops;
  Words words;
  words.put(state.units);
  for (const int64_t* values : {loops.input, loops.output, loops.before, loops.input_strides, loops.output_strides}) {
    for (int axis = 0; axis < loops.rank; ++axis) words.put(values[axis]);
  }
  words.put(run.inputs[0].data);
  words.put(run.inputs.size() > 2 ? run.inputs[2].data : nullptr);
  words.put(run.outputs[0].data);
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_pad_kernel = {
    .name = "cuda_pad", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_pad_tactic = {
    .kernel = "cuda_pad", .place = Place::kDevice, .supports = supports, .cost = cost, .pack = pack, .unpack = unpack};

}  // namespace hussar
