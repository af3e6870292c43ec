// cuda_conv_depthwise: convolutions of each channel by itself, in two dimensions.
#include "backends/cuda/byte_product.h"
#include "backends/cuda/elementwise_launch.h"
#include "backends/cuda/epilogue_source.h"
#include "backends/cuda/program_source.h"
#include "backends/cuda/results.h"
#include "backends/cuda/windows.h"

namespace hussar {
namespace {

using namespace cuda;

constexpr std::string_view kForm = "hussar_tile";
// Larger windows would be unrolled into too much code.
constexpr int64_t kMostTaps = 121;

// VECTOR and OUTPUTS of device/depthwise.cuh.
struct Form {
  int64_t vector, outputs;
};

Form form_of(const Node& node, const Convolution& conv) {
  Form form{8, conv.dilations[2] == 1 && conv.output[2] > 1 ? 2 : 1};
  auto fits = [&](int64_t number) { return number % form.vector == 0; };
  for (int64_t number : {conv.groups, conv.x_pitch, conv.y_pitch, offset_in_holder(*node.inputs[0]),
                         offset_in_holder(*node.outputs[0])}) {
    while (!fits(number)) form.vector /= 2;
  }
  return form;
}

Refusal supports(const Problem& problem) {
  if (Refusal refusal = check_convolution(problem, {"Conv", "hussar.QuantizedConv"})) return refusal;
  auto conv = convolution(problem.node);
  if (!conv) return "shapes";
  if (conv->channels != 1 || conv->filters != 1) return "not depthwise";
  if (conv->input[0] != 1 || conv->kernel[0] != 1) return "three dimensions";
  return conv->taps() <= kMostTaps ? Refusal() : Refusal("a wide filter");
}

double cost(const Problem& problem) {
  auto conv = convolution(problem.node);
  if (!conv) return 1e9;
  constexpr double kMultiplyAddsPerMicrosecond = 5e6;
  const auto multiply_adds = static_cast<double>(conv->pixels() * conv->groups * conv->taps());
  return std::max(memory_cost(problem), kLaunchMicroseconds + multiply_adds / kMultiplyAddsPerMicrosecond);
}

Status pack(Packing& packing) {
  Node& node = packing.node;
  const Convolution conv = HUSSAR_TRY(convolution(node));
  const Form form = form_of(node, conv);
  make_table(packing, true);
  HUSSAR_TRY(turn_filter(packing));
  node.attributes.set(kForm, Ints{form.vector, form.outputs});
  Defines defines;
  defines.set("X_TYPE", number_type(node.inputs[0]->dtype)).set("W_TYPE", number_type(node.inputs[1]->dtype));
  defines.set("Y_TYPE", result_type(node)).set("VECTOR", form.vector).set("OUTPUTS", form.outputs);
  const auto zero_point = static_cast<float>(node.attributes.get_int("x_zero_point", 0));
  defines.set("X_ZERO_POINT", is_byte_product(node.op) ? literal(zero_point) : "0.0f");
  define_results(node, false, defines);
  defines.set("KERNEL_1", conv.kernel[1]).set("KERNEL_2", conv.kernel[2]);
  defines.set("STRIDE_2", conv.strides[2]).set("DILATION_2", conv.dilations[2]);
  return attach_code(packing, assemble(defines, {"numbers.cuh", "functions.cuh"}, epilogue_source(node)) +
                                  assemble({}, {"depthwise.cuh"}));
}

Status unpack(Packing& packing) {
  packing.node.attributes.erase(kForm);
  return turn_filter_back(packing);
}

// Depthwise of device/depthwise.cuh.
struct Depthwise {
  const std::byte *x, *w;
  std::byte* y;
  int64_t units, x_pitch, y_pitch;
  int32_t channels, height, width, rows, columns, row_stride, row_pad, column_pad, row_dilation, groups;
};

struct State {
  Launch launch;
  Depthwise work;
  EpilogueState epilogue;
};

Status prepare(Prepare& prepare) {
  State& state = prepare.state_as<State>();
  const PlanStep& step = prepare.step;
  const Convolution conv =
      HUSSAR_TRY(convolution(step.op, step.attributes, prepare.inputs[0], prepare.inputs[1].shape, prepare.outputs[0]));
  const Ints form = step.attributes.get_ints(kForm);
  const bool fits = form.size() == 2 && form[0] >= 1 && form[1] >= 1 && conv.groups % form[0] == 0 &&
                    conv.x_pitch % form[0] == 0 && conv.y_pitch % form[0] == 0;
  HUSSAR_CHECK(fits, ErrorCode::kPlanIncompatible, "step '{}': its code is for other shapes; build the plan again",
               step.name);
  HUSSAR_TRY(state.epilogue.prepare(prepare));
  auto number = [](int64_t value) { return static_cast<int32_t>(value); };
  Depthwise& work = state.work;
  work = Depthwise{};
  work.x_pitch = conv.x_pitch;
  work.y_pitch = conv.y_pitch;
  work.channels = number(conv.groups / form[0]);
  work.height = number(conv.input[1]);
  work.width = number(conv.input[2]);
  work.rows = number(conv.output[1]);
  work.columns = number(conv.output[2]);
  work.row_stride = number(conv.strides[1]);
  work.row_pad = number(conv.pads[1]);
  work.column_pad = number(conv.pads[2]);
  work.row_dilation = number(conv.dilations[1]);
  work.groups = number((conv.output[2] + form[1] - 1) / form[1]);
  const int64_t places = conv.batch * conv.output[1] * work.groups;
  work.units = places * work.channels;
  HUSSAR_CHECK(places < (int64_t{1} << 31) && work.units / 256 < (int64_t{1} << 31), ErrorCode::kUsage,
               "step '{}': the picture is too large", step.name);
  state.launch = Launch{};
  state.launch.function = HUSSAR_TRY(queue_of(prepare.device).load(prepare.code, "depthwise"));
  state.launch.threads = 256;
  state.launch.grid[0] = static_cast<unsigned>((work.units + 255) / 256);
  return {};
}

Status run(const Run& run) {
  const State& state = run.state_as<State>();
  Depthwise work = state.work;
  work.x = run.inputs[0].data;
  work.w = run.inputs[1].data;
  work.y = run.outputs[0].data;
  Words fused;
  state.epilogue.put(run, fused);
  void* const arguments[] = {&work, fused.data()};
  return queue_of(run.device).launch(state.launch, arguments);
}

}  // namespace

extern const Kernel cuda_conv_depthwise_kernel = {.name = "cuda_conv_depthwise",
                                                  .place = Place::kDevice,
                                                  .state_bytes = sizeof(State),
                                                  .prepare = prepare,
                                                  .run = run};
extern const Tactic cuda_conv_depthwise_tactic = {.kernel = "cuda_conv_depthwise",
                                                  .place = Place::kDevice,
                                                  .supports = supports,
                                                  .cost = cost,
                                                  .pack = pack,
                                                  .unpack = unpack};

}  // namespace hussar
