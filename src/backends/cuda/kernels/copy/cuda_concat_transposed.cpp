// cuda_concat_transposed: Concat of channels-last parts to plain data, along the channels or along the positions of one
// channel: no part is brought into another layout before.
#include "backends/cuda/loop_nest.h"
#include "backends/cuda/words.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr size_t kMostParts = 8;
constexpr int64_t kTile = 32, kShortest = 16;  // below, most of a tile would be empty
constexpr std::string_view kParts = "hussar_parts";

// The axis in [0, rank).
int64_t axis_of(const Attributes& attributes, int rank) {
  const int64_t axis = attributes.get_int("axis", 0);
  return axis < 0 ? axis + rank : axis;
}

int64_t product(const Shape& shape, int first, int last) {
  int64_t elements = 1;
  for (int axis = first; axis < last; ++axis) elements *= shape[axis];
  return elements;
}

Refusal supports(const Problem& problem) {
  const Node& node = problem.node;
  if (Refusal refusal = refuse_op(problem, {"Concat"})) return refusal;
  if (node.program) return "fused program";
  const auto size = static_cast<int64_t>(dtype_size(problem.dtype(0)));
  if (size > 8 || word_of(size).empty()) return "dtype";
  if (node.inputs.size() > kMostParts) return "number of parts";
  const Value& y = *node.outputs[0];
  const int64_t axis = axis_of(node.attributes, y.rank());
  if (y.layout != Layout::kPlain || y.slice_of != nullptr || y.rank() < 3) return "layout of the output";
  if (axis != 1 && axis != 2) return "axis";
  for (const Value* input : node.inputs) {
    if (input->layout != Layout::kChannelsLast) return "layout of a part";
    const Dim& channels = (*input->dims)[1];
    if (channels.is_constant() && channels.value() < kShortest) return "short axes";
  }
  return std::nullopt;
}

double cost(const Problem& problem) { return 0.98 * memory_cost(problem); }

Status pack(Packing& packing) {
  Node& node = packing.node;
  const auto parts = static_cast<int64_t>(node.inputs.size());
  node.attributes.set(kParts, parts);
  Defines defines;
  defines.set("PARTS", parts).set("WORD", word_of(static_cast<int64_t>(dtype_size(node.inputs[0]->dtype))));
  return attach_code(packing, assemble(defines, {"numbers.cuh", "concat_transposed.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kParts);
  return {};
}

struct Part {
  int64_t end, channels, positions, channel_tiles, position_tiles, input_image, input_position, place;
};

struct State {
  Launch launch;
  int64_t count, tiles, output_image, output_channel;
  Part parts[kMostParts];
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const Shape& whole = prepare.outputs[0].shape;
  const int rank = whole.rank();
  const auto axis = static_cast<int>(axis_of(prepare.step.attributes, rank));
  state.count = static_cast<int64_t>(prepare.inputs.size());
  HUSSAR_CHECK(state.count == prepare.step.attributes.get_int(kParts, 0), ErrorCode::kPlanIncompatible,
               "step '{}': its code is for another number of parts; build the plan again", prepare.step.name);
  state.output_channel = product(whole, 2, rank);
  state.output_image = whole[1] * state.output_channel;
  state.tiles = 0;
  int64_t before = 0;  // along the axis
  for (size_t i = 0; i < prepare.inputs.size(); ++i) {
    const Operand& input = prepare.inputs[i];
    int64_t strides[kMaxRank] = {};
    strides_of(input, strides);
    Part& part = state.parts[i];
    part.channels = input.shape[1];
    part.positions = product(input.shape, 2, rank);
    part.channel_tiles = std::max<int64_t>((part.channels + kTile - 1) / kTile, 1);
    part.position_tiles = std::max<int64_t>((part.positions + kTile - 1) / kTile, 1);
    part.input_image = strides[0];
    part.input_position = strides[rank - 1];
    part.place = before * product(whole, axis + 1, rank);
    const bool is_empty = input.shape.elements() == 0;
    state.tiles += is_empty ? 0 : input.shape[0] * part.channel_tiles * part.position_tiles;
    part.end = state.tiles;
    before += input.shape[axis];
  }
  state.launch = HUSSAR_TRY(launch_for(prepare, "concat_transposed", 0));
  state.launch.grid[0] = blocks_for(state.tiles, 1);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.tiles == 0) return {};
  Words words;
  for (int64_t value : {state.tiles, state.output_image, state.output_channel}) words.put(value);
  words.put(run.outputs[0].data);
  for (int64_t i = 0; i < state.count; ++i) {
    const Part& part = state.parts[i];
    for (int64_t value : {part.end, part.channels, part.positions, part.channel_tiles, part.position_tiles,
                          part.input_image, part.input_position, part.place}) {
      words.put(value);
    }
    words.put(run.inputs[static_cast<size_t>(i)].data);
  }
  void* const arguments[] = {words.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_concat_transposed_kernel = {.name = "cuda_concat_transposed",
                                                     .place = Place::kDevice,
                                                     .state_bytes = sizeof(State),
                                                     .prepare = prepare,
                                                     .run = run};
extern const Tactic cuda_concat_transposed_tactic = {.kernel = "cuda_concat_transposed",
                                                     .place = Place::kDevice,
                                                     .supports = supports,
                                                     .cost = cost,
                                                     .pack = pack,
                                                     .unpack = unpack};

}  // namespace hussar
