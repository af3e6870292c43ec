// cuda_bottleneck: hussar.Bottleneck on Hopper, of halves, BF16 or bytes (device/bottleneck.cuh).
#include "backends/cuda/byte_product.h"
#include "backends/cuda/hopper_product.h"
#include "backends/cuda/windows.h"
#include "graph/bottleneck.h"

namespace hussar {
namespace {

using namespace cuda;
using B = Bottleneck;

constexpr std::string_view kFormAttribute = "hussar_bottleneck";
constexpr int64_t kMostSharedBytes = 232448, kMostTeams = 4, kRowsOfProduct = 64, kChunkBytes = 16;

// The convolutions of a node with what they read and write.
struct Parts {
  BottleneckParts nodes;
  Value middle;
};

std::unique_ptr<Parts> parts_of(const Node& node) {
  auto nodes = bottleneck_parts(node.name, node.attributes);
  const Value *x = node.input(B::kX), *weights = node.input(B::kFirstWeights);
  if (!nodes || x == nullptr || !x->dims || x->rank() != 4 || weights == nullptr || !weights->is_constant() ||
      weights->rank() != 4)
    return nullptr;
  auto parts = std::make_unique<Parts>();
  parts->nodes = std::move(*nodes);
  Value& middle = parts->middle;
  middle.dtype = x->dtype;
  middle.dims = *x->dims;
  (*middle.dims)[1] = Dim(weights->constant->shape()[0]);
  middle.layout = Layout::kChannelsLast;
  link_parts(node, &middle, parts->nodes);
  parts->nodes.first.outputs = {&middle};
  parts->nodes.second.outputs = node.outputs;
  return parts;
}

// Sizes that the code is made for, as device/bottleneck.cuh has them.
struct Form {
  int64_t channels, middle, filters, height, width, element_bytes;
  int64_t line() const { return width + 2; }
  // Of a job.
  int64_t lines() const { return std::min((kRowsOfProduct + 2) / line(), height); }
  int64_t jobs_of_picture() const { return (height + lines() - 1) / lines(); }
  int64_t chunks(int64_t k) const { return k * element_bytes / kChunkBytes; }
  int64_t weight_bytes() const { return (9 * channels + filters) * middle * element_bytes; }
  int64_t team_bytes() const {
    constexpr int64_t kBarriers = 16;
    const int64_t rows = std::max((lines() + 2) * line(), 2 * line() + 2 + kRowsOfProduct);
    const int64_t halo_rows = (rows + 7) / 8 * 8 + (chunks(channels) >= 8 ? 1 : 8 / chunks(channels));
    return (chunks(channels) * halo_rows + chunks(middle) * (kRowsOfProduct + 4 / element_bytes)) * kChunkBytes +
           kBarriers;
  }
  int64_t teams_of(int64_t blocks) const {
    return std::clamp<int64_t>((kMostSharedBytes - weight_bytes() / blocks) / team_bytes(), 0, kMostTeams);
  }
  // Blocks of a cluster: two where one has no room for two teams; 0: two have none, either.
  int64_t sharers() const {
    const bool can_share = middle % 128 == 0 && filters % 256 == 0;
    return teams_of(1) >= 2 ? 1 : can_share && teams_of(2) >= 2 ? 2 : 0;
  }
  int64_t teams() const { return teams_of(sharers()); }
  int64_t shared_bytes() const { return weight_bytes() / sharers() + teams() * team_bytes(); }
};

Form form_of(const Convolution& first, const Convolution& second, DType dtype) {
  return {first.channels,  first.filters,   second.filters,
          first.output[1], first.output[2], static_cast<int64_t>(dtype_size(dtype))};
}

Refusal refuse_geometry(const Convolution& conv) {
  bool fits = conv.groups == 1 && conv.input[0] == 1 && conv.kernel[0] == 1;
  for (int axis = 1; axis < 3; ++axis)
    fits = fits && conv.kernel[axis] == 3 && conv.strides[axis] == 1 && conv.dilations[axis] == 1 &&
           conv.pads[axis] == 1 && conv.output[axis] == conv.input[axis];
  return fits ? Refusal() : Refusal("first convolution is not 3x3 of stride 1 with padding of 1");
}

Refusal refuse_form(const Form& form) {
  // A thread copies one chunk of pixels.
  constexpr int64_t kTeamThreads = 128;
  if (form.channels % 64 != 0 || kTeamThreads % form.chunks(form.channels) != 0 || form.middle % 64 != 0 ||
      form.filters % 128 != 0)
    return "channels are not multiples of 64, and of 128 behind";
  if (form.width > kRowsOfProduct) return "lines are longer than 64";
  if (form.sharers() == 0) return "weights do not fit shared memory";
  return std::nullopt;
}

// Of bytes, what is between the convolutions means the same to both.
Refusal refuse_meanings(const BottleneckParts& parts) {
  if (!is_byte_product(parts.first.op)) return std::nullopt;
  const Attributes &from = parts.first.attributes, &to = parts.second.attributes;
  if (!from.has("y_scale") || !to.has("y_scale")) return "results are not bytes";
  const bool same = from.get_float("y_scale", 1) == to.get_float("x_scale", 1) &&
                    from.get_int("y_zero_point", 0) == to.get_int("x_zero_point", 0);
  return same ? Refusal() : Refusal("meanings of what is between");
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = refuse_op(problem, {kBottleneck})) return refusal;
  if (problem.target.sm != 90) return "needs Hopper (sm_90)";
  const DType dtype = problem.dtype(B::kX);
  if (dtype != DType::kUInt8 && !is_half(dtype)) return "dtype";
  if (problem.output()->dtype != dtype) return "dtype of results";
  const auto parts = parts_of(problem.node);
  if (parts == nullptr) return "shapes";
  const auto& [first, second] = parts->nodes;
  if (Refusal refusal = check_window_product(Problem{first, problem.target})) return refusal;
  if (Refusal refusal = check_dense_product(Problem{second, problem.target})) return refusal;
  for (const Node* part : {&first, &second}) {
    if (Refusal refusal = check_ampere_types(Problem{*part, problem.target})) return refusal;
  }
  if (Refusal refusal = refuse_meanings(parts->nodes)) return refusal;
  for (size_t axis : {2, 3}) {
    if (!(*problem.input(B::kX)->dims)[axis].is_constant()) return "size of pictures is not known";
  }
  const Convolution of_first = *convolution(first);
  if (Refusal refusal = refuse_geometry(of_first)) return refusal;
  return refuse_form(form_of(of_first, *convolution(second), dtype));
}

// Ends of products are what takes time, of all teams of a multiprocessor: its instructions.
double cost(const Problem& problem) {
  const auto parts = parts_of(problem.node);
  if (parts == nullptr) return 1e9;
  auto first = convolution(parts->nodes.first), second = convolution(parts->nodes.second);
  if (!first || !second) return 1e9;
  const Form form = form_of(*first, *second, problem.dtype(B::kX));
  constexpr double kStart = 4, kMultiprocessors = 132, kElement = 8.5e-5;
  const auto teams = static_cast<double>(form.teams());
  const double jobs = static_cast<double>(first->batch * form.jobs_of_picture());
  const auto sharers = static_cast<double>(form.sharers());
  const double columns = static_cast<double>(form.filters + form.middle) / sharers;
  const double of_job = static_cast<double>(form.lines() * form.width) * columns * kElement;
  const double rounds = std::ceil(jobs * sharers / (kMultiprocessors * teams));
  return std::max(memory_cost(problem), kStart + rounds * teams * of_job);
}

// [row][k][tap] as [sharer][tap][chunk of k][row of the sharer][k of the chunk], the rows in the order of the text, or
// back.
Tensor turned(const Tensor& from, int64_t sharers, bool back) {
  const Shape& shape = from.shape();
  const size_t size = dtype_size(from.dtype());
  const int64_t rows = shape[0], depth = shape[1], taps = shape[2] * shape[3];
  const int64_t chunk = kChunkBytes / static_cast<int64_t>(size), chunks = depth / chunk, own = rows / sharers;
  Tensor to(from.dtype(), shape);
  for (int64_t row = 0; row < rows; ++row) {
    const int64_t sharer = row / own, within = row % 32;
    const int64_t place = row % own - within + within % 8 / 2 * 8 + within / 8 * 2 + row % 2;
    for (int64_t k = 0; k < depth; ++k) {
      for (int64_t tap = 0; tap < taps; ++tap) {
        const auto plain = static_cast<size_t>((row * depth + k) * taps + tap);
        const auto chunked =
            static_cast<size_t>((((sharer * taps + tap) * chunks + k / chunk) * own + place) * chunk + k % chunk);
        std::memcpy(to.raw() + (back ? plain : chunked) * size, from.raw() + (back ? chunked : plain) * size, size);
      }
    }
  }
  return to;
}

// The input of the node that is input `i` of its second convolution; 0: none.
size_t input_of_second(const Node& second, size_t i) {
  const auto own = static_cast<size_t>(second.program_inputs);
  return i == 0 ? 0 : B::kOperands + i - own;
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const auto parts = parts_of(node);
  HUSSAR_CHECK(parts != nullptr, ErrorCode::kUsage, "{}: it is no bottleneck", describe(node));
  const auto& [first, second] = parts->nodes;
  const Form form = form_of(HUSSAR_TRY(convolution(first)), HUSSAR_TRY(convolution(second)), node.inputs[0]->dtype);
  if (is_byte_product(first.op)) {
    Tensor tables[] = {byte_table(first), byte_table(second)};
    packing.replace(B::kFirstScales, std::move(tables[0]));
    packing.replace(B::kSecondScales, std::move(tables[1]));
  }
  for (size_t weights : {B::kFirstWeights, B::kSecondWeights})
    packing.replace(weights, turned(*node.inputs[weights]->constant, form.sharers(), false));
  const auto packed = parts_of(node);
  Node& last = packed->nodes.second;
  const size_t near = near_operand(last);
  node.attributes.set(kFormAttribute, Ints{form.teams(), static_cast<int64_t>(input_of_second(last, near)), form.height,
                                           form.width, form.sharers()});
  Defines defines;
  define_input(last, product_input(node.inputs[0]->dtype, packing.target), defines);
  defines.set("PRODUCT_NEAR", near == 0 ? int64_t{0} : static_cast<int64_t>(dtype_size(last.inputs[near]->dtype)));
  defines.set("PRODUCT_DEPENDENT_LAUNCH", 1).set("PRODUCT_BN", kRowsOfProduct).set("PRODUCT_N", form.filters);
  defines.set("BOTTLENECK_CHANNELS", form.channels).set("BOTTLENECK_MIDDLE", form.middle);
  defines.set("BOTTLENECK_FILTERS", form.filters).set("BOTTLENECK_TEAMS", form.teams());
  defines.set("BOTTLENECK_HEIGHT", form.height).set("BOTTLENECK_WIDTH", form.width);
  defines.set("BOTTLENECK_SHARERS", form.sharers());
  const std::string epilogues =
      "namespace middle {\n" + epilogue_source(packed->nodes.first) + "}\n" + epilogue_source(last, near);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogues) +
                                  assemble({}, {"half.cuh", "product_contract.cuh", "shared_copies.cuh",
                                                "hopper_pipeline.cuh", "hopper_wgmma.cuh", "bottleneck.cuh"}));
}

Status unpack(Packing& packing) {
  Node& node = packing.node;
  const Ints list = node.attributes.get_ints(kFormAttribute);
  const int64_t sharers = list.size() == 5 && list[4] == 2 ? 2 : 1;
  node.attributes.erase(kFormAttribute);
  for (size_t weights : {B::kFirstWeights, B::kSecondWeights}) {
    const Value* packed = node.input(weights);
    HUSSAR_CHECK(packed != nullptr && packed->is_constant() && packed->constant->shape().rank() == 4 &&
                     packed->constant->shape()[0] % (32 * sharers) == 0 && packed->constant->shape()[1] % 16 == 0,
                 ErrorCode::kPlanIncompatible, "{}: its weights are not what they were", describe(node));
    packing.replace(weights, turned(*packed->constant, sharers, true));
  }
  if (!is_byte_product(node.attributes.get_string("op", ""))) return {};
  for (size_t scales : {B::kFirstScales, B::kSecondScales})
    packing.replace(scales, HUSSAR_TRY(scales_of_table(node, scales)));
  return {};
}

// BottleneckSizes of the device text.
struct Sizes {
  int64_t x_pitch, y_pitch, near_pitch;
  int32_t jobs, unused;
};

// The inputs of the two steps that a step stands for.
constexpr size_t kMostInputs = 4 + kProgramOperands;
struct PartInputs {
  int32_t of[kMostInputs];  // the step's; -1: none
  size_t count;
};

struct State {
  Launch launch;
  Sizes sizes;
  EpilogueState first, second;
  PartInputs first_inputs, second_inputs;
  int32_t near_input;
};

PartInputs inputs_of(std::string_view op, std::initializer_list<int32_t> x_weights_scales_bias, size_t operands) {
  PartInputs inputs{};
  for (int32_t input : x_weights_scales_bias) {
    const bool are_scales = input == B::kFirstScales || input == B::kSecondScales;
    if (!are_scales || op != "Conv") inputs.of[inputs.count++] = input;
  }
  for (size_t i = 0; i < operands; ++i) inputs.of[inputs.count++] = static_cast<int32_t>(B::kOperands + i);
  return inputs;
}

// What is between stands for what is not there.
std::span<const Operand> operands_of(const PartInputs& inputs, std::span<const Operand> all, Operand middle,
                                     std::array<Operand, kMostInputs>& operands) {
  for (size_t i = 0; i < inputs.count; ++i) {
    const auto input = static_cast<size_t>(inputs.of[i]);
    operands[i] = inputs.of[i] < 0 ? middle : input < all.size() ? all[input] : Operand{};
  }
  return {operands.data(), inputs.count};
}

// The epilogue of a part, and its convolution.
Result<Convolution> prepare_part(const Prepare& prepare, const Node& part, std::span<const Operand> inputs,
                                 const Operand& output, EpilogueState& epilogue) {
  PlanStep step;
  step.op = part.op;
  step.name = prepare.step.name;
  step.attributes = part.attributes;
  step.program = part.program;
  step.inputs.resize(inputs.size());
  step.program_inputs = part.program ? static_cast<int32_t>(inputs.size()) - part.program->operand_count : 0;
  const Prepare own{step, inputs, {&output, 1}, prepare.threads, prepare.state};
  HUSSAR_TRY(epilogue.prepare(own));
  return convolution(part.op, part.attributes, inputs[0], inputs[1].shape, output);
}

Status prepare(Prepare& prepare) {
  const PlanStep& step = prepare.step;
  State& state = prepare.state_as<State>();
  const Ints list = step.attributes.get_ints(kFormAttribute);
  auto parts = bottleneck_parts(step.name, step.attributes);
  const Operand& x = prepare.inputs[0];
  bool fits = list.size() == 5 && parts && x.shape.rank() == 4 && list[0] >= 1 && list[0] <= kMostTeams &&
              list[1] >= 0 && list[1] < std::ssize(prepare.inputs);
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}' has no code; build the plan again", step.name);
  parts->second.program = step.program;
  const std::string& op = parts->first.op;
  const size_t operands = step.program ? step.program->operand_count : 0;
  state.first_inputs = inputs_of(op, {B::kX, B::kFirstWeights, B::kFirstScales, B::kFirstBias}, 0);
  state.second_inputs = inputs_of(op, {-1, B::kSecondWeights, B::kSecondScales, B::kSecondBias}, operands);
  Operand middle = x;
  middle.shape[1] = middle.pitch = prepare.inputs[B::kFirstWeights].shape[0];
  std::array<Operand, kMostInputs> memory;
  const Convolution first = HUSSAR_TRY(prepare_part(
      prepare, parts->first, operands_of(state.first_inputs, prepare.inputs, {}, memory), middle, state.first));
  const Convolution second =
      HUSSAR_TRY(prepare_part(prepare, parts->second, operands_of(state.second_inputs, prepare.inputs, middle, memory),
                              prepare.outputs[0], state.second));
  const Form form = form_of(first, second, x.dtype);
  fits = !refuse_geometry(first) && !refuse_form(form) && form.height == list[2] && form.width == list[3] &&
         form.teams() == list[0] && form.sharers() == list[4];
  const int64_t jobs = first.batch * form.jobs_of_picture();
  HUSSAR_CHECK(fits && jobs * kRowsOfProduct < (int64_t{1} << 31), ErrorCode::kPlanIncompatible,
               "step '{}': its code is for other shapes; build the plan again", step.name);
  state.sizes = {first.x_pitch, second.y_pitch, 0, static_cast<int32_t>(jobs), 0};
  state.near_input = static_cast<int32_t>(list[1]);
  if (state.near_input > 0) {
    const Operand& near = prepare.inputs[static_cast<size_t>(list[1])];
    state.sizes.near_pitch = row_pitch_of(near) * static_cast<int64_t>(dtype_size(near.dtype));
  }
  const int64_t clusters = std::min(queue_of(prepare.device).facts().multiprocessors / form.sharers(), jobs);
  state.launch = Launch{};
  state.launch.grid[0] = static_cast<unsigned>(std::max<int64_t>(clusters, 1) * form.sharers());
  state.launch.threads = static_cast<unsigned>(128 * form.teams());
  state.launch.shared_bytes = static_cast<unsigned>(form.shared_bytes());
  state.launch.function =
      HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "hussar_bottleneck", state.launch.shared_bytes));
  return {};
}

void put_epilogue(const Run& run, const EpilogueState& epilogue, const PartInputs& inputs, Words& words) {
  std::array<Operand, kMostInputs> memory;
  Run part = run;
  part.inputs = operands_of(inputs, run.inputs, {}, memory);
  epilogue.put(part, words);
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  if (state.sizes.jobs == 0) return {};
  const std::byte *x = run.inputs[B::kX].data, *first = run.inputs[B::kFirstWeights].data,
                  *second = run.inputs[B::kSecondWeights].data, *y = run.outputs[0].data;
  const std::byte* near = state.near_input > 0 ? run.inputs[static_cast<size_t>(state.near_input)].data : nullptr;
  Words middle, last;
  put_epilogue(run, state.first, state.first_inputs, middle);
  put_epilogue(run, state.second, state.second_inputs, last);
  Sizes sizes = state.sizes;
  void* const arguments[] = {&x, &first, &second, &y, &sizes, middle.data(), last.data(), &near};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_bottleneck_kernel = {
    .name = "cuda_bottleneck", .place = Place::kDevice, .state_bytes = sizeof(State), .prepare = prepare, .run = run};
extern const Tactic cuda_bottleneck_tactic = {.kernel = "cuda_bottleneck",
                                              .place = Place::kDevice,
                                              .supports = supports,
                                              .cost = cost,
                                              .pack = pack,
                                              .unpack = unpack};

}  // namespace hussar
